"""Bases: located by name, loaded, identified by a fingerprint."""
