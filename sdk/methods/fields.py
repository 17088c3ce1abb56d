"""What each field of a method's configuration may be on a base, whoever wrote it: a user, a merge or a stranger.

The adapters library checks little: it raises a KeyError for a misspelt word, ignores a layer that is not there, and
allocates whatever a number asks for. So every field is checked, by name, before anything is built, and the widths of an
adapter are bounded. A field that is missing gets the library's own value; a field that is unknown here is left to the
library, which may be a later one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from pointsman.registry.errors import SettingsError

from ..core.arguments import as_float, is_whole, short_repr

NARROWEST_LIMIT: Final = 4_096
"""The width that an adapter may have on every base: bottleneck, rank or length of a prefix. Where the base's own
feed-forward layers are wider, four times its hidden size, the adapter may be as wide."""

_PARTS: Final = 16
"""Methods in one union at most."""


@dataclass(frozen=True)
class _Base:
    """What the rules need to know of a base."""

    hidden: int
    layers: int

    @property
    def widest(self) -> int:
        return max(4 * self.hidden, NARROWEST_LIMIT)


_Rule = Callable[[Any, _Base], str | None]
"""Returns what a value must be, or None if it is that."""


def check_fields(base: Any, part: Mapping[str, Any]) -> None:
    """Refuse a configuration, no union, that has a field of a wrong type or out of range.

    Args:
        base: The base's configuration, as transformers has it.
        part: A method's configuration, or a part of a union.

    Raises:
        SettingsError: A field is wrong; the message names it.
    """
    known = _Base(hidden=int(base.hidden_size), layers=int(base.num_hidden_layers))
    architecture = part.get("architecture")
    if architecture is not None and (not isinstance(architecture, str) or architecture not in _ARCHITECTURES):
        raise _wrong("architecture", architecture, f"one of {', '.join(_ARCHITECTURES)}, or null for a bottleneck")
    for field, value in part.items():
        rule = _OF_ARCHITECTURE.get((architecture, field)) or _RULES.get(field)
        wanted = None if rule is None else rule(value, known)
        if wanted is not None:
            raise _wrong(field, value, wanted)


def union_parts(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The parts of a union.

    Raises:
        SettingsError: It has none, or they are no configurations.
    """
    parts = config.get("configs")
    if not isinstance(parts, list | tuple) or not 1 <= len(parts) <= _PARTS:
        raise _wrong("configs", parts, f"a list of 1 to {_PARTS} configurations")
    for part in parts:
        if not isinstance(part, Mapping) or part.get("architecture") == "union":
            raise _wrong("configs", part, "configurations, none of them a union itself")
    return parts


def _wrong(field: str, value: Any, wanted: str) -> SettingsError:
    return SettingsError(f"{field} must be {wanted}; found {short_repr(value)}")


def _flag(value: Any, _: _Base) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _optional_flag(value: Any, _: _Base) -> str | None:
    return None if value is None or isinstance(value, bool) else "true, false or null"


def _words(*words: str | None) -> _Rule:
    listed = ", ".join("null" if word is None else f"'{word}'" for word in words)

    def rule(value: Any, _: _Base) -> str | None:
        return None if (value is None and None in words) or (isinstance(value, str) and value in words) else listed

    return rule


def _whole(low: int, high: Callable[[_Base], int]) -> _Rule:
    def rule(value: Any, base: _Base) -> str | None:
        return None if is_whole(value) and low <= value <= high(base) else f"a whole number from {low} to {high(base)}"

    return rule


def _number(low: float, high: float, *, below: bool = False, optional: bool = False) -> _Rule:
    wanted = f"a number from {low:g} to {'below ' * below}{high:g}{' or null' * optional}"

    def rule(value: Any, _: _Base) -> str | None:
        number = as_float(value)
        fits = low <= number < high if below else low <= number <= high
        return None if fits or (optional and value is None) else wanted

    return rule


def _reduction(value: Any, base: _Base) -> str | None:
    """A divisor of the hidden size, or one by layer."""
    wanted = f"a number above 0 whose bottleneck, the hidden size divided by it, has at most {base.widest} features"
    if not isinstance(value, Mapping):
        return None if _narrow(value, base) else wanted
    if not value or not all(_narrow(item, base) for item in value.values()):
        return wanted
    unknown = [key for key in value if key != "default" and not (isinstance(key, str) and key.isdecimal())]
    if unknown or ("default" not in value and not all(str(layer) in value for layer in range(base.layers))):
        return f"a number for 'default', or for every layer from '0' to '{base.layers - 1}'"
    return None


def _optional_reduction(value: Any, base: _Base) -> str | None:
    return None if value is None or _narrow(value, base) else "null, or a number above 0 that is not tiny"


def _narrow(value: Any, base: _Base) -> bool:
    number = as_float(value)
    return isfinite(number) and number > 0 and base.hidden / number <= base.widest


def _layers(value: Any, base: _Base) -> str | None:
    known = isinstance(value, list | tuple) and all(is_whole(layer) and 0 <= layer < base.layers for layer in value)
    return None if known else f"a list of layers from 0 to {base.layers - 1}, which is the last of this base"


