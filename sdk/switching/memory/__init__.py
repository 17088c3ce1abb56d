"""The versions in memory: loaded, leased, evicted."""
