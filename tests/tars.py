"""Read and write the members of a tar, to make bundles that are damaged or hostile."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


def read_members(path: Path) -> dict[str, bytes]:
    """The content of every member by name."""
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def write_members(
    path: Path,
    contents: Mapping[str, bytes],
    *,
    sums: bool = True,
    extra: Iterable[tuple[tarfile.TarInfo, bytes]] = (),
    mode: str = "w",
) -> None:
    """Write a tar.

    Args:
        path: The tar; replaced if it exists.
        contents: The content of regular members by name.
        sums: Make ``SHA256SUMS`` first, with the right sha256 of each of these; otherwise, ``contents`` are all.
        extra: Further members, which may be of any type and have any name.
        mode: As for ``tarfile.open``.
    """
    if sums:
        contents = {name: content for name, content in contents.items() if name != "SHA256SUMS"}
        lines = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
        contents = {"SHA256SUMS": lines.encode(), **contents}
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, content in [*((tarfile.TarInfo(name), content) for name, content in contents.items()), *extra]:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def change_index(bundle: Path, change: Callable[[Any], object], path: Path | None = None) -> Path:
    """Write a bundle with another ``bundle.json`` and the right checksums.

    Args:
        bundle: The bundle.
        change: Changes the index in place.
        path: The new bundle; by default it replaces the old one.
    """
    members = read_members(bundle)
    index = json.loads(members["bundle.json"])
    change(index)
    path = path or bundle
    write_members(path, {**members, "bundle.json": json.dumps(index).encode()})
    return path
