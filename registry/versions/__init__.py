"""Adapters and their versions: the catalogue, labels, lineage, listing."""
