"""Compositions: adapters that work together in one forward pass, as values that compare, hash, print and parse.

stack(lang, sst2@3)               one after the other
fuse(a@2, b, c)                   attention over their outputs
parallel(sst2, cola)              each independently on the same rows: one answer a member
average(a: 0.3, b: 0.7)           the weighted mean of their outputs; without numbers, equal weights
batchsplit(sst2: 2, cola: 30)     the first 2 rows through one, the next 30 through the other

A member is a ref, or a block where the rules of nesting allow it. They are those of adapters 1.3.0: ``NESTINGS`` lists
the blocks that a block may hold, a stack inside another block holds refs only, and a block inside two others must be
such a stack. A ref is allowed in every place, and more than once.

In a text, spaces are optional and the names of blocks are read in any case. ``stack`` alone and ``stack@2`` are refs;
``stack(`` starts a block.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from operator import index
from typing import Any, ClassVar, Final, SupportsIndex, TypeAlias

from pointsman.registry import Ref
from pointsman.registry.errors import CompositionError, InvalidNameError, pointed, unknown

from .arguments import as_float, as_list, short_repr

MAX_LENGTH: Final = 50_000  # characters of its text
MAX_DEPTH: Final = 3  # blocks inside each other: follows from the rules of nesting
MAX_SIZE: Final = 999_999_999


@dataclass(frozen=True, init=False, repr=False)
class _Block:
    """Members, and how they work together."""

    name: ClassVar[str]
    fewest: ClassVar[int] = 1
    members: "tuple[Composition, ...]"

    def __init__(self, *members: "str | Composition") -> None:
        """Check the members; a text is parsed.

        Raises:
            CompositionError: Too few members, a member that is not allowed in this block, a text that cannot be read,
                or a composition that is too long.
            InvalidNameError: A member is a ref that breaks the rules for names.
        """
        object.__setattr__(self, "members", tuple(parse(member) for member in members))
        if len(members) < self.fewest:
            raise CompositionError(f"{self.name} takes at least {self.fewest} members, found {len(members)}")
        for member in self.members:
            if broken := _broken_rule(type(self), member):
                raise CompositionError(broken)
        if (length := len(str(self))) > MAX_LENGTH:
            raise CompositionError(_TOO_LONG.format(length))

    @property
    def _numbers(self) -> dict[str, Sequence[float]]:
        """The constructor's keyword argument beside the members, if it has one: one number a member."""
        return {}

    def __str__(self) -> str:
        texts = [str(member) for member in self.members]
        for numbers in self._numbers.values():
            texts = [f"{text}: {number!r}" for text, number in zip(texts, numbers, strict=True)]
        return f"{self.name}({', '.join(texts)})"

    def __repr__(self) -> str:
        parts = [repr(str(member)) if isinstance(member, Ref) else repr(member) for member in self.members]
        parts += [f"{keyword}={numbers!r}" for keyword, numbers in self._numbers.items()]
        return f"{type(self).__name__}({', '.join(parts)})"

    def to_dict(self) -> dict[str, Any]:
        """The block in types that JSON has: ``{"stack": ["lang", {"fuse": ["a@2", "b"]}]}``."""
        members = [str(member) if isinstance(member, Ref) else member.to_dict() for member in self.members]
        return {self.name: members} | {keyword: list(numbers) for keyword, numbers in self._numbers.items()}


@dataclass(frozen=True, init=False, repr=False)
class Stack(_Block):
    """One member after the other: each reads the output of the one before it.

    Examples:
        >>> str(Stack("lang", Fuse("a@2", "b")))
        'stack(lang, fuse(a@2, b))'
    """

    name = "stack"


@dataclass(frozen=True, init=False, repr=False)
class Fuse(_Block):
    """AdapterFusion (Pfeiffer et al. 2021, arXiv:2005.00247): attention over the outputs of two or more members."""

    name = "fuse"
    fewest = 2  # the attention over one member is always 1


