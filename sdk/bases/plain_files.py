"""Files of a base's directory: regular, inside of it, of bounded size, and JSON of bounded depth."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pointsman.registry.errors import UnusableBaseError

MEGABYTE: Final = 1 << 20

_DEEPEST: Final = 32
"""Levels of lists and objects in a JSON file at most."""

Refuse = Callable[[str], UnusableBaseError]
"""Makes the error that refuses a base, from the reason."""


def plain_file(directory: Path, name: str, limit: int | None, refuse: Refuse) -> Path | None:
    """A file of a base's directory; None if it does not exist.

    A link may only lead to another file of the directory. In the cache of the Hugging Face hub it may also lead to the
    cache's files of the same repository, which is how that cache is built.

    Args:
        directory: The base's directory.
        name: The file's name.
        limit: Its size at most, in bytes; None: any size.
        refuse: Makes the error.

    Raises:
        UnusableBaseError: It leads out of the directory, is not a regular file, or is too large.
    """
    path = directory / name
    try:
        target = path.resolve(strict=True)
        found = target.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise refuse(f"'{name}' is a link to a file that does not exist") from None
        return None
    except OSError as error:
        raise refuse(f"'{name}' cannot be read: {error.strerror}") from error
    inside = [directory.resolve()]
    if directory.parent.name == "snapshots":
        inside.append((directory.parent.parent / "blobs").resolve())
    if target.parent not in inside:
        raise refuse(f"'{name}' is a link out of the base's directory: copy the file into it")
    if not stat.S_ISREG(found.st_mode):
        raise refuse(f"'{name}' is not a regular file")
    if limit is not None and found.st_size > limit:
        raise refuse(f"'{name}' has {found.st_size:,} bytes; at most {limit:,} are read")
    return path


def read_object(directory: Path, name: str, limit: int, refuse: Refuse) -> dict[str, Any] | None:
    """A JSON file that holds an object; None if it does not exist.

    Raises:
        UnusableBaseError: It is not JSON, not an object, too deep, or as ``plain_file``.
    """
    path = plain_file(directory, name, limit, refuse)
    if path is None:
        return None
    try:
        value = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except OSError as error:
        raise refuse(f"'{name}' cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise refuse(f"'{name}' is not valid JSON: {str(error) or 'too many levels'}") from error
    if not isinstance(value, dict):
        raise refuse(f"'{name}' must hold a JSON object; found {_KINDS.get(type(value), 'a number')}")
    if _is_deeper(value, _DEEPEST):
        raise refuse(f"'{name}' has more than {_DEEPEST} levels of JSON")
    return value


_KINDS: Final = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in children)
