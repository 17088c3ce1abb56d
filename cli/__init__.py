"""The command line: every module named in ``main.SECTIONS`` is a command, the others are shared.

A command parses its options, calls the registry or the SDK once, and prints the result:

1. ``command`` is its click command; it takes options of ``options`` (``--json``, ``--base``, ``--device`` …) and of
   ``train_options`` (the settings of a training).
2. ``runtime`` opens the registry and keeps model libraries quiet. A module imports torch only inside its functions,
   so that a command that needs no model starts at once.
3. Data goes to standard output: ``output`` (JSON, CSV), ``tables`` (tables, lists, trees), ``units`` (numbers, sizes,
   times), ``pictures`` (plots). Messages go to standard error with ``output.note``, progress bars with ``progress``.
4. ``summaries``, ``details`` and ``lineage`` describe a version: after a training, in full, and as a tree.
5. Errors are raised, never printed: ``main`` prints a ``PointsmanError`` and, with ``advice``, the command to try, and
   exits 1; a ``click.UsageError`` exits 2.

To add a command ``x``: write ``x.py`` with ``command``, and name it in a section of ``main.SECTIONS``. The program
starts in ``start``.
"""
