"""Write versions, with everything known about them, into a bundle."""

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..errors import Action, Advice, BundleError, ConflictError, StoreError
from ..records import Version
from ..refs import Ref
from ..registry import Registry
from ..runs import listing as run_listing
from ..storage.files import write_atomically
from ..versions import catalog, lineage, listing
from .bundle import FORMAT, INDEX, MAX_INDEX, SUMS, read_span
from .bundle_records import point_line, run_record, version_record


def export_bundle(registry: Registry, refs: Iterable[str | Ref], path: str | Path) -> list[Version]:
    """Write versions, and those that they were made from, into a bundle.

    Args:
        registry: The registry.
        refs: The versions.
        path: The bundle; a new file, which appears when it is complete.

    Returns:
        All versions in the bundle, parents before their children.

    Raises:
        NotFoundError: A version does not exist.
        ConflictError: The file exists.
        ObjectMissingError, ObjectCorruptError: A file of a version is lost or damaged.
        StoreError: The bundle cannot be written.
        BundleError: There are too many versions for one bundle.

    Examples:
        >>> [version.ref for version in export_bundle(registry, ["sst2@best"], "sst2.tar")]
        ['sst2@3']
    """
    path = Path(path)
    if path.exists():
        raise ConflictError(f"{path} exists; name another file")
    with tempfile.TemporaryFile() as histories:
        # One state of the database, and only as long as it takes to read it: in SQLite, a reader can delay writers.
        with registry.database.reading() as connection:
            ids = lineage.ancestors(connection, [catalog.resolve(connection, Ref.parse(ref)).id for ref in refs])
            versions = listing.by_ids(connection, ids)
            parents = [lineage.parents(connection, version_id) for version_id in ids]
            uids = sorted({version.run for version in versions if version.run is not None})
            runs = [run for uid in uids for run in run_listing.records(connection, where=[t.run.c.uid == uid])]
            spans = {uid: _write_history(connection, uid, histories) for uid in uids}
        records = {
            "format": FORMAT,
            "versions": [
                version_record(version, its_parents) for version, its_parents in zip(versions, parents, strict=True)
            ],
            "runs": [run_record(run) for run in runs],
        }
        index = json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False).encode()
        if len(index) > MAX_INDEX:
            raise BundleError(f"what is known of {len(versions):,} versions is too much for one bundle: export fewer")
        objects = {file.sha256: file.size for version in versions for file in version.files}
        digests = {INDEX: hashlib.sha256(index).hexdigest()}
        digests |= {f"objects/{digest}": digest for digest in sorted(objects)}
        digests |= {f"history/{uid}.jsonl": span.sha256 for uid, span in spans.items()}
        sums = "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()

        def members() -> Iterator[bytes]:
            yield from _member(SUMS, len(sums), [sums])
            yield from _member(INDEX, len(index), [index])
            for digest, size in sorted(objects.items()):
                yield from _member(f"objects/{digest}", size, registry.store.stream(digest))
            for uid, span in spans.items():
                yield from _member(f"history/{uid}.jsonl", span.length, read_span(histories, span.start, span.length))
            yield bytes(2 * tarfile.BLOCKSIZE)  # the end of a tar

        try:
            write_atomically(path, members())
        except OSError as error:
            raise StoreError(f"the bundle {path} cannot be written: {error.strerror}") from error
    return versions


class _Span(NamedTuple):
    """The history of one run in the file of all histories."""

    start: int
    length: int
    sha256: str


def _write_history(connection: sa.Connection, uid: str, file: IO[bytes]) -> _Span:
    """Append the points of a run to a file, one a line."""
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
    for row in rows:
        line = point_line(*row)
        hashed.update(line)
        file.write(line)
    return _Span(start, file.tell() - start, hashed.hexdigest())


def _member(name: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A member of a tar: its header, its content, and zeros up to the end of its last block."""
    info = tarfile.TarInfo(name)
    info.size = size
    yield info.tobuf(tarfile.PAX_FORMAT)
    written = 0
    for chunk in chunks:
        written += len(chunk)
        yield chunk
    if written != size:
        raise BundleError(f"{name} has {written} bytes, its rows say {size}", advice=Advice(Action.VERIFY))
    yield bytes(-size % tarfile.BLOCKSIZE)
