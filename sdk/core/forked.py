"""Torch in a process that was forked from one in which it has computed."""

import os
from typing import Final

import torch

from pointsman.registry.errors import SettingsError

_computing: Final[list[int]] = []
"""The process that computes with a base, last of all that this one was forked from."""


def check_torch() -> None:
    """Refuse to compute where torch would hang, and note that this process computes.

    OpenMP's threads, which torch keeps once it has computed with several, are not in a forked process; a computation
    there waits for them for ever. With one thread it needs none.

    Raises:
        SettingsError: This process was forked from one that has loaded a base, and torch would use several threads.
    """
    threads = torch.get_num_threads()
    if threads > 1 and _computing and _computing[-1] != os.getpid():
        raise SettingsError(
            f"this process was forked from one in which torch computes, and with {threads} threads it would hang here: "
            "start processes afresh (the start method 'spawn'), or call torch.set_num_threads(1) first"
        )
    _computing[:] = [os.getpid()]
