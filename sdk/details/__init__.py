"""What there is to say of a version and its run, for people: fields with their defaults, and how far a run is.

It reads the registry's records only, and imports no model library.
"""
