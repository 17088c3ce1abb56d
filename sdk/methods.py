"""Adapter methods: their names, and their full configurations.

The table is ours so that listing it needs no heavy import; a test holds it against the library's own map.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def find_method(name: str) -> Method:
    """The method of that name, or of that former name.

    Raises:
        MethodNotFoundError: There is none; the message lists those there are.
    """
    name = FORMER_NAMES.get(name, name)
    if name not in METHODS:
        raise unknown(MethodNotFoundError, "method", name, METHODS)
    return METHODS[name]


def configure(name: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The full configuration of a method as JSON, with some fields set otherwise.

    A field of a union (mam, unipelt) is set in every part that has it.

    Raises:
        MethodNotFoundError: No such method.
        SettingsError: A field that the method does not have, or a value of another kind.
    """
    from adapters import ADAPTER_CONFIG_MAP  # noqa: PLC0415 - takes seconds, and listing methods needs none of it

    method = find_method(name)
    config: dict[str, Any] = json.loads(json.dumps(ADAPTER_CONFIG_MAP[method.name].to_dict()))
    parts: Sequence[dict[str, Any]] = config["configs"] if config.get("architecture") == "union" else [config]
    for field, value in (overrides or {}).items():
        having = [part for part in parts if field in part]
        if not having or field == "architecture":
            fields = sorted({key for part in parts for key in part} - {"architecture"})
            raise unknown(SettingsError, f"field of {method.name}", field, fields)
        for part in having:
            _check_kind(method.name, field, part[field], value)
            part[field] = value
    return config


def reads_padding(config: Mapping[str, Any]) -> bool:
    """Whether a row's outputs depend on how far its batch is padded.

    With gates (UniPELT), each is a mean over all tokens of the padded row; with prompt tuning, the library's attention
    mask no longer fits the longer input. Such an adapter only gets batches without padding, in training and after.
    """
    parts = config["configs"] if config.get("architecture") == "union" else [config]
    return any(part.get("architecture") == "prompt_tuning" or bool(part.get("use_gating")) for part in parts)


def _check_kind(method: str, field: str, now: Any, value: Any) -> None:
    """Refuse a value of another kind than the field's own; a field that is None may hold anything."""
    kinds: tuple[type, ...]
    if isinstance(now, bool):
        kinds = (bool,)
    elif field == "reduction_factor":
        kinds = (int, float, dict)
    elif isinstance(now, int | float):
        # Some numbers may be words as well: scaling="learned".
        kinds = (int, float, str) if field == "scaling" else (int, float)
    elif now is None:
        return
    else:
        kinds = (type(now), str) if isinstance(now, list) and field == "layers" else (type(now),)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise SettingsError(f"{method}: {field} has to be {wanted}, as in {now!r}; found {value!r}")
    if field in _POSITIVE and isinstance(value, int | float) and value <= 0:
        raise SettingsError(f"{method}: {field} has to be greater than 0; found {value!r}")


_POSITIVE: Final = frozenset({"reduction_factor", "r", "prefix_length", "prompt_length", "bottleneck_size", "phm_dim"})