def _reft_layers(value: Any, base: _Base) -> str | None:
    wanted = None if value == "all" else _layers(value, base)
    return None if wanted is None else f"'all', or {wanted}"


def _matrices(value: Any, _: _Base) -> str | None:
    known = isinstance(value, list | tuple) and all(isinstance(item, str) and item in ("q", "k", "v") for item in value)
    return None if known else "a list of 'q', 'k' and 'v'"


def _activation(value: Any, _: _Base) -> str | None:
    from transformers.activations import ACT2FN  # noqa: PLC0415 - takes seconds, which listing methods does not need

    known = isinstance(value, str) and value.lower() in {*ACT2FN, "leakyrelu"}
    return None if known else f"an activation function: {', '.join(sorted({*ACT2FN, 'leakyrelu'}))}"


def _optional_activation(value: Any, base: _Base) -> str | None:
    return None if value is None else _activation(value, base)


def _scaling(value: Any, _: _Base) -> str | None:
    fits = value in ("learned", "channel") if isinstance(value, str) else isfinite(as_float(value))
    return None if fits else "a number, 'learned' or 'channel'"


def _seed(value: Any, _: _Base) -> str | None:
    fits = value is None or (is_whole(value) and 0 <= value < 2**32)
    return None if fits else f"a whole number from 0 to {2**32 - 1}, or null"


def _residual(value: Any, _: _Base) -> str | None:
    return None if isinstance(value, bool) or value == "post_add" else "true, false or 'post_add'"


def _invertible(value: Any, _: _Base) -> str | None:
    # The library's Glow block takes a row's tokens for its features, and returns a list.
    wanted = "null or 'nice'" if value != "glow" else "null or 'nice': the adapters library computes no 'glow' on text"
    return None if value is None or value == "nice" else wanted


def _prompt(value: Any, _: _Base) -> str | None:
    # The library would look for a tokenizer by a name in the base's configuration.
    return None if value == "random_uniform" else "'random_uniform': prompts that begin as a text are not supported"


_ARCHITECTURES: Final = ("lora", "prefix_tuning", "prompt_tuning", "reft")

_FLAGS: Final = (
    "mh_adapter", "output_adapter", "original_ln_before", "original_ln_after", "ln_before", "ln_after", "is_parallel",
    "use_gating", "adapter_residual_before_ln", "cross_adapter", "phm_layer", "cross_prefix", "encoder_prefix", "flat",
    "shared_gating", "selfattn_lora", "intermediate_lora", "output_lora", "use_dora", "output_reft", "orthogonality",
    "subtract_projection", "tied_weights", "exclude_cls_token",
)  # fmt: skip
_OPTIONAL_FLAGS: Final = (
    "factorized_phm_W", "shared_W_phm", "shared_phm_rule", "factorized_phm_rule", "learn_phm", "phm_bias",
)  # fmt: skip

_LARGE: Final = 1e6

_RULES: Final[Mapping[str, _Rule]] = {
    **dict.fromkeys(_FLAGS, _flag),
    **dict.fromkeys(_OPTIONAL_FLAGS, _optional_flag),
    "reduction_factor": _reduction,
    "inv_adapter": _invertible,
    "inv_adapter_reduction_factor": _optional_reduction,
    "non_linearity": _activation,
    "init_weights": _words("bert", "mam_adapter", "houlsby"),
    "init_weights_seed": _seed,
    "residual_before_ln": _residual,
    "scaling": _scaling,
    "dropout": _number(0, 1, below=True),
    "stochastic_depth": _number(0, 1, below=True),
    "leave_out": _layers,
    "phm_dim": _whole(1, lambda base: 64),
    "phm_rank": _whole(1, lambda base: base.hidden),
    "phm_c_init": _words("normal", "uniform"),
    "phm_init_range": _number(0, _LARGE),
    "hypercomplex_nonlinearity": _words("phm", "glorot-normal", "glorot-uniform", "normal"),
    "prefix_length": _whole(1, lambda base: NARROWEST_LIMIT),
    "prompt_length": _whole(1, lambda base: NARROWEST_LIMIT),
    "bottleneck_size": _whole(1, lambda base: base.widest),
    "prompt_init": _prompt,
    "random_uniform_scale": _number(0, _LARGE),
    "combine": _words("prefix", "prefix_after_bos"),
    "r": _whole(1, lambda base: base.widest),
    "alpha": _number(-_LARGE, _LARGE),
    "attn_matrices": _matrices,
    "composition_mode": _words("add", "scale"),
    "vera_d": _number(-_LARGE, _LARGE, optional=True),
    "vera_b": _number(-_LARGE, _LARGE, optional=True),
    "layers": _reft_layers,
    "prefix_positions": _whole(0, lambda base: NARROWEST_LIMIT),
    "suffix_positions": _whole(0, lambda base: NARROWEST_LIMIT),
}
"""By field. Fields of one name in several architectures mean the same, but for those below."""

_OF_ARCHITECTURE: Final[Mapping[tuple[str | None, str], _Rule]] = {
    ("lora", "init_weights"): _words("lora", "bert", "ia3", "vera"),
    ("reft", "non_linearity"): _optional_activation,
    ("reft", "r"): _whole(1, lambda base: base.hidden),
}
