"""Merge registered versions into a new one: linear, task arithmetic, SVD, TIES, DARE."""
