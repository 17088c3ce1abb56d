"""Adapter methods: their names, and their full configurations.

The table is ours so that listing it needs no heavy import; a test holds it against the library's own map.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from pointsman.registry.errors import MethodNotFoundError, SettingsError, unknown

DEFAULT_METHOD: Final = "seq_bn"


@dataclass(frozen=True, kw_only=True)
class Method:
    """An adapter architecture: one line on what it is, and the paper it comes from."""

    name: str
    summary: str
    paper: str


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
"""Names of older tutorials, and what they are called today."""

LONGEST_NAME: Final = 64
"""Characters of a method's name that the registry keeps; any one of each kind of method fits."""

_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "mam": ("prefix_tuning", "par_bn"),
    "unipelt": ("prefix_tuning", "seq_bn", "lora"),
}
"""The methods that are unions by name, and what their parts are called."""

OF_REFT: Final = "subtract_projection"
"""The field that makes DiReFT of NoReFT; of the library's classes it is none."""

ONLY_TRAINING: Final = frozenset({"dropout", "stochastic_depth", "init_weights", "init_weights_seed"})
"""Fields of a configuration that say nothing of what a trained adapter computes."""

_LONGEST_FIRST: Final = sorted([*METHODS, *FORMER_NAMES], key=len, reverse=True)


def find_method(name: str) -> Method:
    """The method of that name, of that former name, or the union of several, as ``lora+seq_bn``.

    Raises:
        MethodNotFoundError: There is none; the message lists those there are.
        SettingsError: A union that cannot be.
    """
    names = _names_in(name)
    if len(names) == 1:
        return METHODS[names[0]]
    for part in names:
        if part in _PARTS:
            raise SettingsError(f"{part} is a union itself: name its parts, {'+'.join(_PARTS[part])}, or others")
        if names.count(part) > 1:
            raise SettingsError(f"{name} has {part} twice: each method can be in a union once")
    joined = "+".join(names)
    if len(joined) > LONGEST_NAME:
        raise SettingsError(f"the union {joined} has too long a name: {LONGEST_NAME} characters at most")
    papers = dict.fromkeys(METHODS[part].paper for part in names)
    return Method(name=joined, summary=f"{', '.join(names[:-1])} and {names[-1]} together", paper="; ".join(papers))


