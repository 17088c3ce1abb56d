"""Merge registered versions into a new one, on the tensors of their files: linear, task arithmetic, SVD, TIES, DARE.

``merge.merge`` checks the arguments into a ``Recipe``, ``members`` reads the versions and refuses those that do not go
together, ``tensors`` applies the ``formulas`` to each tensor, ``merged`` holds the result, and ``search`` looks for the
weights that score best.
"""
