"""The headers of a tar, read one block after the other: plain files only, and never more than a few bytes of memory.

The formats are ustar and pax (POSIX.1-2001) and the sizes of GNU tar, so that a bundle may also be packed by another
program. What a bundle never has is refused where it begins: links and devices, holes, long names of GNU, extended
headers of more than ``MAX_EXTENDED`` bytes or several in a row, sizes below 0 or beyond the end of the file.

A general reader reads an extended header whole, whatever size it declares, and goes on to the next one: a hostile file
then takes minutes, or all memory. Here a header costs its 512 bytes, and the work is bounded by the size of the file.
"""

import os
import re
from collections.abc import Iterator
from typing import IO, Final, NamedTuple

from ..errors import BundleError

BLOCK: Final = 512
"""Bytes of a header; contents are padded to a multiple."""

MAX_EXTENDED: Final = 16 * BLOCK
"""Bytes of the records of an extended header at most. Exporters write one for files of 8 GiB and more, some programs
one of two or three hundred bytes (times, owners) for every file."""

_RECORD: Final = re.compile(rb"([1-9][0-9]{0,4}) ([^=\n]+)=")
_OCTAL: Final = re.compile(rb" *([0-7]*)[ \0]*")
_SIZE: Final = re.compile(rb"[0-9]{1,19}")
_REGULAR: Final = (b"0", b"\0")
_EXTENDED: Final = b"x"


class Member(NamedTuple):
    """A file in a tar."""

    name: str
    is_file: bool
    """Whether it is a plain file; otherwise nothing is known of it but its name."""
    start: int
    """The offset of its content."""
    size: int
    """Bytes of its content, all of which are in the tar."""


def members(file: IO[bytes], label: str) -> Iterator[Member]:
    """The members of a tar, in order, up to its end mark or the end of the file.

    The reader should stop at the first member that is no plain file, since where the next one begins depends on it.

    Args:
        file: The tar; it may be read elsewhere between two members.
        label: Its name in messages.

    Raises:
        BundleError: A header is damaged, or is one that no bundle has; or a member is longer than the tar.
    """
    end = file.seek(0, os.SEEK_END)
    position = 0
    while (header := _block(file, position, end, label)) is not None:
        position += BLOCK
        records: dict[bytes, bytes] = {}
        if header[156:157] == _EXTENDED:
            size = _checked_size(_number(header, label), end - position, label)
            if size > MAX_EXTENDED:
                raise _damaged(label, f"it has an extended header of {size} bytes, more than {MAX_EXTENDED}")
            records = _records(_read(file, position, size), label)
            position += _padded(size)
            header = _block(file, position, end, label)
            if header is None:
                raise _damaged(label, "it ends after an extended header")
            if header[156:157] == _EXTENDED:
                raise _damaged(label, "it has two extended headers in a row")
            position += BLOCK
        size = _size_record(records[b"size"], label) if b"size" in records else _number(header, label)
        is_sparse = any(key.startswith(b"GNU.sparse.") for key in records)
        name = records.get(b"path") or _name(header)
        is_file = header[156:157] in _REGULAR and not is_sparse
        yield Member(name.decode(errors="replace"), is_file, position, _checked_size(size, end - position, label))
        position += _padded(size)


def _block(file: IO[bytes], position: int, end: int, label: str) -> bytes | None:
    """The header at a position, its checksum checked; None at the end of the tar."""
    if position >= end:
        if not position:
            raise _damaged(label, "it is empty")
        return None
    block = _read(file, position, BLOCK)
    if len(block) < BLOCK:
        raise _damaged(label, "it ends inside a header")
    if not any(block):
        return None
    # The sum of all bytes, with the checksum's own eight as spaces (POSIX.1-2001, pax).
    match = _OCTAL.fullmatch(block[148:156])
    if match is None or int(match[1] or b"0", 8) != sum(block[:148]) + sum(block[156:]) + 8 * ord(" "):
        raise _damaged(label, f"there is no header at byte {position}")
    return block


def _number(header: bytes, label: str) -> int:
    """The size in a header: octal digits, or binary after a first byte of 128 (GNU)."""
    field = header[124:136]
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise _damaged(label, "the size of a member is no number of at least 0")
    return int(match[1] or b"0", 8)


def _records(content: bytes, label: str) -> dict[bytes, bytes]:
    """The records ``LENGTH KEY=VALUE`` of an extended header, each ended by a line break."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(content):
        match = _RECORD.match(content, start)
        end = start + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(content) or content[end - 1 : end] != b"\n":
            raise _damaged(label, "it has an extended header with an invalid record")
        records[match[2]] = content[match.end() : end - 1]
        start = end
    return records


def _size_record(value: bytes, label: str) -> int:
    if not _SIZE.fullmatch(value):
        raise _damaged(label, "the size of a member is no number of at least 0")
    return int(value)


def _checked_size(size: int, rest: int, label: str) -> int:
    if size > rest:
        raise BundleError(
            f"the bundle {label} is incomplete, or is damaged: a member has {size} bytes, and {rest} follow"
        )
    return size


def _name(header: bytes) -> bytes:
    """The name in a header, which ustar divides where it is long."""
    name, prefix = (field.partition(b"\0")[0] for field in (header[:100], header[345:500]))
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _read(file: IO[bytes], position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _padded(size: int) -> int:
    return size + -size % BLOCK


def _damaged(label: str, reason: str) -> BundleError:
    return BundleError(f"{label} is not a bundle, or is damaged: {reason}")
