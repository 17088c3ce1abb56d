"""Adapter methods by name.

The table is our own, so that listing the methods imports no heavy library; a test compares it with the library's map.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pointsman.registry.errors import MethodNotFoundError, SettingsError, unknown

DEFAULT_METHOD: Final = "seq_bn"


@dataclass(frozen=True, kw_only=True)
class Method:
    """An adapter architecture.

    Examples:
        >>> find_method("lora").paper
        'Hu et al. 2021, arXiv:2106.09685'
    """

    name: str
    """Its name in the adapters library; of a union ``a+b``."""
    summary: str
    """One line on what it is."""
    paper: str
    """The paper that it comes from."""


def _method(name: str, summary: str, paper: str) -> tuple[str, Method]:
    return name, Method(name=name, summary=summary, paper=paper)


_PFEIFFER = "Pfeiffer et al. 2021, arXiv:2005.00247"
_HOULSBY = "Houlsby et al. 2019, arXiv:1902.00751"
_MADX = "Pfeiffer et al. 2020, arXiv:2005.00052"
_UNIFIED = "He et al. 2022, arXiv:2110.04366"
_COMPACTER = "Mahabadi et al. 2021, arXiv:2106.04647"
_PREFIX = "Li & Liang 2021, arXiv:2101.00190"
_REFT = "Wu et al. 2024, arXiv:2404.03592"

METHODS: Final[Mapping[str, Method]] = dict(
    [
        _method("seq_bn", "bottleneck after the feed-forward block", _PFEIFFER),
        _method("double_seq_bn", "bottlenecks after attention and feed-forward", _HOULSBY),
        _method("par_bn", "bottleneck beside the feed-forward block", _UNIFIED),
        _method("scaled_par_bn", "par_bn with a learned scale", _UNIFIED),
        _method("seq_bn_inv", "seq_bn with invertible adapters at the embeddings", _MADX),
        _method("double_seq_bn_inv", "double_seq_bn with invertible adapters at the embeddings", _MADX),
        _method("compacter", "bottlenecks made of Kronecker products", _COMPACTER),
        _method("compacter++", "compacter after the feed-forward block only", _COMPACTER),
        _method("prefix_tuning", "learned keys and values before each layer's own, through a small MLP", _PREFIX),
        _method("prefix_tuning_flat", "prefix_tuning without the MLP", _PREFIX),
        _method("prompt_tuning", "learned tokens before the input", "Lester et al. 2021, arXiv:2104.08691"),
        _method("lora", "low-rank update of attention's query and value", "Hu et al. 2021, arXiv:2106.09685"),
        _method("ia3", "learned scales of keys, values and feed-forward", "Liu et al. 2022, arXiv:2205.05638"),
        _method("vera", "LoRA with shared random matrices", "Kopiczko et al. 2024, arXiv:2310.11454"),
        _method("dora", "LoRA of the direction, and a learned magnitude", "Liu et al. 2024, arXiv:2402.09353"),
        _method("dvora", "dora on top of vera", "Liu et al. 2024, arXiv:2402.09353"),
        _method("loreft", "low-rank edits of hidden states, orthogonal", _REFT),
        _method("noreft", "loreft without orthogonality", _REFT),
        _method("direft", "loreft without orthogonality and subtraction", _REFT),
        _method("mam", "prefix_tuning and scaled_par_bn together", _UNIFIED),
        _method("unipelt", "lora, prefix_tuning and seq_bn, each with a gate", "Mao et al. 2022, arXiv:2110.07577"),
    ]
)

FORMER_NAMES: Final[Mapping[str, str]] = {
    "pfeiffer": "seq_bn",
    "houlsby": "double_seq_bn",
    "parallel": "par_bn",
    "scaled_parallel": "scaled_par_bn",
    "pfeiffer+inv": "seq_bn_inv",
    "houlsby+inv": "double_seq_bn_inv",
}
"""Names in older tutorials, and the names of today."""

LONGEST_NAME: Final = 64
"""Characters of a method's name that the registry can store; a union of one method of each kind fits."""

_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "mam": ("prefix_tuning", "par_bn"),
    "unipelt": ("prefix_tuning", "seq_bn", "lora"),
}
"""The methods that are unions, and the names of their parts."""

_LONGEST_FIRST: Final = sorted([*METHODS, *FORMER_NAMES], key=len, reverse=True)


def find_method(name: str) -> Method:
    """Find a method by its name or former name, or a union of several, as ``lora+seq_bn``.

    Raises:
        MethodNotFoundError: The name is unknown; the message lists the known ones.
        SettingsError: The union is impossible.

    Examples:
        >>> find_method("pfeiffer").name
        'seq_bn'
    """
    names = _names_in(name)
    if len(names) == 1:
        return METHODS[names[0]]
    for part in names:
        if part in _PARTS:
            raise SettingsError(f"{part} is a union itself: name its parts, {'+'.join(_PARTS[part])}, or other methods")
        if names.count(part) > 1:
            raise SettingsError(f"{name} has {part} twice: a union has each method at most once")
    joined = "+".join(names)
    if len(joined) > LONGEST_NAME:
        raise SettingsError(f"the name of the union {joined} is too long: at most {LONGEST_NAME} characters")
    papers = dict.fromkeys(METHODS[part].paper for part in names)
    return Method(name=joined, summary=f"{', '.join(names[:-1])} and {names[-1]} together", paper="; ".join(papers))


def part_names(name: str) -> tuple[str, ...]:
    """The names of a union's parts, in the order of their configurations; of any other method, its own name.

    Raises:
        MethodNotFoundError: The name is unknown.
    """
    names = _names_in(name)
    return _PARTS.get(names[0], names) if len(names) == 1 else names


def _names_in(name: str) -> tuple[str, ...]:
    """Split a union ``a+b+c``, or a single name, into methods; some names have a ``+`` of their own."""
    names: list[str] = []
    rest = name
    while True:
        method = next((known for known in _LONGEST_FIRST if rest == known or rest.startswith(f"{known}+")), None)
        if method is None:
            wrong = rest.partition("+")[0] or name
            raise unknown(MethodNotFoundError, "method", wrong, METHODS, "a union is written lora+seq_bn")
        names.append(FORMER_NAMES.get(method, method))
        if rest == method:
            return tuple(names)
        rest = rest[len(method) + 1 :]
