"""The values that fields of a base's configuration may have: sizes, rates, names."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from transformers import CONFIG_MAPPING
from transformers.activations import ACT2FN

from pointsman.registry.errors import UnusableBaseError, unknown

from ..core.arguments import short_repr
from .architecture import FIELDS, architecture
from .former import COMMON
from .plain_files import Refuse

_LARGEST: Final = 10_000_000
_MOST_LAYERS: Final = 1_000

Rule = tuple[str, Callable[[Any], bool]]
"""What is allowed, in words, and a test for it."""


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_SIZE: Final[Rule] = (f"a whole number from 1 to {_LARGEST:,}", lambda value: _is_whole(value, 1, _LARGEST))
_LAYERS: Final[Rule] = (f"a whole number from 1 to {_MOST_LAYERS:,}", lambda value: _is_whole(value, 1, _MOST_LAYERS))
_COUNT: Final[Rule] = (f"a whole number from 0 to {_LARGEST:,}", lambda value: _is_whole(value, 0, _LARGEST))
_BOUND: Final[Rule] = (f"a whole number from -1 to {_LARGEST:,}", lambda value: _is_whole(value, -1, _LARGEST))
_TOKEN: Final[Rule] = ("the number of a token, or null", lambda value: value is None or _is_whole(value, 0, _LARGEST))
_RATE: Final[Rule] = ("a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1)
_EPSILON: Final[Rule] = ("a number above 0 and below 1", lambda value: _is_number(value) and 0 < value < 1)
_FREQUENCY: Final[Rule] = ("a number above 0", lambda value: _is_number(value) and value > 0)
_FLAG: Final[Rule] = ("true or false", lambda value: type(value) is bool)
_ACTIVATION: Final[Rule] = ("an activation", lambda value: isinstance(value, str) and value in ACT2FN)


def _one_of(*values: Any) -> Rule:
    return f"one of {', '.join(repr(value) for value in values)}", lambda value: value in values


_RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(("num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num"), _LAYERS),
    **dict.fromkeys(("type_vocab_size", "conv_kernel_size"), _COUNT),
    **dict.fromkeys(("max_relative_positions", "position_buckets"), _BOUND),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id"), _TOKEN),
    **dict.fromkeys(("layer_norm_eps", "norm_eps"), _EPSILON),
    **dict.fromkeys(("global_rope_theta", "local_rope_theta"), _FREQUENCY),
    **dict.fromkeys(("hidden_act", "activation", "hidden_activation", "conv_act"), _ACTIVATION),
    "position_embedding_type": _one_of("absolute", "relative_key", "relative_key_query"),
    "norm_rel_ebd": _one_of("none", "layer_norm"),
    "rope_scaling": _one_of(None),
    "pos_att_type": (
        "a list of 'c2p' and 'p2c'",
        lambda value: (
            value is None
            or (isinstance(value, str) and {*value.split("|")} <= {"", "c2p", "p2c"})
            or (isinstance(value, list) and all(item in ("c2p", "p2c") for item in value))
        ),
    ),
    # Of the fields that every configuration has: what would change what a model returns, or what it is.
    **dict.fromkeys(("return_dict",), _one_of(True)),
    **dict.fromkeys(
        ("torchscript", "is_encoder_decoder", "add_cross_attention", "tie_encoder_decoder"), _one_of(False)
    ),
    **dict.fromkeys(("output_attentions", "output_hidden_states", "is_decoder", "tie_word_embeddings"), _FLAG),
    "chunk_size_feed_forward": _COUNT,
    "initializer_range": ("a number from 0", lambda value: _is_number(value) and value >= 0),
    "sinusoidal_pos_embds": _FLAG,
    "use_cache": _FLAG,
    "legacy": _FLAG,
}


def check_fields(model_type: str, values: Mapping[str, Any], refuse: Refuse) -> None:
    """Refuse a configuration with a value that no encoder can have.

    Args:
        model_type: A supported architecture.
        values: The fields of its ``config.json``.
        refuse: Makes the error.

    Raises:
        UnusableBaseError: A field has an invalid value, or the name of a method of the library.
    """
    kind = CONFIG_MAPPING[model_type]
    defaults = kind().to_dict()
    for field, value in values.items():
        if field in FIELDS[model_type] or field in _RULES:
            _check_value(field, value, _rule(field, FIELDS[model_type].get(field)), refuse)
        elif hasattr(kind, field) and field not in defaults.keys() | COMMON.keys() | kind.attribute_map.keys():
            raise refuse(f"the field '{field}' of config.json is a part of the library's, not of a configuration")
    whole = architecture(model_type, values)
    for field, value in whole.items():  # the defaults are valid; what follows from two fields may not be
        _check_value(field, value, _rule(field, FIELDS[model_type][field]), refuse)
    size, heads = (
        next(name for name in names if name in whole)
        for names in (("dim", "hidden_size"), ("n_heads", "num_attention_heads"))
    )
    if "attention_head_size" not in whole and whole[size] % whole[heads]:
        raise refuse(
            f"the field '{size}' of config.json ({whole[size]}) must be a multiple of '{heads}' ({whole[heads]})"
        )
    pruned = values.get("pruned_heads")
    if not (pruned is None or (isinstance(pruned, dict) and all(map(_are_heads, pruned, pruned.values())))):
        raise refuse(f"the field 'pruned_heads' of config.json must list heads by layer; found {short_repr(pruned)}")
    padding = values.get("pad_token_id")
    if padding is not None and padding >= whole["vocab_size"]:
        raise refuse(f"the field 'pad_token_id' of config.json ({padding}) is beyond 'vocab_size'")


def _are_heads(layer: str, heads: Any) -> bool:
    return layer.isdecimal() and isinstance(heads, list) and all(_is_whole(head, 0, _LARGEST) for head in heads)


def _rule(field: str, default: Any) -> Rule:
    """The rule of a field; of an architecture's field without one of its own, it follows from the default."""
    if field in _RULES:
        return _RULES[field]
    if isinstance(default, bool):
        return _FLAG
    return _RATE if isinstance(default, float) else _SIZE


def _check_value(field: str, value: Any, rule: Rule, refuse: Refuse) -> None:
    allowed, test = rule
    if test(value):
        return
    if allowed == _ACTIVATION[0]:
        cause = unknown(UnusableBaseError, "activation", str(value), ACT2FN)
        raise refuse(f"the field '{field}' of config.json names an {cause}")
    raise refuse(f"the field '{field}' of config.json must be {allowed}; found {short_repr(value)}")