def configure(
    name: str, overrides: Mapping[str, Any] | None = None, *, start: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The full configuration of a method as JSON, with some fields set otherwise.

    Args:
        name: A method, or a union of several.
        overrides: Fields by name: ``r`` is set in every part of a union that has it, ``lora.r`` in the part lora
            alone, whatever ``r`` is.
        start: A configuration of the method to set them in; by default the method's own.

    Raises:
        MethodNotFoundError: No such method.
        SettingsError: A field or a part that the method does not have, a value of another kind, or parts that cannot
            be together.
    """
    from adapters import ADAPTER_CONFIG_MAP  # noqa: PLC0415 - takes seconds, and listing methods needs none of it

    method = find_method(name)
    names = part_names(method.name)
    if start is not None:
        config: dict[str, Any] = json.loads(json.dumps(start))
    elif method.name in METHODS:
        config = full_config(ADAPTER_CONFIG_MAP[method.name])
    else:
        config = {"architecture": "union", "configs": [configure(part) for part in names]}
    parts: Sequence[dict[str, Any]] = config["configs"] if config.get("architecture") == "union" else [config]
    named = dict(zip(names, parts, strict=True))
    # What is set in one part goes before what is set in all.
    for key, value in sorted((overrides or {}).items(), key=lambda item: "." in item[0]):
        part, dot, field = key.rpartition(".")
        part = FORMER_NAMES.get(part, part)
        if dot and part not in named:
            raise unknown(SettingsError, f"part of {method.name}", part, named)
        _set(method.name if not dot else part, [named[part]] if dot else list(named.values()), field, value)
    if method.name not in METHODS:
        _check_union(named)
    return config


def full_config(config: Any) -> dict[str, Any]:
    """All that a configuration of the adapters library says, as JSON.

    The library's own ``to_dict`` drops what makes DiReFT of NoReFT, which is no field of its classes, so that a DiReFT
    that it has saved comes back as the other.
    """
    if config.architecture == "union":
        return {"architecture": "union", "configs": [full_config(part) for part in config.configs]}
    found: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return {**found, OF_REFT: config.subtract_projection} if config.architecture == "reft" else found


def part_names(name: str) -> tuple[str, ...]:
    """What the parts of a union are called, in the order of their configurations; of any other method, its own name.

    Raises:
        MethodNotFoundError: No such method.
    """
    names = _names_in(name)
    return _PARTS.get(names[0], names) if len(names) == 1 else names


def parts_of(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The configurations that a configuration consists of: those of a union, or itself."""
    return config["configs"] if config.get("architecture") == "union" else [config]


def is_vera(part: Mapping[str, Any]) -> bool:
    """Whether a LoRA's matrices are random, and shared by all layers."""
    return part.get("vera_d") is not None or part.get("vera_b") is not None


def _names_in(name: str) -> tuple[str, ...]:
    """The methods of a union ``a+b+c``, or the one of a single name; some names have a ``+`` of their own."""
    names: list[str] = []
    rest = name
    while True:
        found = next((known for known in _LONGEST_FIRST if rest == known or rest.startswith(f"{known}+")), None)
        if found is None:
            wrong = rest.partition("+")[0] or name
            raise unknown(MethodNotFoundError, "method", wrong, METHODS, "a union is written lora+seq_bn")
        names.append(FORMER_NAMES.get(found, found))
        if rest == found:
            return tuple(names)
        rest = rest[len(found) + 1 :]


def _check_union(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse parts that cannot be together: what the library refuses, and what it does not and should."""
    from adapters import AdapterConfig, ConfigUnion  # noqa: PLC0415

    for (one, a), (other, b) in combinations(parts.items(), 2):
        if _shares(a) and _shares(b):
            raise SettingsError(
                f"{one} and {other} cannot be together: each has parameters that all layers share, "
                "and the adapters library has one place for them"
            )
        classes = [AdapterConfig._get_config_class(part).from_dict(dict(part)) for part in (a, b)]
        try:
            ConfigUnion.validate(classes)
        except ValueError as error:
            advice = "set mh_adapter and output_adapter so that no place has both" if "mh_adapter" in a else "take one"
            raise SettingsError(
                f"{one} and {other} cannot be together, they change the same places: {advice}"
            ) from error


def _shares(part: Mapping[str, Any]) -> bool:
    """Whether all layers share parameters of a part."""
    phm = part.get("phm_layer") and (part.get("shared_phm_rule") or part.get("shared_W_phm"))
    return bool(phm) or is_vera(part)


def _set(method: str, parts: Sequence[dict[str, Any]], field: str, value: Any) -> None:
    """Set a field in every part that has it."""
    having = [part for part in parts if field in part]
    if not having or field == "architecture":
        fields = sorted({key for part in parts for key in part} - {"architecture"})
        raise unknown(SettingsError, f"field of {method}", field, fields)
    for part in having:
        _check_kind(method, field, part[field], value)
        part[field] = value


def _check_kind(method: str, field: str, now: Any, value: Any) -> None:
    """Refuse a value of another kind than the field's own; a field that is None may hold anything."""
    kinds: tuple[type, ...]
    if isinstance(now, bool):
        kinds = (bool,)
    elif field == "reduction_factor":
        kinds = (int, float, dict)
    elif field == "layers":  # a list of them, or "all"
        kinds = (list, str)
    elif isinstance(now, int | float):
        # Some numbers may be words as well: scaling="learned".
        kinds = (int, float, str) if field == "scaling" else (int, float)
    elif now is None:
        return
    else:
        kinds = (type(now),)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise SettingsError(f"{method}: {field} has to be {wanted}, as in {now!r}; found {value!r}")
    if field in _POSITIVE and isinstance(value, int | float) and value <= 0:
        raise SettingsError(f"{method}: {field} has to be greater than 0; found {value!r}")


_POSITIVE: Final = frozenset({"reduction_factor", "r", "prefix_length", "prompt_length", "bottleneck_size", "phm_dim"})