@dataclass(frozen=True, init=False, repr=False)
class Parallel(_Block):
    """Each member independently on the same rows (Rücklé et al. 2021, arXiv:2010.11918): one answer a member."""

    name = "parallel"


@dataclass(frozen=True, init=False, repr=False)
class Average(_Block):
    """The weighted mean of the members' outputs; ``weights`` are one finite number a member, with sum 1."""

    name = "average"
    weights: tuple[float, ...]

    def __init__(self, *members: "str | Composition", weights: Sequence[float] | None = None) -> None:
        """Check members and weights; weights are not normalised, and equal where none are given.

        Raises:
            CompositionError: As for ``Stack``, or the weights are not one finite number a member that add up to 1
                within 1e-6.
            InvalidNameError: A member is a ref that breaks the rules for names.
        """
        equal = [1 / len(members)] * len(members) if members else []
        object.__setattr__(self, "weights", _checked_weights(equal if weights is None else weights, len(members)))
        super().__init__(*members)

    @property
    def _numbers(self) -> dict[str, Sequence[float]]:
        return {} if set(self.weights) == {1 / len(self.weights)} else {"weights": self.weights}


@dataclass(frozen=True, init=False, repr=False)
class BatchSplit(_Block):
    """The rows of a batch divided among the members, in order; ``sizes`` are the numbers of rows of each."""

    name = "batchsplit"
    sizes: tuple[int, ...]

    def __init__(self, *members: "str | Composition", sizes: Sequence[int] = ()) -> None:
        """Check members and sizes.

        Raises:
            CompositionError: As for ``Stack``, or the sizes are not one integer from 1 to 999,999,999 a member.
            InvalidNameError: A member is a ref that breaks the rules for names.
        """
        object.__setattr__(self, "sizes", _checked_sizes(sizes, len(members)))
        super().__init__(*members)

    @property
    def _numbers(self) -> dict[str, Sequence[float]]:
        return {"sizes": self.sizes}


Block: TypeAlias = Stack | Fuse | Parallel | Average | BatchSplit
Composition: TypeAlias = Ref | Block

NESTINGS: Final[Mapping[type[_Block], tuple[type[_Block], ...]]] = {
    Stack: (Fuse, Parallel, Average, BatchSplit),
    Fuse: (Stack,),
    Parallel: (Stack, Average, BatchSplit),
    Average: (Stack, BatchSplit),
    BatchSplit: (Stack, Average, BatchSplit),
}

_BLOCKS: Final[Mapping[str, Callable[..., Block]]] = {
    kind.name: kind for kind in (Stack, Fuse, Parallel, Average, BatchSplit)
}
_KEYWORDS: Final = {"average": "weights", "batchsplit": "sizes"}


def refs(composition: Composition) -> tuple[Ref, ...]:
    """All refs of a composition, in the order in which they are written, each once."""
    return tuple(dict.fromkeys(_leaves(composition)))


def replace(composition: Composition, mapping: Callable[[Ref], Composition]) -> Composition:
    """Replace each ref of a composition by ``mapping(ref)``.

    Raises:
        CompositionError: A replacement is not allowed in its place.
    """
    if isinstance(composition, Ref):
        return mapping(composition)
    members = [replace(member, mapping) for member in composition.members]
    return _BLOCKS[composition.name](*members, **composition._numbers)


def parse(text: str | Composition) -> Composition:
    """Read a composition as people write it, so that ``parse(str(composition)) == composition``.

    Raises:
        InvalidNameError: It is a single ref that breaks the rules for names.
        CompositionError: It does not follow the grammar or breaks a rule; the message points at the character.
    """
    if isinstance(text, _Block):
        return text
    if isinstance(text, Ref):
        return Ref.parse(str(text))  # a Ref does not check what it is made of
    if not isinstance(text, str):
        raise CompositionError(f"expected a ref, a block or a text, found {short_repr(text)}")
    if not text.strip(_SPACE):
        raise CompositionError("an empty text is not valid: write a ref, or for example stack(lang, fuse(a@2, b))")
    if len(text) > MAX_LENGTH:
        raise pointed(CompositionError, "composition", text, MAX_LENGTH, _TOO_LONG.format(len(text)))
    if not set("(),:") & set(text):
        return Ref.parse(text.strip(_SPACE))
    return _Reader(text).read()


