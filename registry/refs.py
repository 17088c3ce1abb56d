"""Names and refs: what they may contain, how they are read and printed.

sst2               the latest version of the adapter sst2
sst2@3             its version 3
sst2@latest        the same as sst2
sst2@best          the best of the versions scored as the newest one is: with its primary metric, on the same rows
sst2@best@3        the best of the versions scored as version 3 is (or an alias in place of the number)
sst2@best@any      the version with the greatest score, whatever it is of
sst2@production    the version that the alias production points to
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from .errors import InvalidNameError, SettingsError

LATEST: Final = "latest"
BEST: Final = "best"
ANY: Final = "any"

GREATEST_NUMBER: Final = 999_999_999
"""The greatest number that a version can have, since a ref is read with nine digits."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_METRIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*")
_RUN = re.compile(r"[0-9a-f]{12}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_RESERVED_ALIAS = re.compile(r"latest|best|v?[0-9]+")

_RULE = "use 1 to 64 of a-z, 0-9, '_' and '-', starting with a letter or digit"


def check_name(text: str, what: str = "adapter name") -> str:
    """Return ``text`` if it may name an adapter, a task or an alias.

    Raises:
        InvalidNameError: It breaks the rule ``[a-z0-9][a-z0-9_-]{0,63}``.
    """
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise InvalidNameError(f"{what} {_quoted(text)} is not valid: {_RULE}")
    return text


def check_alias(text: str) -> str:
    """Return ``text`` if it may be an alias: a name that is none of the reserved selectors.

    Raises:
        InvalidNameError: It breaks the rule for names, or is ``latest``, ``best``, a number or ``v`` and a number.
    """
    check_name(text, "alias")
    if _RESERVED_ALIAS.fullmatch(text):
        raise InvalidNameError(f"alias '{text}' is reserved: latest, best, N and vN already mean something")
    return text


def check_metric(text: str) -> str:
    """Return ``text`` if it may name a metric, as in ``eval/accuracy``.

    Raises:
        InvalidNameError: It is empty, over 200 characters, or has other characters than letters, digits and ``_.-/``.
    """
    if not isinstance(text, str) or len(text) > 200 or not _METRIC.fullmatch(text):
        raise InvalidNameError(
            f"metric name {_quoted(text)} is not valid: use letters, digits and '_.-', parted by '/'"
        )
    return text


def check_run(text: str) -> str:
    """Return ``text`` if it may be a run's uid: 12 hexadecimal digits.

    Raises:
        InvalidNameError: It is something else.
    """
    if not isinstance(text, str) or not _RUN.fullmatch(text):
        raise InvalidNameError(f"run {_quoted(text)} is not valid: it must be 12 hexadecimal digits")
    return text


def check_filename(text: str) -> str:
    """Return ``text`` if it may name a file of a version: a plain name without a path.

    Raises:
        SettingsError: It is empty, has a separator or a character that is not printable, or is over 255 bytes.
    """
    plain = isinstance(text, str) and text not in ("", ".", "..") and text.isprintable() and not set("/\\") & {*text}
    if not plain or len(text.encode()) > 255:
        raise SettingsError(f"file name {_quoted(text)} is not valid: use a plain name without a path")
    return text


def check_tag(key: str, value: str | None) -> None:
    """Refuse a tag that cannot be: its key follows the rules for metric names, its value is a text of some length.

    Raises:
        InvalidNameError: The key breaks the rules, or the value is over 5,000 characters or has control characters.
    """
    if not isinstance(key, str) or len(key) > 200 or not _METRIC.fullmatch(key):
        raise InvalidNameError(f"tag {_quoted(key)} is not valid: use letters, digits and '_.-', parted by '/'")
    if value is not None:
        _check_text(f"the value of the tag '{key}'", value, 5_000)


def check_note(text: str) -> str:
    r"""Return a version's note as it is stored: its line breaks are ``\n``, however they were written.

    Raises:
        InvalidNameError: It is over 65,536 characters, or has control characters other than line breaks and tabs.
    """
    if isinstance(text, str):
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    _check_text("the note", text, 65_536)
    return text


def _check_text(what: str, text: str, most: int) -> None:
    if not isinstance(text, str):
        raise InvalidNameError(f"{what} is no text: {_quoted(text)}")
    if len(text) > most:
        raise InvalidNameError(f"{what} is {len(text):,} characters long: at most {most:,} are allowed")
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise InvalidNameError(f"{what} has the character {character!a} in it: use plain text")


@dataclass(frozen=True)
class Ref:
    """A parsed ref: an adapter's name, and which of its versions is meant.

    ``selector`` is a version number, or ``"latest"``, ``"best"`` or an alias. ``scored_as`` is for ``"best"`` only: the
    selector of the version whose metric and rows count, or ``"any"``; None: those of the newest version with a score.
    """

    name: str
    selector: int | str = LATEST
    scored_as: int | str | None = None

    @classmethod
    def parse(cls, text: "str | Ref") -> "Ref":
        """Read a ref as people write it.

        Raises:
            InvalidNameError: The name, number or alias breaks its rule.
        """
        if isinstance(text, Ref):
            return text
        if not isinstance(text, str):
            raise InvalidNameError(f"a ref is a text such as sst2@3; found {_quoted(text)}")
        name, at, rest = text.partition("@")
        check_name(name)
        if not at:
            return cls(name)
        selector, also, scored_as = rest.partition("@")
        if not also:
            return cls(name, _selector(selector, text))
        if selector != BEST or scored_as == BEST:
            raise InvalidNameError(
                f"ref {_quoted(text)} is not valid: a second '@' follows 'best' only, and names a version or 'any'"
            )
        return cls(name, BEST, _selector(scored_as, text))

    def __str__(self) -> str:
        if self.selector == LATEST:
            return self.name
        return f"{self.name}@{self.selector}" + ("" if self.scored_as is None else f"@{self.scored_as}")


def _selector(text: str, ref: str) -> int | str:
    """Read what stands after an '@'."""
    if _NUMBER.fullmatch(text):
        return int(text)
    if text in (LATEST, BEST):
        return text
    if not _NAME.fullmatch(text) or _RESERVED_ALIAS.fullmatch(text):
        raise InvalidNameError(
            f"ref {_quoted(ref)} is not valid: after '@' write a version's number, 'latest', 'best' or an alias"
        )
    return text


def _quoted(value: object) -> str:
    """Quote hostile text for a message: short, and with nothing that a terminal would act on."""
    text = value if isinstance(value, str) else repr(value)
    return ascii(text if len(text) <= 80 else text[:77] + "...")
