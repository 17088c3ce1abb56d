"""The last layer at the first token only: heads read nothing else of it.

Behind a layer's attention, which looks at all tokens, each token is computed for itself: the projection of what was
attended to, adapters, the feed-forward block, normalisation. In the last layer nobody asks for any token but the first,
and of what the layer multiplies by, two thirds and more is behind its attention.
"""

from typing import Any, Final

from torch import Tensor, nn

from .forward_context import current_context

_NARROWED: Final = frozenset({"bert", "roberta", "xlm-roberta", "electra", "deberta-v2"})
"""The bases whose layers have a module ``attention.output`` behind the attention, of what it gave and the residual."""


def narrow_by_pass(model: Any) -> None:
    """Let forward passes of this model that are ``first_only`` be so; on bases of other kinds they are like others."""
    layers = [layer for _, layer in model.base_model.iter_layers()]
    # DeBERTa's convolution is beside the first layer, and a feed-forward block in chunks wants so many tokens.
    alike = len(layers) > 1 and not getattr(model.config, "chunk_size_feed_forward", 0)
    if alike and model.config.model_type in _NARROWED:
        layers[-1].attention.output.register_forward_pre_hook(_narrow)


def _narrow(module: nn.Module, states: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Of ``(texts, tokens, hidden)`` each the first token, if that is all that the pass is about."""
    way = current_context()
    return tuple(state[:, :1] for state in states) if way is not None and way.first_only else None
