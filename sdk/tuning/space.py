"""Search spaces: ranges and choices of settings and of fields of the adapter method.

As text: ``learning_rate=1e-4..1e-2:log``, ``weight_decay=0..0.1``, ``reduction_factor=4,8,16``,
``schedule=constant,linear``. A range holds integers if both ends are written as integers. A choice is a JSON number,
true, false, null or a word.
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
"""Integers up to this are exact as floats, which samplers compute with."""

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE: Final = re.compile(r"[+-]?\d+")
_WORD: Final = re.compile(r"(?!(true|false|null)\Z)[A-Za-z_][A-Za-z0-9_+-]*")
"""Words that need no quotes."""

_GRAMMAR: Final = "write LOW..HIGH, LOW..HIGH:log or A,B,C"


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; integers if both ends are integers.

    Raises:
        SettingsError: An end is not a finite number, ``low`` is not below ``high``, or ``low`` is not above 0 although
            ``log`` is set.

    Examples:
        >>> str(Range(low=1e-4, high=1e-2, log=True))
        '0.0001..0.01:log'
    """

    low: float
    high: float
    log: bool = False
    """Sample uniformly in the logarithm, as suits a learning rate."""

    def __post_init__(self) -> None:
        ends = (self.low, self.high)
        if any(isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end) for end in ends):
            raise SettingsError(f"a range must have two finite ends; found {self.low!r} and {self.high!r}")
        if self.low >= self.high:
            raise SettingsError(
                f"the range {self} is empty: its low end must be below its high end; write a single value alone"
            )
        if self.log and self.low <= 0:
            raise SettingsError(f"the range {self} is logarithmic, so its low end must be above 0")
        if not self.whole:
            object.__setattr__(self, "low", float(self.low))
            object.__setattr__(self, "high", float(self.high))
            if not math.isfinite(self.high - self.low):
                raise SettingsError(f"the range {self} is too wide to sample")
        elif max(map(abs, ends)) > _MOST:
            raise SettingsError(f"the range {self} exceeds 2**53, the largest integer that is sampled exactly")

    @property
    def whole(self) -> bool:
        """Whether it holds integers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def size(self) -> int | None:
        """The number of values; None for a range of floats."""
        return int(self.high) - int(self.low) + 1 if self.whole else None

    @property
    def samples(self) -> tuple[Value, ...]:
        """Values to check in place of all: both ends."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low!r}..{self.high!r}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """Distinct values to choose from; a single value is fixed.

    Raises:
        SettingsError: There is no value, a duplicate, or a value that is not a number, true, false, null or a word.
    """

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SettingsError(f"the list of choices is empty: {_GRAMMAR}")
        for value in self.values:
            if not isinstance(value, Value) or (isinstance(value, float) and not math.isfinite(value)):
                raise SettingsError(f"a choice must be a finite number, true, false, null or a word; found {value!r}")
        if len(set(self.values)) < len(self.values):
            raise SettingsError(f"the choices {self} have a duplicate value")

    @property
    def size(self) -> int:
        """The number of values."""
        return len(self.values)

    @property
    def samples(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    def __str__(self) -> str:
        words = [value for value in self.values if isinstance(value, str)]
        bare = all(_WORD.fullmatch(word) for word in words)
        return ",".join(value if bare and isinstance(value, str) else json.dumps(value) for value in self.values)


Dimension = Range | Choices


@dataclass(frozen=True)
class Space:
    """Dimensions by the name of the setting or field, sorted by name.

    Raises:
        SettingsError: There is no dimension, or every dimension has a single value.

    Examples:
        >>> Space.parse(["learning_rate=1e-4..1e-2:log", "reduction_factor=4,8,16"]).texts
        ('learning_rate=0.0001..0.01:log', 'reduction_factor=4,8,16')
    """

    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", dict(sorted(self.dimensions.items())))
        if not self.dimensions:
            raise SettingsError("the space is empty: name at least one dimension, as learning_rate=1e-4..1e-2:log")
        if self.size == 1:
            raise SettingsError(
                f"nothing to search: each of {', '.join(self.texts)} has one value; give one of them a range or "
                "several choices, or train with these values"
            )

    @classmethod
    def of(cls, given: Mapping[str, str | Dimension]) -> Self:
        """Make a space of dimensions by name, given as text or as ``Range`` and ``Choices``.

        Raises:
            SettingsError: A dimension cannot be read.
        """
        return cls(
            {name: parse(name, value) if isinstance(value, str) else _dimension(value) for name, value in given.items()}
        )

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Read texts of the form ``NAME=…``, one a dimension.

        Raises:
            SettingsError: A text cannot be read, or a dimension is named twice.
        """
        dimensions: dict[str, Dimension] = {}
        for text in texts:
            name, equals, rest = text.partition("=")
            name = name.strip()
            if not name or not equals:
                raise SettingsError(f"a dimension is written NAME=…, as learning_rate=1e-4..1e-2:log; found {text!a}")
            if name in dimensions:
                raise SettingsError(f"the space names {name} twice: {dimensions[name]} and {rest}")
            dimensions[name] = parse(name, rest)
        return cls(dimensions)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every dimension as ``NAME=…``, which ``parse`` reads back."""
        return tuple(f"{name}={dimension}" for name, dimension in self.dimensions.items())

    @property
    def size(self) -> int | None:
        """The number of combinations; None if a dimension is a range of floats."""
        sizes = [dimension.size for dimension in self.dimensions.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def combination(self, index: int) -> dict[str, Value]:
        """The combination with that number, from 0 to ``size - 1``; only of a space with a size."""
        params: dict[str, Value] = {}
        for name, dimension in self.dimensions.items():
            assert dimension.size is not None
            index, place = divmod(index, dimension.size)
            params[name] = dimension.values[place] if isinstance(dimension, Choices) else int(dimension.low) + place
        return params


def format_value(value: Value) -> str:
    """Format a value as it is typed: words without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def format_params(params: Mapping[str, Value]) -> str:
    """Format parameters for people: ``learning_rate=0.001 r=8``."""
    return " ".join(f"{name}={format_value(value)}" for name, value in params.items())


def parse(name: str, text: str) -> Dimension:
    """Read the text after ``NAME=``.

    Raises:
        SettingsError: It cannot be read; the message names the dimension.
    """
    try:
        # Inside quotes, two dots are part of a word.
        return _range(text.strip()) if ".." in text and '"' not in text else Choices(_values(text))
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error


def _range(text: str) -> Range:
    ends, colon, scale = text.partition(":")
    low, _, high = ends.partition("..")
    if not (_NUMBER.fullmatch(low) and _NUMBER.fullmatch(high)) or scale != ("log" if colon else ""):
        raise SettingsError(f"{text!a} is not a range: {_GRAMMAR}")
    numbers = float(low), float(high)
    if _WHOLE.fullmatch(low) and _WHOLE.fullmatch(high) and max(map(abs, numbers)) <= _MOST:
        return Range(low=int(low), high=int(high), log=bool(colon))
    return Range(low=numbers[0], high=numbers[1], log=bool(colon))


def _values(text: str) -> tuple[Value, ...]:
    try:
        return tuple(_json(f"[{text}]"))
    except ValueError:  # words without quotes, or an empty choice
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
        raise SettingsError(f"{text!a} is not a choice: write a number, true, false, null or a word")
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
        raise SettingsError(f"a dimension must be a text such as '1e-4..1e-2:log', a Range or Choices; found {value!r}")
    return value
