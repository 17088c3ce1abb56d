"""The files of a version: strict readers and writers of one in-memory form."""
