"""New versions made of registered ones: fusion and merging."""
