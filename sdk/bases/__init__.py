"""Bases: found by name, loaded, identified by a fingerprint."""
