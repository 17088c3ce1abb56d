"""Every change to a module of adapters or transformers, one file each."""
