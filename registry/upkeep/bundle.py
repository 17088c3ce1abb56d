"""Bundles: one plain tar that moves versions, with all that is known about them, between registries.

    SHA256SUMS              what ``sha256sum -c`` reads: every other member
    bundle.json             versions, the runs that made them, aliases; parents come before their children
    objects/SHA256          the files of the versions
    history/UID.jsonl       every metric point of a run: [metric, step, epoch, wall time, value], as they were logged

Nothing in it is compressed, and reading it writes no file by a name that it gives: so there are no paths to escape
from, and nothing grows when it is unpacked. The same versions make the same bundle, byte for byte.
"""

import hashlib
import io
import json
import math
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import sqlalchemy as sa

from ..database import tables as t
from ..errors import Action, Advice, BundleError, ConflictError, StoreError
from ..records import Parent, Run, Version
from ..refs import Ref
from ..registry import Registry
from ..runs import listing as run_listing
from ..storage.files import write_atomically
from ..storage.objects import CHUNK, checked
from ..versions import catalog, lineage, listing

FORMAT: Final = 1
SUMS: Final = "SHA256SUMS"
INDEX: Final = "bundle.json"

_MEMBER: Final = re.compile(r"bundle\.json|objects/[0-9a-f]{64}|history/[0-9a-f]{12}\.jsonl")
_SUM: Final = re.compile(r"([0-9a-f]{64})  (\S+)")
_MOST_INDEX: Final = 1 << 28


