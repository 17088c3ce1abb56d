"""Training: from what is asked for to the registered version."""
