"""One frozen BERT encoder with bottleneck adapters, forward and backward written out, for training on a CPU.

adapters computes module by module, with autocast and autograd between them. Here the encoder is one function with its
own gradient. The numbers are the same except for rounding. It is faster because:

- query, key and value are one product;
- the last layer, whose output is read at the first token only, is not computed for other tokens;
- no gradient is computed below the first adapter, nor for frozen weights;
- every intermediate result is cast once and stored once.

The residual stream, layer normalisation and the adapters are in float32, the base's matrix products in the type of its
matrices.

Several adapters on one base, each with a batch of its own, share a pass: ``start`` each, ``encode`` them together, and
``finish`` each. What draws random numbers is in ``start`` and ``finish``, so each may have generators of its own.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from ..patches.pooled_dropout import PooledDropout
from .bert_blocks import Blocks, Group, Masks, Shape
from .encoder_layers import BERT_TYPES, can_write_out, layer_modules
from .frozen_layers import Bottleneck, LastAttention, Layer

_PLAIN: Final[Mapping[str, Any]] = {
    "output_adapter": True,
    "mh_adapter": False,
    "cross_adapter": False,
    "is_parallel": False,
    "non_linearity": "relu",
    "original_ln_before": True,
    "original_ln_after": True,
    "ln_before": False,
    "ln_after": False,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "inv_adapter": None,
    "scaling": 1.0,
    "dropout": 0.0,
    "stochastic_depth": 0.0,
    "use_gating": False,
    "phm_layer": False,
}
"""The bottleneck of Pfeiffer et al. 2021 (arXiv:2005.00247), the only one that is written out."""


def supports_training(base: Any, config: Mapping[str, Any], device: torch.device) -> bool:
    """Whether ``BertTrainingEngine`` computes this base with an adapter of this configuration on a device.

    Args:
        base: The base's configuration, as transformers has it.
        config: A method's full configuration.
        device: The device to train on.
    """
    return (
        can_write_out(base)
        and base.model_type in BERT_TYPES
        and base.hidden_act == "gelu"
        and all(config.get(key, ...) == value for key, value in _PLAIN.items())
        and "architecture" not in config  # a bottleneck's configuration has none
        and device.type == "cpu"
    )


class Started(NamedTuple):
    """A batch in front of the layers of the encoder."""

    embedded: Tensor
    """``(rows * tokens, hidden)`` in float32; overwritten when they are encoded, so a batch is encoded once."""
    shape: Shape
    masks: Sequence[Masks]
    """The dropout masks of each layer."""
    bottlenecks: Sequence[Bottleneck | None]
    """The adapter's weights in each layer."""


