"""GLUE as a benchmark: its cells, its scores, the leaderboard's files.

A cell is one training: a task, a method and a seed. ``cells`` reads the cells from the registry, ``glue`` trains them,
``check`` compares a cell with what is requested now, ``score`` computes the table, ``submission`` writes the
leaderboard's zip. Several processes may train one benchmark: the registry lets each cell start once.
"""
