"""The last layer computed for the first token only.

transformers computes the last layer for every token, although a classification head reads the first token alone. Behind
a layer's attention, which looks at all tokens, each token is computed for itself: the projection of the attention's
output, adapters, the feed-forward block, normalisation. That is two thirds of the layer's multiplications or more.

The patch cuts the inputs of the last layer's ``attention.output`` to the first token, in forward passes whose context
says ``first_token_only``.
"""

from typing import Any, Final

from torch import Tensor, nn

from .forward_context import current_context

MODEL_TYPES: Final = frozenset({"bert", "roberta", "xlm-roberta", "electra", "deberta-v2"})
"""The bases whose layers have a module ``attention.output`` that takes the attention's output and the residual."""


def install(model: Any) -> None:
    """Let forward passes of this model that are ``first_token_only`` be so; bases of other types are not changed."""
    layers = [layer for _, layer in model.base_model.iter_layers()]
    # DeBERTa's convolution stands beside the first layer, and a chunked feed-forward block needs a multiple of tokens.
    can_cut = len(layers) > 1 and not getattr(model.config, "chunk_size_feed_forward", 0)
    if can_cut and model.config.model_type in MODEL_TYPES:
        module = layers[-1].attention.output
        if _cut not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_cut)


def _cut(module: nn.Module, states: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """The first token of each state, ``(texts, tokens, hidden)`` to ``(texts, 1, hidden)``; None: leave all tokens."""
    context = current_context()
    return tuple(state[:, :1] for state in states) if context is not None and context.first_token_only else None