class BertTrainingEngine:
    """A model's adapter and head in one slot, as a differentiable function of a padded batch.

    Args:
        model: An adapters model in float32 that ``supports_training``, with pooled dropout. It is not changed.
        slot: The adapter and head in it.
        dtype: The type of the base's matrix products.

    Examples:
        >>> forward = BertTrainingEngine(model, slot, dtype=torch.bfloat16)
        >>> functional.cross_entropy(forward(batch), labels).backward()  # gradients of the adapter and the head
    """

    def __init__(self, model: Any, slot: str, *, dtype: torch.dtype = torch.float32) -> None:
        self._embeddings: nn.Module = model.base_model.embeddings
        self._project: nn.Module | None = getattr(model.base_model, "embeddings_project", None)
        self._head: Any = model.heads[slot]
        layers, self._heads = model.base_model.encoder.layer, int(model.config.num_attention_heads)
        self._dropouts = [(layer.attention.self.dropout, layer.attention.output.dropout) for layer in layers]
        self._last_dropouts = [layer.output.dropout for layer in layers]
        modules = layer_modules(model)
        self._bottlenecks = [Bottleneck.of(layer, slot) for layer in modules]
        self._dtype = dtype
        self._blocks = Blocks(
            [Layer(layer, dtype=dtype) for layer in modules],
            LastAttention.of(modules[-1], self._heads, dtype=dtype),
            lowest=next(number for number, weights in enumerate(self._bottlenecks) if weights is not None),
            dtype=dtype,
            heads=self._heads,
            epsilon=float(model.config.layer_norm_eps),
        )

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The head's outputs, ``(rows, outputs)`` in float32.

        Args:
            batch: ``input_ids`` and ``attention_mask``, ``(rows, tokens)``, padded on the right; ``token_type_ids``
                if the base has them.
        """
        (states,) = self.encode([self.start(batch)])
        return self.finish(states)

    def start(self, batch: Mapping[str, Tensor]) -> Started:
        """Embed a batch, as ``__call__`` takes it, and draw the masks of every layer."""
        inputs = {key: batch[key] for key in ("input_ids", "token_type_ids") if key in batch}
        with torch.no_grad():
            embedded = self._embeddings(**inputs)
            if self._project is not None:
                with torch.autocast("cpu", dtype=self._dtype, enabled=self._dtype is torch.bfloat16):
                    embedded = self._project(embedded)
        embedded = embedded.float()
        shape = Shape.of(batch["attention_mask"], self._heads)
        return Started(embedded.reshape(-1, embedded.shape[-1]), shape, self._masks(shape, embedded), self._bottlenecks)

    def encode(self, batches: Sequence[Started]) -> Sequence[Tensor]:
        """The last layer's states at the first token of each row, ``(rows, hidden)`` for each batch.

        Args:
            batches: Each started by this engine, or by one whose model shares the base's weights with this one's, has
                adapters in the same layers, and drops out at the same places.
        """
        tokens, rows = (
            [slice(*edges) for edges in pairwise(accumulate(counts, initial=0))]
            for counts in (
                [len(batch.embedded) for batch in batches],
                [batch.shape.rows for batch in batches],
            )
        )
        groups = [
            Group(batch.shape, batch.masks, batch.bottlenecks, *spans)
            for batch, *spans in zip(batches, tokens, rows, strict=True)
        ]
        parameters = [tensor for batch in batches for weights in batch.bottlenecks for tensor in weights or ()]
        embedded = batches[0].embedded if len(batches) == 1 else _joined([batch.embedded for batch in batches])
        states: Tensor = _Run.apply(self._blocks, groups, embedded, *parameters)  # type: ignore[no-untyped-call]
        return torch.split(states, [batch.shape.rows for batch in batches])

    def finish(self, states: Tensor) -> Tensor:
        """The head's outputs, ``(rows, outputs)``, from states of ``encode``."""
        outputs: Tensor = nn.Sequential.forward(self._head, states)  # type: ignore[no-untyped-call]
        return outputs

    def _masks(self, shape: Shape, embedded: Tensor) -> list[Masks]:
        """The masks of every layer, drawn in the order in which a forward pass through modules draws them."""
        rows, tokens, hidden = embedded.shape
        every = (rows * self._heads, shape.places, shape.places), (rows * tokens, hidden)
        last = (rows, self._heads, tokens), (rows, hidden)
        shapes = [every] * (len(self._dropouts) - 1) + [last]
        return [
            Masks(_mask(of_scores, scores), _mask(of_mix, states), _mask(of_narrow, states))
            for (of_scores, of_mix), of_narrow, (scores, states) in zip(
                self._dropouts, self._last_dropouts, shapes, strict=True
            )
        ]


class _Run(torch.autograd.Function):
    """All layers, from embedded tokens to the last layer's output at the first token of each row."""

    @staticmethod
    def forward(ctx: Any, blocks: Blocks, groups: Sequence[Group], embedded: Tensor, *parameters: Tensor) -> Tensor:
        hidden, saved = embedded, []
        for number in range(len(blocks.layers)):
            hidden, of_layer = blocks.forward(number, hidden, groups)
            if number >= blocks.lowest:
                saved.append(of_layer)
        ctx.blocks, ctx.groups, ctx.saved = blocks, groups, saved
        return hidden

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        blocks, groups, saved = ctx.blocks, ctx.groups, ctx.saved
        by_group: list[list[Tensor]] = [[] for _ in groups]
        while saved:
            gradient, of_weights = blocks.backward(saved.pop(), gradient, groups)
            for gradients, of_layer in zip(by_group, of_weights, strict=True):
                gradients[:0] = of_layer
        return None, None, None, *(tensor for gradients in by_group for tensor in gradients)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Tokens of several batches, ``(tokens, hidden)``, and zeros behind them up to one of few numbers of tokens.

    Sums of tokens take any value, and oneDNN compiles a program for each that it multiplies, which takes longer than a
    step. Up to a sixteenth more tokens, 3 % in the mean, leave sixteen numbers between a power of two and the next.
    """
    tokens = sum(map(len, parts))
    unit = 1 << max(0, tokens.bit_length() - 5)
    return torch.cat([*parts, parts[0].new_zeros((-tokens % unit, parts[0].shape[1]))])


def _mask(dropout: nn.Module, shape: tuple[int, ...]) -> Tensor | None:
    """A scaled mask for states of a shape; None if nothing is dropped."""
    if not dropout.training or not isinstance(dropout, PooledDropout):
        return None
    return dropout.mask(torch.Size(shape))
