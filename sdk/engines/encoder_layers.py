"""The modules of an encoder's layers by what they do, whatever a base's class calls them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import GELUActivation

BERT_TYPES: Final = frozenset({"bert", "electra", "roberta", "xlm-roberta"})
"""The bases whose layers are BERT's (Devlin et al. 2019, arXiv:1810.04805)."""

MODEL_TYPES: Final = BERT_TYPES | {"distilbert"}
"""The bases whose layers are written out in the engines."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerModules:
    """One layer: linear layers are adapters' ``LoRALinear`` except ``mix``, places are its ``BottleneckLayer``."""

    query: Any
    key: Any
    value: Any
    mix: Any
    """The linear layer behind attention."""
    attention_place: Any
    """Where bottlenecks stand behind attention."""
    attention_norm: nn.LayerNorm
    widen: Any
    activation: Callable[[Tensor], Tensor]
    narrow: Any
    output_place: Any
    """Where bottlenecks stand behind the feed-forward block."""
    output_norm: nn.LayerNorm

    @property
    def is_gelu(self) -> bool:
        """Whether the activation is the exact GELU."""
        return isinstance(self.activation, GELUActivation) and self.activation.act is functional.gelu


def can_write_out(base: Any) -> bool:
    """Whether a base's layers are those that the engines compute: post-norm layers with absolute positions.

    Args:
        base: The base's configuration, as transformers has it.
    """
    return (
        base.model_type in MODEL_TYPES
        and getattr(base, "position_embedding_type", "absolute") == "absolute"
        and not base.is_decoder
        and not getattr(base, "chunk_size_feed_forward", 0)
    )


def layer_modules(model: Any) -> list[LayerModules]:
    """The layers of a model whose base ``can_write_out``, the lowest first."""
    if model.config.model_type == "distilbert":
        return [_of_distilbert(layer) for layer in model.base_model.transformer.layer]
    return [_of_bert(layer) for layer in model.base_model.encoder.layer]


def _of_bert(layer: Any) -> LayerModules:
    attention = layer.attention.self
    return LayerModules(
        query=attention.query,
        key=attention.key,
        value=attention.value,
        mix=layer.attention.output.dense,
        attention_place=layer.attention.output,
        attention_norm=layer.attention.output.LayerNorm,
        widen=layer.intermediate.dense,
        activation=layer.intermediate.intermediate_act_fn,
        narrow=layer.output.dense,
        output_place=layer.output,
        output_norm=layer.output.LayerNorm,
    )


def _of_distilbert(layer: Any) -> LayerModules:
    attention = layer.attention
    return LayerModules(
        query=attention.q_lin,
        key=attention.k_lin,
        value=attention.v_lin,
        mix=attention.out_lin,
        attention_place=layer.attention_adapters,
        attention_norm=layer.sa_layer_norm,
        widen=layer.ffn.lin1,
        activation=layer.ffn.activation,
        narrow=layer.ffn.lin2,
        output_place=layer.output_adapters,
        output_norm=layer.output_layer_norm,
    )
