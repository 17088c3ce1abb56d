"""Runs: recorded, resumed, listed."""
