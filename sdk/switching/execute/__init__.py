"""From requests to predictions, in as few forward passes as possible."""
