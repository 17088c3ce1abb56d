"""Training: from a request to a registered version.

A training in three calls: ``TrainRequest`` (``request``), ``prepare`` (``prepare``), ``run_training`` (``session``).
Several in one pass: ``run_together`` (``together``); any number, in passes where they can share one: ``run_many``.

The path of a row:

1. ``DataSource.load`` reads it into a ``TaskData``, which has a ``Split`` of texts and labels by name.
2. ``prepare`` selects the ``Split`` to train on and the splits to evaluate on.
3. ``run_training`` tokenises each split. The training rows become ``LabelledRows`` (``rows``): tokens and labels.
4. From here on a row is a number: ``LengthBuckets`` puts numbers of rows of similar length into batches, and
   ``Schedule`` puts batches into optimiser steps.
5. ``TrainingLoop`` (``loop``) yields each ``Step`` (``step``) to whoever drives the training: ``LabelledRows.batch``
   makes a ``Batch`` of tensors from row numbers, ``Objective.forward`` computes its outputs, and ``Objective.loss`` its
   loss. Then ``Optimiser`` updates the weights.
6. A row of an evaluation goes from its split to ``Scorer``, which computes the metrics from outputs and labels.
"""
