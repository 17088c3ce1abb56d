"""Bases on the Hugging Face hub: their files at one commit, in the hub's cache on this machine."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled
from requests import RequestException

from .guard import NOT_READ, TOKENIZER_FILES, VOCABULARIES
from .plain_files import Refuse
from .weight_files import INDEX, SINGLE, shards

_SECONDS: Final = 10.0
"""The hub's time to answer; no request is repeated."""

_MAIN: Final = "main"


class NotOnHubError(Exception):
    """No repository of that name can be had; the message says why."""


def download(repository: str, revision: str | None, *, weights: bool, refuse: Refuse) -> tuple[Path, str]:
    """Bring the files of a base to this machine, and nothing else of its repository.

    Where the hub cannot be reached, the files in its cache are used.

    Args:
        repository: The name on the hub: ``owner/name``.
        revision: A commit, branch or tag; None: the main branch as it is now.
        weights: Also the weights.
        refuse: Makes the error for a base whose files lead elsewhere.

    Returns:
        The directory of the files, and the commit they are of.

    Raises:
        NotOnHubError: Neither the hub nor the cache has it.
        UnusableBaseError: Its index of weights leads elsewhere.
    """
    api = HfApi()
    cached = _cached(repository, revision or _MAIN)
    # A commit never changes: what the cache has of one needs no question.
    commit = cached.name if cached is not None and revision is not None and cached.name == revision else None
    names: Collection[str] | None = None
    if commit is None or not _is_complete(repository, commit, weights=weights):
        try:
            info = api.model_info(repository, revision=revision, timeout=_SECONDS)
            names = {file.rfilename for file in info.siblings or ()}
            commit = info.sha or commit
        except (RequestException, HfHubHTTPError, OfflineModeIsEnabled, ValueError) as error:
            if cached is None:
                raise NotOnHubError(_reason(error)) from error
            commit = cached.name
    assert commit is not None

    def get(name: str) -> Path | None:
        if names is not None and name not in names:
            return None
        try:
            return Path(api.hf_hub_download(repository, name, revision=commit, local_files_only=names is None))
        except EntryNotFoundError as error:
            if names is None:  # the cache lacks it
                return None
            raise NotOnHubError(f"'{name}' could not be downloaded: {_reason(error)}") from error
        except (RequestException, HfHubHTTPError, OSError) as error:
            raise NotOnHubError(f"'{name}' could not be downloaded: {_reason(error)}") from error

    config = get("config.json")
    if config is None:
        raise NotOnHubError("it has no config.json")
    for name in (*TOKENIZER_FILES, *NOT_READ):
        get(name)
    if weights and get(SINGLE) is None and get(INDEX) is not None:
        for name in shards(config.parent, refuse):
            get(name)
    return config.parent, commit


def _cached(repository: str, revision: str) -> Path | None:
    """The directory of a revision in the cache, if it has the configuration."""
    try:
        return Path(hf_hub_download(repository, "config.json", revision=revision, local_files_only=True)).parent
    except (EntryNotFoundError, OSError, ValueError):
        return None


def _is_complete(repository: str, commit: str, *, weights: bool) -> bool:
    """Whether the cache has a base at a commit with all that is asked for."""
    directory = _cached(repository, commit)
    if directory is None or not any((directory / name).exists() for name in VOCABULARIES):
        return False
    return not weights or (directory / SINGLE).exists() or (directory / INDEX).exists()


def _reason(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "offline mode is enabled (HF_HUB_OFFLINE)"
    if isinstance(error, RequestException) and getattr(error, "response", None) is None:
        return "the hub cannot be reached"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
