"""Metric points: stored, summarised, read back as histories."""
