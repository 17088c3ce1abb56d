"""Metric histories: the points of each run, and what is derived from them.

A *point* is one value of one metric at one step. The points of one metric of one run are a *series*; ``seq`` numbers
them from 0 in the order they were logged. Every write keeps three tables in step, in one transaction:

- ``metric_point``: the points themselves (``points``, ``series``);
- ``metric_summary``: one row a series with its count, mean and extremes (``summaries``);
- ``metric_bucket``: the extremes of every 64, 1,024 and 16,384 consecutive points (``buckets``).

``history`` reads points back, of a whole series or of a *window* of steps and times. ``thinning`` reduces a long
history to a given number of points, from its buckets. ``cutting`` removes all points after a step.
"""