def export_bundle(registry: Registry, refs: Iterable[str | Ref], path: str | Path) -> list[Version]:
    """Write versions, and those that they were made from, into a bundle; returns them.

    Args:
        registry: The registry.
        refs: The versions.
        path: The bundle; appears when it is complete.

    Raises:
        NotFoundError: There is no such version.
        ConflictError: Something is there already.
        ObjectMissingError, ObjectCorruptError: A file is lost or damaged.
        StoreError: The bundle cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise ConflictError(f"{path} exists: name another file")
    with tempfile.TemporaryFile() as histories:
        # One state of the database, and no longer than it takes to read it: on SQLite, writers wait for readers.
        with registry.database.reading() as connection:
            ids = lineage.ancestors(connection, [catalog.resolve(connection, Ref.parse(ref)).id for ref in refs])
            versions = listing.by_ids(connection, ids)
            parents = [lineage.parents(connection, version_id) for version_id in ids]
            uids = sorted({version.run for version in versions if version.run is not None})
            found = {
                run.uid: run for uid in uids for run in run_listing.records(connection, where=[t.run.c.uid == uid])
            }
            spans = {uid: _write_history(connection, uid, histories) for uid in uids}
        objects = {file.sha256: file.size for version in versions for file in version.files}
        index = _index(versions, found, parents)
        sums = {INDEX: hashlib.sha256(index).hexdigest()}
        sums |= {f"objects/{digest}": digest for digest in sorted(objects)}
        sums |= {f"history/{uid}.jsonl": sha256 for uid, (_, _, sha256) in spans.items()}
        listed = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()

        def members() -> Iterator[bytes]:
            yield from _member(SUMS, len(listed), [listed])
            yield from _member(INDEX, len(index), [index])
            for digest, size in sorted(objects.items()):
                yield from _member(f"objects/{digest}", size, registry.store.stream(digest))
            for uid, (start, length, _) in spans.items():
                yield from _member(f"history/{uid}.jsonl", length, _span(histories, start, length))
            yield bytes(2 * tarfile.BLOCKSIZE)

        try:
            write_atomically(path, members())
        except OSError as error:
            raise StoreError(f"the bundle {path} cannot be written: {error.strerror}") from error
    return versions


class Bundle:
    """A bundle opened for reading; what it holds is checked against ``SHA256SUMS`` as it is read.

    Raises:
        BundleError: It is no bundle, or one with members that no bundle has.
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
        """The content of ``bundle.json``, its format checked."""
        if self._members[INDEX][1] > _MOST_INDEX:
            raise BundleError(
                f"the bundle {self.label} has an index of {self._members[INDEX][1]} bytes: that is no index"
            )
        try:
            found = json.loads(b"".join(self.stream(INDEX)))
        except (ValueError, RecursionError) as error:
            raise BundleError(f"the bundle {self.label} has an index that is no JSON: {error}") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise BundleError(
                f"the bundle {self.label} is of another format than {FORMAT}, the one that this pointsman reads"
            )
        return found

    def has(self, name: str) -> bool:
        """Whether it has a member of that name."""
        return name in self._members

    def stream(self, name: str) -> Iterator[bytes]:
        """A member, piece by piece; the last piece comes only if the sha256 of all is right."""
        start, size = self._members[name]
        return checked(_span(self._file, start, size), self._sums[name], f"{name} in the bundle {self.label}")

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a member, its sha256 checked before the last one comes."""
        rest = b""
        for chunk in self.stream(name):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > CHUNK:
                raise BundleError(f"{name} in the bundle {self.label} has a line of over {CHUNK} bytes")
        if rest:
            raise BundleError(f"{name} in the bundle {self.label} ends in the middle of a line")

    def _scan(self) -> dict[str, tuple[int, int]]:
        """Where each member lies: only plain files of the names that a bundle has, each once."""
        members: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for member in tar:
                    name = member.name
                    if name != SUMS and not _MEMBER.fullmatch(name):
                        raise BundleError(f"the bundle {self.label} has a member {name[:80]!a}, which no bundle has")
                    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
                        raise BundleError(f"the bundle {self.label} has {name!a} as something else than a plain file")
                    if name in members:
                        raise BundleError(f"the bundle {self.label} has {name!a} twice")
                    members[name] = (member.offset_data, member.size)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise BundleError(f"{self.label} is no bundle, or a damaged one: {error}") from error
        end = self._file.seek(0, io.SEEK_END)
        if any(start + size > end for start, size in members.values()):
            raise BundleError(f"the bundle {self.label} is cut off: copy it again")
        if not {SUMS, INDEX} <= members.keys():
            raise BundleError(f"{self.label} is no bundle: it lacks {SUMS} or {INDEX}")
        return members

    def _read_sums(self) -> dict[str, str]:
        start, size = self._members[SUMS]
        if size > _MOST_INDEX:
            raise BundleError(f"the bundle {self.label} has checksums of {size} bytes: those are none")
        sums: dict[str, str] = {}
        for line in b"".join(_span(self._file, start, size)).decode(errors="replace").splitlines():
            found = _SUM.fullmatch(line)
            if found is None or found[2] in sums:
                raise BundleError(f"the bundle {self.label} has a line in {SUMS} that cannot be: {line[:80]!a}")
            sums[found[2]] = found[1]
        if sums.keys() != self._members.keys() - {SUMS}:
            other = sorted(sums.keys() ^ (self._members.keys() - {SUMS}))
            raise BundleError(f"the bundle {self.label} and its {SUMS} do not agree on {other[0][:80]!a}")
        for name, digest in sums.items():
            if name.startswith("objects/") and name != f"objects/{digest}":
                raise BundleError(f"the bundle {self.label} has an object under a name that is not its sha256")
        return sums


def _index(versions: Sequence[Version], found: dict[str, Run], parents: Sequence[Sequence[Parent]]) -> bytes:
    index = {
        "format": FORMAT,
        "versions": [
            {
                "name": version.name,
                "number": version.number,
                "digest": version.digest,
                "task": version.task,
                "kind": version.kind.value,
                "method": version.method,
                "config": version.config,
                "base": vars(version.base),
                "max_length": version.max_length,
                "parameters": version.parameters,
                "metrics": {key: None if math.isnan(value) else value for key, value in version.metrics.items()},
                "primary_metric": version.primary_metric,
                "files": [vars(file) for file in version.files],
                "aliases": list(version.aliases),
                "tags": version.tags,
                "note": version.note,
                "parents": [{"ref": parent.ref, "digest": parent.digest, "role": parent.role} for parent in made_from],
                "run": version.run,
                "created_at": version.created_at.isoformat(),
            }
            for version, made_from in zip(versions, parents, strict=True)
        ],
        "runs": [
            {
                "uid": run.uid,
                "adapter": run.adapter,
                "task": run.task,
                "method": run.method,
                "base": vars(run.base),
                "settings": run.settings,
                "data": run.data,
                "environment": run.environment,
                "seed": run.seed,
                "status": run.status.value,
                "error": run.error,
                "started_at": run.started_at.isoformat(),
                "ended_at": None if run.ended_at is None else run.ended_at.isoformat(),
                "heartbeat_at": run.heartbeat_at.isoformat(),
                "origin": None if run.origin is None else vars(run.origin),
            }
            for run in found.values()
        ],
    }
    return json.dumps(index, indent=1, ensure_ascii=False, allow_nan=False).encode()


def _write_history(connection: sa.Connection, uid: str, file: IO[bytes]) -> tuple[int, int, str]:
    """Write a run's points as lines; returns where they begin, how many bytes they are, and their sha256."""
    p = t.metric_point.c
    start = file.tell()
    hashed = hashlib.sha256()
    rows = connection.execution_options(yield_per=10_000).execute(
        sa.select(t.metric_key.c.name, p.step, p.epoch, p.wall_time, p.value)
        .join(t.metric_key, p.key_id == t.metric_key.c.id)
        .join(t.run, p.run_id == t.run.c.id)
        .where(t.run.c.uid == uid)
        .order_by(t.metric_key.c.name, p.seq)
    )
    for name, step, epoch, wall_time, value in rows:
        # JSON has no infinity, and 1e999 is one to every reader of floating-point numbers.
        number = "null" if value is None else repr(value).replace("inf", "1e999")
        encoded = f"[{json.dumps(name)},{step},{json.dumps(epoch)},{wall_time!r},{number}]\n".encode()
        hashed.update(encoded)
        file.write(encoded)
    return start, file.tell() - start, hashed.hexdigest()


def _member(name: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A member of a tar: its header, its content, and what fills its last block up."""
    info = tarfile.TarInfo(name)
    info.size = size
    yield info.tobuf(tarfile.PAX_FORMAT)
    written = 0
    for chunk in chunks:
        written += len(chunk)
        yield chunk
    if written != size:
        raise BundleError(f"{name} has {written} bytes, not {size}", advice=Advice(Action.VERIFY))
    yield bytes(-size % tarfile.BLOCKSIZE)


def _span(file: IO[bytes], start: int, length: int) -> Iterator[bytes]:
    end = start + length
    while start < end:
        file.seek(start)
        chunk = file.read(min(CHUNK, end - start))
        if not chunk:
            raise BundleError("it is cut off: copy it again")
        start += len(chunk)
        yield chunk
