"""An HTTP server that answers with every registered adapter of one base; the extra ``serve`` has what it needs."""
