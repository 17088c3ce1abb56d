"""Bundles: one plain tar that moves versions, with everything known about them, between registries.

    SHA256SUMS              the sha256 of every other member, in the format of ``sha256sum``
    bundle.json             versions, the runs that made them, aliases; parents come before their children
    objects/SHA256          the files of the versions
    history/UID.jsonl       the metric points of a run: [metric, step, epoch, wall time, value], as they were logged

No member is compressed, and the reader writes no file under a name from the bundle: so no path can escape and nothing
grows when it is unpacked. The same versions make the same bundle, byte for byte.

This module reads a bundle and checks it. ``bundle_records`` has the records of ``bundle.json``, ``bundle_export``
writes a bundle, and ``bundle_import`` adds its versions to a registry.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from ..errors import BundleError
from ..storage.objects import CHUNK, checked

FORMAT: Final = 1
SUMS: Final = "SHA256SUMS"
INDEX: Final = "bundle.json"

_MEMBER: Final = re.compile(r"bundle\.json|objects/[0-9a-f]{64}|history/[0-9a-f]{12}\.jsonl")
_SUM: Final = re.compile(r"([0-9a-f]{64})  (\S+)")
_MAX_INDEX: Final = 1 << 28
"""Bytes of ``bundle.json`` and of ``SHA256SUMS`` at most, since both are read into memory."""


class Bundle:
    """A bundle that is open for reading. Members are checked against ``SHA256SUMS`` as they are read.

    Args:
        path: The bundle.

    Raises:
        BundleError: It is no bundle, is damaged, or has members that no bundle has.

    Examples:
        >>> with Bundle("sst2.tar") as bundle:
        ...     names = [record["name"] for record in bundle.index()["versions"]]
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.label = ascii(self.path.name)
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise BundleError(f"the bundle {self.label} cannot be read: {error.strerror}") from error
        try:
            self._members = self._scan()
            self._sums = self._read_sums()
        except BaseException:
            self._file.close()
            raise
        self.objects: Sequence[str] = [
            name.removeprefix("objects/") for name in self._sums if name.startswith("objects/")
        ]
        """The sha256 of every file in it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def index(self) -> dict[str, Any]:
        """Return the content of ``bundle.json``, its format checked."""
        size = self._members[INDEX][1]
        if size > _MAX_INDEX:
            raise BundleError(f"{INDEX} in the bundle {self.label} has {size} bytes, more than {_MAX_INDEX}")
        try:
            index = json.loads(b"".join(self.stream(INDEX)))
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{INDEX} in the bundle {self.label} is not valid JSON: {error}") from error
        if not isinstance(index, dict) or index.get("format") != FORMAT:
            raise BundleError(f"the bundle {self.label} has another format than {FORMAT}, which this pointsman reads")
        return index

    def has(self, name: str) -> bool:
        """Whether the bundle has a member of this name."""
        return name in self._members

    def stream(self, name: str) -> Iterator[bytes]:
        """A member in chunks; the last chunk comes only if the sha256 of all of them is right."""
        start, size = self._members[name]
        return checked(read_span(self._file, start, size), self._sums[name], f"{name} in the bundle {self.label}")

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a member, its sha256 checked before the last one."""
        rest = b""
        for chunk in self.stream(name):
            *complete, rest = (rest + chunk).split(b"\n")
            yield from complete
            if len(rest) > CHUNK:
                raise BundleError(f"{name} in the bundle {self.label} has a line of more than {CHUNK} bytes")
        if rest:
            raise BundleError(f"{name} in the bundle {self.label} ends in the middle of a line")

    def _scan(self) -> dict[str, tuple[int, int]]:
        """The start and the size of each member; refuse all but regular files with the names of a bundle's members."""
        members: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for member in tar:
                    name = member.name
                    if name != SUMS and not _MEMBER.fullmatch(name):
                        raise BundleError(f"the bundle {self.label} has an unknown member {name[:80]!a}")
                    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
                        raise BundleError(f"the member {name!a} of the bundle {self.label} is not a regular file")
                    if name in members:
                        raise BundleError(f"the bundle {self.label} has the member {name!a} twice")
                    members[name] = (member.offset_data, member.size)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise BundleError(f"{self.label} is not a bundle, or is damaged: {error}") from error
        end = self._file.seek(0, io.SEEK_END)
        if any(start + size > end for start, size in members.values()):
            raise BundleError(f"the bundle {self.label} is incomplete; copy it again")
        if missing := [name for name in (SUMS, INDEX) if name not in members]:
            raise BundleError(f"{self.label} is not a bundle: it lacks {' and '.join(missing)}")
        return members

    def _read_sums(self) -> dict[str, str]:
        """The sha256 of each member, by name, from ``SHA256SUMS``."""
        start, size = self._members[SUMS]
        if size > _MAX_INDEX:
            raise BundleError(f"{SUMS} in the bundle {self.label} has {size} bytes, more than {_MAX_INDEX}")
        sums: dict[str, str] = {}
        for line in b"".join(read_span(self._file, start, size)).decode(errors="replace").splitlines():
            match = _SUM.fullmatch(line)
            if match is None or match[2] in sums:
                raise BundleError(f"{SUMS} in the bundle {self.label} has an invalid line: {line[:80]!a}")
            sums[match[2]] = match[1]
        if different := sorted(sums.keys() ^ (self._members.keys() - {SUMS})):
            raise BundleError(
                f"{SUMS} in the bundle {self.label} does not name its members exactly: {different[0][:80]!a} differs"
            )
        for name, digest in sums.items():
            if name.startswith("objects/") and name != f"objects/{digest}":
                raise BundleError(f"the bundle {self.label} has an object under a name that is not its sha256")
        return sums


def read_span(file: IO[bytes], start: int, length: int) -> Iterator[bytes]:
    """``length`` bytes of a file from ``start`` on, in chunks; the file may be read elsewhere in between."""
    end = start + length
    while start < end:
        file.seek(start)
        chunk = file.read(min(CHUNK, end - start))
        if not chunk:
            raise BundleError("the bundle is incomplete; copy it again")
        start += len(chunk)
        yield chunk
