"""How the user's own data files are read: one settings object, which every call that reads rows takes."""

import codecs
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Self

from pointsman.registry.errors import SettingsError, unknown

from .arguments import is_whole, short_repr

QUOTINGS: Final = ("auto", "csv", "none")
KINDS: Final = ("class", "score")

_SPELLED: Final[Mapping[str, str]] = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";"}
"""Delimiters that are hard to type."""

_NOT_OF_FILES: Final = (
    "idna",
    "punycode",
    "utf-7",
    "unicode-escape",
    "raw-unicode-escape",
    "charmap",
    "undefined",
    "mbcs",
    "oem",
)
"""Codecs of text that no file is written in: of host names, mail headers and Python's source, or another one on each
machine. They would read a file as other text than it shows."""

_USUAL: Final = ("utf-8", "utf-16", "cp1252", "latin-1", "gb18030", "shift_jis", "euc-kr")


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How data files of the user's own are read: quotes, delimiter, encoding, bad rows, and what a label is.

    Every call that reads rows takes it as ``reading``, as this object or as a mapping of some of its fields:
    ``train``, ``train_like`` (where a mapping changes single fields), ``fuse``, ``tune``, ``merge``. A run records it,
    so that resuming or repeating the run reads the files as it did.

    To read files in a new place, pass it on: ``DataSource.of(data, validation, text, label, reading)`` for a task's
    rows, or ``load_table_data(…, reading=reading)``, or ``read_table(path, columns, reading, label=label)`` for bare
    columns. At the command line, ``reading_options`` gives a command the options, and ``reading_of`` collects them.

    Raises:
        SettingsError: A value that cannot work; the message names the field and what is allowed.

    Examples:
        >>> train("mine", base="minilm", data="MRPC/train.tsv", reading=ReadSettings(quoting="none"))
    """

    quoting: str = "auto"
    """Quotes in CSV and TSV files. ``csv``: RFC 4180, quotes enclose a field. ``none``: quotes are text, and every line
    is a row. ``auto``: ``csv``, or in tab-separated files what their quotes fit; where quotes may be either and rows
    would be merged, the file is refused."""
    delimiter: str | None = None
    """What separates the fields of a line, one character; None: a comma, in ``.tsv`` files a tab. With a delimiter, a
    text file of any other ending is read, too."""
    encoding: str = "utf-8"
    """The encoding of text files, by Python's names; not one of host names, mail or source code, such as ``idna``."""
    skip_bad_rows: int = 0
    """Leave out at most this many rows of each file that cannot be used, and list each; more are an error."""
    kind: str | None = None
    """What the labels are, ``class`` or ``score``; None: read from their values."""

    def __post_init__(self) -> None:
        if self.quoting not in QUOTINGS:
            raise SettingsError(f"quoting must be one of {', '.join(QUOTINGS)}; found {short_repr(self.quoting)}")
        if self.kind is not None and self.kind not in KINDS:
            raise SettingsError(f"kind must be one of {', '.join(KINDS)}; found {short_repr(self.kind)}")
        if not is_whole(self.skip_bad_rows) or self.skip_bad_rows < 0:
            raise SettingsError(
                f"skip_bad_rows must be a number of rows, at least 0; found {short_repr(self.skip_bad_rows)}"
            )
        delimiter = _SPELLED.get(self.delimiter, self.delimiter) if isinstance(self.delimiter, str) else self.delimiter
        if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n'):
            raise SettingsError(
                f"delimiter must be one character, no quote and no line break, or 'tab'; found {short_repr(delimiter)}"
            )
        object.__setattr__(self, "delimiter", delimiter)
        object.__setattr__(self, "encoding", _encoding(self.encoding))

    @property
    def codec(self) -> str:
        """The codec to decode with: that of the encoding, which for UTF-8 skips a byte-order mark."""
        return "utf-8-sig" if self.encoding == "utf-8" else self.encoding

    @classmethod
    def of(cls, reading: "Self | Mapping[str, Any] | None", start: "Self | None" = None) -> Self:
        """The settings that a caller gives, as an object or as a mapping of single fields.

        Args:
            reading: The settings; of a mapping, the other fields are those of ``start``; None: all of them are.
            start: The settings to change; None: the defaults.

        Raises:
            SettingsError: An unknown field, a value that cannot work, or something else than settings.
        """
        start = cls() if start is None else start
        if reading is None:
            return start
        if isinstance(reading, cls):
            return reading
        if not isinstance(reading, Mapping):
            raise SettingsError(f"reading must be ReadSettings or a mapping of its fields; found {short_repr(reading)}")
        known = [field.name for field in fields(cls)]
        if strangers := [name for name in reading if name not in known]:
            raise unknown(SettingsError, "setting of reading", str(strangers[0]), known)
        return replace(start, **reading)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote, also that of another release: missing fields get their defaults."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def to_dict(self) -> dict[str, Any]:
        """Every field as JSON."""
        return asdict(self)


def _encoding(name: object) -> str:
    """The name of a text encoding as Python writes it.

    Raises:
        SettingsError: No such encoding, or one that is not of text files.
    """
    try:
        codec = codecs.lookup(str(name))
        if codec.name in _NOT_OF_FILES:
            raise LookupError(codec.name)
        "".encode(codec.name)  # refuses codecs that turn bytes into bytes, as hex and zip
    except (LookupError, UnicodeError, ValueError):
        raise SettingsError(
            f"encoding must be one of text files, by Python's name, as {', '.join(_USUAL)}; found {short_repr(name)}"
        ) from None
    return "utf-8" if codec.name == "utf-8-sig" else codec.name
