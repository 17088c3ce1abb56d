"""Switching: the adapters loaded on one base, and predictions for rows of any mix of them.

A prediction goes through these modules, each of which calls the next:

1. ``switcher.py``: ``Switcher.predict``, ``predict_mixed`` and ``predict_stream`` take the call.
2. ``resolve/lookup.py``: ``RefCache.resolve`` looks each ref up in the registry, once, and gives a ``ResolvedRef``.
3. ``execute/requests.py``: each input becomes a ``Request`` with its ``Route`` objects, one for each answer.
4. ``execute/executor.py``: ``Executor.execute`` groups the rows by route and tokenises them.
5. ``memory/adapter_cache.py``: ``AdapterCache.lease`` loads the versions of all routes and keeps them in the model.
6. ``execute/batch_plans.py``: ``plan_batch`` turns each route into a ``BatchPlan``: names in the model, slots, heads.
7. ``engines/mixed.py``: ``mixed_outputs`` runs the forward passes and gives the logits of each route.
8. ``execute/predictions.py``: ``predictions`` turns logits into predictions, in the order of the requests.
"""
