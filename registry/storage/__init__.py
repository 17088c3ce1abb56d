"""The object store: files by sha256, in a directory or behind a URL."""
