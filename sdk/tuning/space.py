"""What a search goes through: ranges and choices of settings and of fields of the adapter method.

They are written as people type them: ``learning_rate=1e-4..1e-2:log``, ``weight_decay=0..0.1``,
``reduction_factor=4,8,16``, ``schedule=constant,linear``. A range is of whole numbers where both its ends are written
as such; a choice is a number, true, false, null or a word, as after ``--set``.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Self

from pointsman.registry.errors import SettingsError

Value = None | bool | int | float | str

_MOST: Final = 2**53
"""Whole numbers up to here are exact in floating point, in which samplers compute."""

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE: Final = re.compile(r"[+-]?\d+")
_WORD: Final = re.compile(r"(?!(true|false|null)\Z)[A-Za-z_][A-Za-z0-9_+-]*")
"""Words that need no quotes."""

_GRAMMAR: Final = "write LOW..HIGH, LOW..HIGH:log or A,B,C"


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from ``low`` to ``high``, both included: whole ones where both ends are of type int.

    Raises:
        SettingsError: Ends that are not finite numbers, of which the first is not below the second, or the first is
            not above 0 where the logarithm is taken.
    """

    low: float
    high: float
    log: bool = False
    """Whether the logarithm is drawn evenly, not the number: for what counts by factors, as a learning rate."""

    def __post_init__(self) -> None:
        ends = (self.low, self.high)
        if any(isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end) for end in ends):
            raise SettingsError(f"a range has to be between two finite numbers; found {self.low!r} and {self.high!r}")
        if self.low >= self.high:
            raise SettingsError(
                f"the range {self} does not rise: its low end has to be below its high one; one value is named alone"
            )
        if self.log and self.low <= 0:
            raise SettingsError(f"the range {self} takes the logarithm, so it has to begin above 0")
        if not self.whole:
            object.__setattr__(self, "low", float(self.low))
            object.__setattr__(self, "high", float(self.high))
            if not math.isfinite(self.high - self.low):
                raise SettingsError(f"the range {self} is too wide to draw from")
        elif max(map(abs, ends)) > _MOST:
            raise SettingsError(f"the range {self} goes beyond 2**53, the greatest whole number that is drawn exactly")

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def size(self) -> int | None:
        """How many values there are; None: more than can be counted."""
        return int(self.high) - int(self.low) + 1 if self.whole else None

    @property
    def samples(self) -> tuple[Value, ...]:
        """Values that stand for all: both ends."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low!r}..{self.high!r}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """Some values, each different; one alone is a value that stays as it is.

    Raises:
        SettingsError: There is none, one twice, or one that is no number, true, false, null or word.
    """

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SettingsError(f"there is nothing to choose from: {_GRAMMAR}")
        for value in self.values:
            if not isinstance(value, Value) or (isinstance(value, float) and not math.isfinite(value)):
                raise SettingsError(f"a choice has to be a finite number, true, false, null or a word; found {value!r}")
        if len(set(self.values)) < len(self.values):
            raise SettingsError(f"the choices {self} name a value twice")

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def samples(self) -> tuple[Value, ...]:
        """All of them."""
        return self.values

    def __str__(self) -> str:
        words = [value for value in self.values if isinstance(value, str)]
        bare = all(_WORD.fullmatch(word) for word in words)
        return ",".join(value if bare and isinstance(value, str) else json.dumps(value) for value in self.values)


Dimension = Range | Choices


@dataclass(frozen=True)
class Space:
    """Dimensions by the name of the setting or field, in the order of these names.

    Raises:
        SettingsError: There is none, or each has one value only.
    """

    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", dict(sorted(self.dimensions.items())))
        if not self.dimensions:
            raise SettingsError("the space is empty: name what to search, as learning_rate=1e-4..1e-2:log")
        if self.size == 1:
            raise SettingsError(
                f"there is nothing to search: {', '.join(self.texts)} has one value each; give one of them a range or "
                "several choices, or train with these values"
            )

    @classmethod
    def of(cls, given: Mapping[str, str | Dimension]) -> Self:
        """The space of dimensions, some of them as text, by name.

        Raises:
            SettingsError: What is no space.
        """
        return cls(
            {name: parse(name, value) if isinstance(value, str) else _dimension(value) for name, value in given.items()}
        )

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """The space that is written ``NAME=…``, a dimension each.

        Raises:
            SettingsError: What cannot be read, or names a dimension twice.
        """
        found: dict[str, Dimension] = {}
        for text in texts:
            name, equals, rest = text.partition("=")
            name = name.strip()
            if not name or not equals:
                raise SettingsError(f"a dimension is written NAME=…, as learning_rate=1e-4..1e-2:log; found {text!a}")
            if name in found:
                raise SettingsError(f"the space names {name} twice: {found[name]} and {rest}")
            found[name] = parse(name, rest)
        return cls(found)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every dimension as ``NAME=…``; ``parse`` makes the same space of them."""
        return tuple(f"{name}={dimension}" for name, dimension in self.dimensions.items())

    @property
    def size(self) -> int | None:
        """How many combinations there are; None: more than can be counted."""
        sizes = [dimension.size for dimension in self.dimensions.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def combination(self, index: int) -> dict[str, Value]:
        """The combination of that number, below ``size``, of a space whose combinations can be counted."""
        found: dict[str, Value] = {}
        for name, dimension in self.dimensions.items():
            assert dimension.size is not None
            index, place = divmod(index, dimension.size)
            found[name] = dimension.values[place] if isinstance(dimension, Choices) else int(dimension.low) + place
        return found


def format_value(value: Value) -> str:
    """A value as people type it: words without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def format_params(params: Mapping[str, Value]) -> str:
    """Parameters as people read them: ``learning_rate=0.001 r=8``."""
    return " ".join(f"{name}={format_value(value)}" for name, value in params.items())


def parse(name: str, text: str) -> Dimension:
    """What is written after ``NAME=``.

    Raises:
        SettingsError: It cannot be read; the message names the dimension.
    """
    try:
        # In quotes, two points are part of a word.
        return _range(text.strip()) if ".." in text and '"' not in text else Choices(_values(text))
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error


def _range(text: str) -> Range:
    ends, colon, scale = text.partition(":")
    low, _, high = ends.partition("..")
    if not (_NUMBER.fullmatch(low) and _NUMBER.fullmatch(high)) or scale != ("log" if colon else ""):
        raise SettingsError(f"{text!a} is no range: {_GRAMMAR}")
    numbers = float(low), float(high)
    if _WHOLE.fullmatch(low) and _WHOLE.fullmatch(high) and max(map(abs, numbers)) <= _MOST:
        return Range(low=int(low), high=int(high), log=bool(colon))
    return Range(low=numbers[0], high=numbers[1], log=bool(colon))


def _values(text: str) -> tuple[Value, ...]:
    try:
        return tuple(_json(f"[{text}]"))
    except ValueError:  # some of it is words, or nothing
        pieces = [piece.strip() for piece in text.split(",")]
    if "" in pieces:
        raise SettingsError(f"{text!a} has an empty choice: {_GRAMMAR}")
    return tuple(map(_value, pieces))


def _value(text: str) -> Value:
    try:
        value = _json(text)
    except ValueError:
        value = text
    if not isinstance(value, Value) or not text.isprintable() or set(text) & set('"[]{}'):
        raise SettingsError(f"{text!a} is no choice: write a number, true, false, null or a word")
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError(text) from error


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _dimension(value: Any) -> Dimension:
    if not isinstance(value, Dimension):
        raise SettingsError(f"a dimension is a text as '1e-4..1e-2:log', a Range or Choices; found {value!r}")
    return value
