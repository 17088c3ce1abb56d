"""A version's manifest: the canonical JSON whose sha256 is the version's identity.

Canonical: keys sorted, no spaces, UTF-8, no NaN (RFC 8785 in spirit; our numbers are short enough that Python's own
shortest float representation is stable).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import SettingsError

FORMAT = 1


def build(
    *,
    files: Mapping[str, str],
    task: Mapping[str, Any],
    method: str,
    config: Mapping[str, Any],
    base: str,
    max_length: int,
    parents: Sequence[str],
) -> str:
    """Return the manifest of a version.

    Args:
        files: sha256 by file name.
        task: The task as JSON.
        method: The adapter method's name.
        config: Its full configuration.
        base: The base's fingerprint.
        max_length: Tokens that an input is cut to.
        parents: Digests of the versions it was made from, in order.

    Raises:
        SettingsError: Something in it is not JSON.
    """
    manifest = {
        "format": FORMAT,
        "files": dict(files),
        "task": dict(task),
        "method": method,
        "config": dict(config),
        "base": base,
        "max_length": max_length,
        "parents": list(parents),
    }
    try:
        return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"a version's task and configuration must be plain JSON: {error}") from error


def digest(manifest: str) -> str:
    """The sha256 of a manifest, as 64 hexadecimal digits."""
    return hashlib.sha256(manifest.encode()).hexdigest()
