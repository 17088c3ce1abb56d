"""The fields of a base's configuration that change what its encoder computes.

A fingerprint is of these fields by name, with every value written out: what a library takes for a default today, and
which fields it writes into a file, is no part of it. Where a configuration lacks a field, the value in the tables below
counts, which is what the encoder computes without it.

Sizes are among the fields although most of them show in the shapes of weights, and so are the dropout rates, which
change a training that is resumed. Not among them: what heads, poolers and generation read, how weights are initialised,
what a library names or caches, and how attention is computed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from .former import COMMON, NOT_ENCODED

_BERT: Final = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "is_decoder": False,
}
_ROBERTA: Final = {**_BERT, "pad_token_id": 1}  # positions are counted from behind the padding's number

FIELDS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "bert": _BERT,
        "roberta": {**_ROBERTA, "vocab_size": 50265},
        "xlm-roberta": _ROBERTA,
        "electra": {
            **_BERT,
            "embedding_size": 128,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
        },
        "albert": {
            "vocab_size": 30000,
            "embedding_size": 128,
            "hidden_size": 4096,
            "num_hidden_layers": 12,
            "num_hidden_groups": 1,
            "inner_group_num": 1,
            "num_attention_heads": 64,
            "intermediate_size": 16384,
            "hidden_act": "gelu_new",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "position_embedding_type": "absolute",
        },
        "distilbert": {
            "vocab_size": 30522,
            "dim": 768,
            "n_layers": 6,
            "n_heads": 12,
            "hidden_dim": 3072,
            "activation": "gelu",
            "dropout": 0.1,
            "attention_dropout": 0.1,
            "max_position_embeddings": 512,
        },
        "deberta-v2": {
            "vocab_size": 128100,
            "embedding_size": 1536,
            "hidden_size": 1536,
            "num_hidden_layers": 24,
            "num_attention_heads": 24,
            "attention_head_size": 64,
            "intermediate_size": 6144,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "max_position_embeddings": 512,
            "type_vocab_size": 0,
            "layer_norm_eps": 1e-7,
            "relative_attention": False,
            "max_relative_positions": -1,
            "position_buckets": -1,
            "position_biased_input": True,
            "pos_att_type": None,
            "share_att_key": False,
            "norm_rel_ebd": "none",
            "conv_kernel_size": 0,
            "conv_groups": 1,
            "conv_act": "tanh",
        },
        "modernbert": {
            "vocab_size": 50368,
            "hidden_size": 768,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "intermediate_size": 1152,
            "hidden_activation": "gelu",
            "max_position_embeddings": 8192,
            "norm_eps": 1e-5,
            "norm_bias": False,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "embedding_dropout": 0.0,
            "mlp_bias": False,
            "mlp_dropout": 0.0,
            "global_attn_every_n_layers": 3,
            "local_attention": 128,
            "global_rope_theta": 160000.0,
            "local_rope_theta": 10000.0,
            "rope_scaling": None,
        },
    }
)
"""By model type: each field, and its value where a configuration lacks it.

The sources are ``modeling_*.py`` and ``configuration_*.py`` of transformers 4.57.6.
"""


def architecture(model_type: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration that change what the encoder computes, every one with its value.

    Of a model type that has no table here, these are all fields of its configuration but those that every configuration
    of transformers has (they are about heads, generation and outputs), and of these again ``is_decoder``, which masks
    attention, and ``pad_token_id``, from which some encoders count positions. That is too many rather than too few: a
    field too many refuses an adapter that would fit, a field too few would run one on a base that computes other
    numbers.

    Args:
        model_type: As transformers calls it.
        values: The configuration, with the library's defaults where the base's own file says nothing.
    """
    fields = FIELDS.get(model_type)
    if fields is None:
        names = (values.keys() - COMMON.keys() - NOT_ENCODED) | (values.keys() & {"is_decoder", "pad_token_id"})
        return {name: values[name] for name in names}
    written = {name: _like(default, values.get(name, default)) for name, default in fields.items()}
    if model_type == "deberta-v2":  # two of its defaults follow from other fields
        derived = {
            "embedding_size": written["hidden_size"],
            "attention_head_size": written["hidden_size"] // written["num_attention_heads"],
        }
        written |= {name: size for name, size in derived.items() if name not in values}
    return written


def _like(default: Any, value: Any) -> Any:
    """A number as a float where the field holds floats: 0 and 0.0 are the same rate."""
    return float(value) if isinstance(default, float) and isinstance(value, int) else value
