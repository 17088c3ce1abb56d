"""GLUE as a whole: its cells, its score, the leaderboard's files."""
