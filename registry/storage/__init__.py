"""The object store: the files of versions, each under its own sha256, in a directory or behind a URL.

``objects`` says what every store does; ``local`` keeps files in a directory, ``remote`` behind a URL, through a local
cache. ``files`` writes single files atomically.
"""
