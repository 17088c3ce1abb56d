"""Hyperparameter search: a study is a set of trials, each trial is a run in the registry.

``space`` says what is searched, ``proposals`` asks Optuna for the next trial, ``studies`` reads the trials from the
registry, ``search`` trains them one after the other, and ``tune`` is the whole in one call. Several processes may work
on one study: the registry lets each trial start once.
"""