def from_dict(data: object) -> Block:
    """Read what ``to_dict`` returned.

    Unknown keys are refused: a composition that is understood only in part computes other numbers.

    Raises:
        CompositionError: It has another form or breaks a rule; the message names the member.
    """
    return _from_dict(data, 0)


def _from_dict(data: object, depth: int) -> Block:
    if depth == MAX_DEPTH:
        raise CompositionError(_TOO_DEEP)
    if not isinstance(data, Mapping):
        raise CompositionError(f'expected a block such as {{"stack": ["a", "b"]}}, found {short_repr(data)}')
    names = [key for key in data if key in _BLOCKS]
    if len(names) != 1:
        raise CompositionError(f"expected one of the keys {', '.join(_BLOCKS)}, found {_listed(data) or 'none'}")
    name = names[0]
    keyword = _KEYWORDS.get(name)
    known = [name, keyword] if keyword else [name]
    for key in data:
        if key not in known:
            raise unknown(CompositionError, f"key of {name}", str(key), known)
    for key, value in data.items():
        if not isinstance(value, list):
            raise CompositionError(f"expected a list as {key}, found {short_repr(value)}")
    members: list[Composition] = []
    for place, member in enumerate(data[name]):
        try:
            members.append(Ref.parse(member) if isinstance(member, str) else _from_dict(member, depth + 1))
        except (CompositionError, InvalidNameError) as error:
            raise CompositionError(f"{name}[{place}]: {error}") from None
    return _BLOCKS[name](*members, **{key: data[key] for key in data if key == keyword})


_SPACE: Final = " \t\r\n"
_TOKEN: Final = re.compile(r"[ \t\r\n]*([(),:]|[^ \t\r\n(),:]+|\Z)")
_WEIGHT: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_SIZE: Final = re.compile(r"[1-9][0-9]{0,8}")
_TOO_LONG: Final = f"a composition has at most {MAX_LENGTH:,} characters, this one {{:,}}"
_TOO_DEEP: Final = f"more than {MAX_DEPTH} blocks inside each other"


