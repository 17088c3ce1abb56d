"""AdapterFusion: attention over what several registered adapters say, trained for one task."""
