"""Bundles: one plain tar that moves versions, with everything known about them, between registries.

    SHA256SUMS              the sha256 of every other member, in the format of ``sha256sum``
    bundle.json             versions, the runs that made them, aliases; parents come before their children
    objects/SHA256          the files of the versions
    history/UID.jsonl       the metric points of a run: [metric, step, epoch, wall time, value], as they were logged

No member is compressed, and the reader writes no file under a name from the bundle: so no path can escape and nothing
grows when it is unpacked. The same versions make the same bundle, byte for byte.

This module reads a bundle and checks it. ``tar_headers`` finds its members, ``bundle_records`` has the records of
``bundle.json``, ``bundle_export`` writes a bundle, and ``bundle_import`` adds its versions to a registry.
"""

import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from ..errors import BundleError, ObjectCorruptError
from ..storage.objects import CHUNK, checked
from . import tar_headers

FORMAT: Final = 1
SUMS: Final = "SHA256SUMS"
INDEX: Final = "bundle.json"

_MEMBER: Final = re.compile(r"bundle\.json|objects/[0-9a-f]{64}|history/[0-9a-f]{12}\.jsonl")
_SUM: Final = re.compile(r"([0-9a-f]{64})  (\S+)")
MAX_INDEX: Final = 1 << 28
"""Bytes of ``bundle.json`` at most, since it is read into memory."""

_MAX_VALUES: Final = 10_000_000
"""Values in ``bundle.json`` at most: a value takes up to 100 bytes in memory, and may take two in the file. An index of
the greatest size that exporters write has about as many."""

_MAX_MEMBERS: Final = 1_000_000
"""Members at most; the names and sums of a million take half a gibibyte."""

_MAX_LINE: Final = 256
"""Bytes of a line of ``SHA256SUMS`` at most, with the longest name of a member."""


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
            self._file = self._open()
        except OSError as error:
            raise BundleError(f"the bundle {self.label} cannot be read: {error.strerror}") from error
        try:
            self._members = self._scan()
            self._sums = self._read_sums()
        except BaseException:
            self._file.close()
            raise
        self.objects: Mapping[str, int] = {
            name.removeprefix("objects/"): self._members[name][1] for name in self._sums if name.startswith("objects/")
        }
        """The bytes of every file in it, by sha256."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def index(self) -> dict[str, Any]:
        """Return the content of ``bundle.json``, its format checked."""
        size = self._members[INDEX][1]
        if size > MAX_INDEX:
            raise BundleError(f"{INDEX} in the bundle {self.label} has {size} bytes, more than {MAX_INDEX}")
        try:
            text = b"".join(self.stream(INDEX))
            if sum(map(text.count, (b",", b"[", b"{"))) > _MAX_VALUES:
                raise BundleError(f"{INDEX} in the bundle {self.label} has more than {_MAX_VALUES} values")
            index = json.loads(text)
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
        try:
            yield from checked(read_span(self._file, start, size), self._sums[name], name)
        except ObjectCorruptError as error:
            raise BundleError(f"the bundle {self.label} is damaged; copy it again: {error}") from error

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

    def _open(self) -> IO[bytes]:
        if not self.path.is_dir() and not stat.S_ISREG(self.path.stat().st_mode):  # a pipe would wait for its writer
            raise BundleError(f"the bundle {self.label} cannot be read: it is no plain file")
        return self.path.open("rb")

    def _scan(self) -> dict[str, tuple[int, int]]:
        """The start and the size of each member; refuse all but plain files with the names of a bundle's members."""
        members: dict[str, tuple[int, int]] = {}
        for name, is_file, start, size in tar_headers.members(self._file, self.label):
            if not is_file:
                raise BundleError(f"the member {name[:80]!a} of the bundle {self.label} is not a regular file")
            if name != SUMS and not _MEMBER.fullmatch(name):
                raise BundleError(f"the bundle {self.label} has an unknown member {name[:80]!a}")
            if name in members:
                raise BundleError(f"the bundle {self.label} has the member {name!a} twice")
            if len(members) == _MAX_MEMBERS:
                raise BundleError(f"the bundle {self.label} has more than {_MAX_MEMBERS} members")
            members[name] = (start, size)
        if missing := [name for name in (SUMS, INDEX) if name not in members]:
            raise BundleError(f"{self.label} is not a bundle: it lacks {' and '.join(missing)}")
        return members

    def _read_sums(self) -> dict[str, str]:
        """The sha256 of each member, by name, from ``SHA256SUMS``."""
        start, size = self._members[SUMS]
        if size > _MAX_LINE * len(self._members):
            raise BundleError(
                f"{SUMS} in the bundle {self.label} has {size} bytes, more than its {len(self._members)} members need"
            )
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
