"""Versions in memory: read from files, placed in the model, leased and evicted."""