class _Reader:
    """Reads a text from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._next = 0
        self._step()

    def read(self) -> Composition:
        composition = self._composition(0)
        if self._token:
            raise self._expected("the end")
        return composition

    def _composition(self, depth: int) -> Composition:
        word, start = self._token, self._start
        if word in ("", *"(),:"):
            raise self._expected("a ref or a block")
        self._step()
        if self._token == "(":
            return self._block(word, start, depth)
        try:
            return Ref.parse(word)
        except InvalidNameError as error:
            raise self._error(start, str(error)) from None

    def _block(self, word: str, start: int, depth: int) -> Block:
        name = word.lower() if word.isascii() else word  # ASCII only: the Kelvin sign would become a k
        if name not in _BLOCKS:
            raise self._error(start, str(unknown(CompositionError, "block", word, _BLOCKS)))
        if depth == MAX_DEPTH:
            raise self._error(start, _TOO_DEEP)
        kind = _BLOCKS[name]
        members: list[Composition] = []
        numbers: list[float] = []
        while not members or self._token == ",":
            self._step()
            begin = self._start
            member = self._composition(depth + 1)
            if broken := _broken_rule(kind, member):
                raise self._error(begin, broken)
            members.append(member)
            if self._token == ":":
                numbers.append(self._number(name))
        if self._token != ")":
            raise self._expected("',' or ')'")
        self._step()
        try:
            return kind(*members, **({_KEYWORDS[name]: numbers} if numbers else {}))
        except CompositionError as error:
            raise self._error(start, str(error)) from None

    def _number(self, name: str) -> float:
        if name not in _KEYWORDS:
            raise self._error(
                self._start, f"members of {name} take no numbers: only those of average and batchsplit do"
            )
        self._step()
        pattern, what = {
            "average": (_WEIGHT, "a weight such as 0.25"),
            "batchsplit": (_SIZE, f"a number of rows from 1 to {MAX_SIZE:,}"),
        }[name]
        if not pattern.fullmatch(token := self._token):
            raise self._expected(what)
        self._step()
        return int(token) if pattern is _SIZE else float(token)

    def _step(self) -> None:
        match = _TOKEN.match(self._text, self._next)
        assert match, "the pattern matches every text"
        self._token, self._start, self._next = match[1], match.start(1), match.end()

    def _expected(self, what: str) -> CompositionError:
        return self._error(
            self._start, f"expected {what}, found {short_repr(self._token) if self._token else 'the end'}"
        )

    def _error(self, position: int, what: str) -> CompositionError:
        return pointed(CompositionError, "composition", self._text, position, what)


def _leaves(composition: Composition) -> Iterator[Ref]:
    if isinstance(composition, Ref):
        yield composition
    else:
        for member in composition.members:
            yield from _leaves(member)


def _broken_rule(kind: Any, member: Composition) -> str | None:
    """The rule that ``member`` breaks in a block of that kind; None: none."""
    if isinstance(member, Ref):
        return None
    if type(member) not in NESTINGS[kind]:
        allowed = ", ".join(block.name for block in NESTINGS[kind])
        return f"{kind.name} cannot hold {member.name}, only refs and these blocks: {allowed}"
    for inner in member.members:
        if not isinstance(inner, Ref | Stack):
            if isinstance(member, Stack):
                return f"a stack inside another block, here {kind.name}, can hold refs only, and no {inner.name}"
            inside = f"{member.name} in {kind.name}"
            return f"only a stack of refs can be inside two other blocks, and no {inner.name} in {inside}"
    return None


def _checked_weights(weights: Sequence[float], members: int) -> tuple[float, ...]:
    items = _one_each(weights, members, "average takes one weight a member, or none at all")
    floats = tuple(as_float(weight) + 0.0 for weight in items)  # + 0.0, so that -0.0 is written like the equal 0.0
    if not all(map(isfinite, floats)):
        raise CompositionError(f"a weight must be a finite number, found {_listed(items)}")
    total = sum(floats)
    if members and not abs(total - 1) <= 1e-6:
        raise CompositionError(
            f"weights must add up to 1, and {_listed(floats)} add up to {total:.9g}: "
            "divide each by their sum, or leave all out for equal weights"
        )
    return floats


def _checked_sizes(sizes: Sequence[int], members: int) -> tuple[int, ...]:
    items = _one_each(sizes, members, "batchsplit takes one size a member, as in batchsplit(a: 2, b: 3)")
    integers = tuple(index(size) if isinstance(size, SupportsIndex) and size is not True else 0 for size in items)
    if not all(1 <= size <= MAX_SIZE for size in integers):
        raise CompositionError(f"a size is the rows of a member, from 1 to {MAX_SIZE:,}, found {_listed(items)}")
    return integers


def _one_each(numbers: object, members: int, rule: str) -> list[Any]:
    items = as_list(numbers)
    if items is None:
        raise CompositionError(f"{rule}: found {short_repr(numbers)}")
    if len(items) != members:
        raise CompositionError(f"{rule}: found {len(items)} for {members}")
    return items


def _listed(items: Iterable[object]) -> str:
    texts = [short_repr(item) for item in items]
    return " and ".join(texts) if len(texts) < 3 else ", ".join(texts[:8]) + ", …" * (len(texts) > 8)
