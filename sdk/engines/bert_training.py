"""One frozen BERT encoder with bottleneck adapters, forward and backward written out, for training on a CPU.

adapters computes module by module, with autocast and autograd between them. Here the encoder is one function with its
own gradient. The numbers are the same except for rounding. It is faster because:

- query, key and value are one product;
- the last layer, whose output is read at the first token only, is not computed for other tokens;
- no gradient is computed below the first adapter, nor for frozen weights;
- every intermediate result is cast once and stored once.

The residual stream, layer normalisation and the adapters are in float32, the base's matrix products in the type of its
matrices.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..patches.pooled_dropout import PooledDropout
from .frozen_layers import Bottleneck, LastAttention, Layer

MODEL_TYPES: Final = frozenset({"bert", "electra", "roberta", "xlm-roberta"})
"""The bases whose layers are BERT's (Devlin et al. 2019, arXiv:1810.04805)."""

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

_MASKED: Final = -10_000.0
"""Added to the scores of padding, so that softmax makes them zero in float32 and in bf16."""

_PLACES: Final = 8
"""Attention runs over a multiple of this many places: softmax takes half the time of one over a few less."""

_FLOAT32_PLACES: Final = 24
"""Up to this many places, attention's products are faster in float32 than in bf16."""

_aten: Any = torch.ops.aten


def supports_training(model: Any, config: Mapping[str, Any]) -> bool:
    """Whether ``BertTrainingEngine`` computes this base with an adapter of this configuration.

    Args:
        model: An adapters model.
        config: A method's full configuration.
    """
    base = model.config
    return (
        base.model_type in MODEL_TYPES
        and base.hidden_act == "gelu"
        and getattr(base, "position_embedding_type", "absolute") == "absolute"
        and not base.is_decoder
        and all(config.get(key, ...) == value for key, value in _PLAIN.items())
        and "architecture" not in config  # a bottleneck's configuration has none
        and model.device.type == "cpu"
    )


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
        layers, heads = model.base_model.encoder.layer, model.config.num_attention_heads
        self._encoder = _Encoder(
            [Layer(layer, slot, dtype=dtype) for layer in layers],
            LastAttention.of(layers[-1].attention.self, heads, dtype=dtype),
            dtype=dtype,
            heads=heads,
            epsilon=float(model.config.layer_norm_eps),
        )

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The head's outputs, ``(rows, outputs)`` in float32.

        Args:
            batch: ``input_ids`` and ``attention_mask``, ``(rows, tokens)``, padded on the right; ``token_type_ids``
                if the base has them.
        """
        mask = batch["attention_mask"]
        inputs = {key: batch[key] for key in ("input_ids", "token_type_ids") if key in batch}
        with torch.no_grad():
            embedded = self._embeddings(**inputs)
            if self._project is not None:
                with torch.autocast("cpu", dtype=self._encoder.dtype, enabled=self._encoder.is_half):
                    embedded = self._project(embedded)
        shape = self._encoder.shape(mask)
        first = _Run.apply(self._encoder, embedded.float(), shape, *self._encoder.parameters)  # type: ignore[no-untyped-call]
        outputs: Tensor = nn.Sequential.forward(self._head, first)  # type: ignore[no-untyped-call]
        return outputs


class _Shape(NamedTuple):
    """The shape of a batch."""

    rows: int
    tokens: int
    places: int
    """Places of a row in attention: the batch's tokens, and empty places up to a multiple of eight."""
    bias: Tensor | None
    """Added to attention scores, ``(rows * heads, 1, places)``: 0, and ``_MASKED`` at padding and empty places."""
    padding: Tensor | None
    """The same without empty places, ``(rows, 1, tokens)``."""


class _Attended(NamedTuple):
    """What the backward pass of a layer's attention needs."""

    tensors: tuple[Tensor, ...]
    """Query, key and value; in the last layer, its query times the keys' weights, and its input."""
    probabilities: Tensor
    dropped: Tensor
    masks: tuple[Tensor | None, Tensor | None]
    norm: tuple[Tensor, Tensor, Tensor]


class _Fed(NamedTuple):
    """What the backward pass of a layer's feed-forward block needs."""

    wide: Tensor
    mask: Tensor | None


class _Adapted(NamedTuple):
    """What the backward pass of a layer's adapter needs; without an adapter, of its last normalisation."""

    weights: Bottleneck | None
    inner: tuple[Tensor, Tensor, Tensor] | None
    normed: Tensor | None
    narrow: Tensor | None
    norm: tuple[Tensor, Tensor, Tensor]


class _Encoder:
    """The forward and backward pass of each block of a layer."""

    def __init__(
        self, layers: Sequence[Layer], last: LastAttention, *, dtype: torch.dtype, heads: int, epsilon: float
    ) -> None:
        self.layers = layers
        self.last = last
        self.heads = heads
        self.size = last.value_bias.shape[1]
        self.epsilon = epsilon
        self.dtype = dtype
        self.is_half = self.dtype is torch.bfloat16
        self.parameters = [tensor for layer in layers if layer.bottleneck is not None for tensor in layer.bottleneck]
        self.lowest = next(index for index, layer in enumerate(layers) if layer.bottleneck is not None)

    def shape(self, mask: Tensor) -> _Shape:
        """The shape of a batch with this attention mask, ``(rows, tokens)``."""
        rows, tokens = mask.shape
        places = -(-tokens // _PLACES) * _PLACES
        is_unpadded = bool(mask.all())
        if is_unpadded and places == tokens:
            return _Shape(rows, tokens, places, None, None)
        bias = torch.full((rows, 1, places), _MASKED)
        bias[:, 0, :tokens].mul_(1 - mask)
        padding = None if is_unpadded else bias[:, :, :tokens]
        return _Shape(rows, tokens, places, bias.repeat_interleave(self.heads, dim=0), padding)

    def norm(self, summed: Tensor, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        out, mean, spread = torch.native_layer_norm(summed, summed.shape[-1:], *weights, self.epsilon)
        return out, (summed, mean, spread)

    def attend(self, layer: Layer, hidden: Tensor, shape: _Shape) -> tuple[Tensor, _Attended]:
        """``(tokens, hidden)`` to the attention block's normalised output, the same shape."""
        dtype = torch.float32 if shape.places <= _FLOAT32_PLACES else self.dtype
        query, key, value = self._split(layer.qkv(hidden.to(self.dtype)), shape, dtype)
        added = query.new_zeros(()) if shape.bias is None else shape.bias.to(dtype)
        scores = torch.baddbmm(added, query, key.transpose(1, 2), beta=float(added.dim() > 0), alpha=self.size**-0.5)
        probabilities = scores.softmax(dim=-1)
        dropped, mask = _drop(layer.drop_scores, probabilities)
        context = self._joined([torch.bmm(dropped, value)], shape)
        mixed, mix_mask = _drop(layer.drop_mix, layer.mix(context))
        out, norm = self.norm(hidden + mixed, layer.norm)
        return out, _Attended((query, key, value), probabilities, dropped, (mask, mix_mask), norm)

    def attend_backward(self, layer: Layer, saved: _Attended, gradient: Tensor, shape: _Shape) -> Tensor:
        query, key, value = saved.tensors
        mask, mix_mask = saved.masks
        summed = _norm_backward(gradient, saved.norm, layer.norm)
        (context,) = self._split(layer.mix.backward(_masked(summed.to(self.dtype), mix_mask)), shape, query.dtype)
        scores = _masked(torch.bmm(context, value.transpose(1, 2)), mask)
        scores = self._scores_backward(scores, saved)
        parts = [
            torch.bmm(scores, key),
            torch.bmm(scores.transpose(1, 2), query),
            torch.bmm(saved.dropped.transpose(1, 2), context),
        ]
        return layer.qkv.backward(self._joined(parts, shape)).float().add_(summed)

    def attend_first(self, layer: Layer, hidden: Tensor, shape: _Shape) -> tuple[Tensor, _Attended]:
        """The last layer's attention of each row's first token alone: ``(tokens, hidden)`` to ``(rows, hidden)``.

        With one query per row, keys and values need not be computed: ``q (x K)ᵀ`` is ``(q Kᵀ) xᵀ``, and ``p (x V)`` is
        ``(p x) V``. A bias of the keys adds the same number to all scores of a row, which does not change softmax.
        """
        hidden = hidden.view(shape.rows, shape.tokens, -1)
        first, weights = hidden[:, 0], self.last
        query = weights.query(first.to(self.dtype)).float().view(shape.rows, self.heads, -1)
        reach = torch.bmm(query.transpose(0, 1), weights.key).transpose(0, 1)
        scores = torch.bmm(reach, hidden.transpose(1, 2)).mul_(self.size**-0.5)
        if shape.padding is not None:
            scores += shape.padding
        probabilities = scores.softmax(dim=-1)
        dropped, mask = _drop(layer.drop_scores, probabilities)
        pooled = torch.bmm(dropped, hidden)
        context = torch.bmm(pooled.transpose(0, 1), weights.value.transpose(1, 2)).transpose(0, 1)
        context = context + dropped.sum(dim=-1, keepdim=True) * weights.value_bias
        mixed = layer.mix(context.reshape(shape.rows, -1).to(self.dtype))
        mixed, mix_mask = _drop(layer.drop_mix, mixed)
        out, norm = self.norm(first + mixed, layer.norm)
        return out, _Attended((reach, hidden), probabilities, dropped, (mask, mix_mask), norm)

    def attend_first_backward(self, layer: Layer, saved: _Attended, gradient: Tensor) -> Tensor:
        reach, hidden = saved.tensors
        weights, (mask, mix_mask) = self.last, saved.masks
        summed = _norm_backward(gradient, saved.norm, layer.norm)
        context = layer.mix.backward(_masked(summed.to(self.dtype), mix_mask)).float()
        context = context.view(len(summed), self.heads, -1)
        pooled = torch.bmm(context.transpose(0, 1), weights.value).transpose(0, 1)
        scores = torch.bmm(pooled, hidden.transpose(1, 2)) + (context * weights.value_bias).sum(dim=-1, keepdim=True)
        scores = self._scores_backward(_masked(scores, mask), saved)
        out = torch.bmm(saved.dropped.transpose(1, 2), pooled).baddbmm_(scores.transpose(1, 2), reach)
        query = torch.bmm(torch.bmm(scores, hidden).transpose(0, 1), weights.key.transpose(1, 2)).transpose(0, 1)
        out[:, 0] += summed + weights.query.backward(query.reshape(len(summed), -1).to(self.dtype))
        return out.view(-1, out.shape[-1])

    def _scores_backward(self, gradient: Tensor, saved: _Attended) -> Tensor:
        of_scores: Tensor = _aten._softmax_backward_data(gradient, saved.probabilities, -1, gradient.dtype)
        return of_scores.mul_(self.size**-0.5)

    def _split(self, joined: Tensor, shape: _Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """``(tokens, parts * hidden)`` to the parts by row and head, ``(rows * heads, places, size)`` each."""
        parts = joined.view(shape.rows, shape.tokens, -1, self.heads, self.size).permute(2, 0, 3, 1, 4)
        split = torch.empty((len(parts), shape.rows, self.heads, shape.places, self.size), dtype=dtype)
        split[:, :, :, : shape.tokens] = parts
        if shape.places > shape.tokens:
            split[:, :, :, shape.tokens :] = 0
        return split.view(len(parts), -1, shape.places, self.size).unbind(0)

    def _joined(self, parts: Sequence[Tensor], shape: _Shape) -> Tensor:
        """The inverse of ``_split``; empty places are left out."""
        joined = torch.empty((shape.rows, shape.tokens, len(parts), self.heads, self.size), dtype=self.dtype)
        for place, part in zip(joined.permute(2, 0, 3, 1, 4).unbind(0), parts, strict=True):
            place.copy_(part.view(shape.rows, self.heads, shape.places, self.size)[:, :, : shape.tokens])
        return joined.view(shape.rows * shape.tokens, -1)

    def feed(self, layer: Layer, attended: Tensor) -> tuple[Tensor, _Fed]:
        """The feed-forward block's output, before its residual: ``(tokens, hidden)``."""
        wide = layer.widen(attended.to(self.dtype))
        out, mask = _drop(layer.drop_narrow, layer.narrow(functional.gelu(wide)))
        return out, _Fed(wide, mask)

    def feed_backward(self, layer: Layer, saved: _Fed, gradient: Tensor) -> Tensor:
        wide = layer.narrow.backward(_masked(gradient.to(self.dtype), saved.mask))
        return layer.widen.backward(_aten.gelu_backward(wide, saved.wide))

    def adapt(self, layer: Layer, summed: Tensor) -> tuple[Tensor, _Adapted]:
        """The layer's output from the sum of its two blocks: ``LN(s + up(relu(down(LN(s)))))``."""
        if layer.bottleneck is None:
            out, norm = self.norm(summed, layer.last_norm)
            return out, _Adapted(None, None, None, None, norm)
        weights = layer.bottleneck
        normed, inner = self.norm(summed, layer.last_norm)
        narrow = functional.linear(normed, weights.down, weights.down_bias).relu_()
        out, norm = self.norm(summed + functional.linear(narrow, weights.up, weights.up_bias), layer.last_norm)
        return out, _Adapted(weights, inner, normed, narrow, norm)

    def adapt_backward(
        self, layer: Layer, saved: _Adapted, gradient: Tensor, *, is_lowest: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradient of the sum, complete unless this is the lowest adapter, and those of the adapter's weights."""
        total = _norm_backward(gradient, saved.norm, layer.last_norm)
        if saved.weights is None or saved.narrow is None or saved.normed is None or saved.inner is None:
            return total, []
        narrow = _aten.threshold_backward(total @ saved.weights.up, saved.narrow, 0)
        gradients = [narrow.T @ saved.normed, narrow.sum(0), total.T @ saved.narrow, total.sum(0)]
        if not is_lowest:
            total = total + _norm_backward(narrow @ saved.weights.down, saved.inner, layer.last_norm)
        return total, gradients


class _Run(torch.autograd.Function):
    """All layers, from embedded tokens to the last layer's output at the first token of each row."""

    @staticmethod
    def forward(ctx: Any, encoder: _Encoder, embedded: Tensor, shape: _Shape, *parameters: Tensor) -> Tensor:
        hidden, last = embedded.reshape(-1, embedded.shape[-1]), len(encoder.layers) - 1
        saved = []
        for index, layer in enumerate(encoder.layers):
            attend = encoder.attend_first if index == last else encoder.attend
            attended, attention = attend(layer, hidden, shape)
            fed, feeding = encoder.feed(layer, attended)
            hidden, adapting = encoder.adapt(layer, attended + fed)
            if index >= encoder.lowest:
                saved.append((layer, attention, feeding, adapting))
        ctx.encoder, ctx.saved, ctx.shape = encoder, saved, shape
        return hidden

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        encoder, saved = ctx.encoder, ctx.saved
        gradients: list[Tensor] = []
        is_last = True
        while saved:
            layer, attention, feeding, adapting = saved.pop()
            gradient, of_weights = encoder.adapt_backward(layer, adapting, gradient, is_lowest=not saved)
            gradients[:0] = of_weights
            if saved:
                gradient = gradient + encoder.feed_backward(layer, feeding, gradient)
                if is_last:
                    gradient = encoder.attend_first_backward(layer, attention, gradient)
                else:
                    gradient = encoder.attend_backward(layer, attention, gradient, ctx.shape)
            is_last = False
        return None, None, None, *gradients


def _drop(dropout: nn.Module, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
    """The states after dropout, and the scaled mask they were multiplied with; None if nothing is dropped."""
    if not dropout.training or not isinstance(dropout, PooledDropout):
        return hidden, None
    mask = dropout.mask(hidden)
    return hidden * mask, mask


def _masked(gradient: Tensor, mask: Tensor | None) -> Tensor:
    return gradient if mask is None else gradient * mask


def _norm_backward(gradient: Tensor, saved: tuple[Tensor, Tensor, Tensor], weights: tuple[Tensor, Tensor]) -> Tensor:
    summed, mean, spread = saved
    out: Tensor = _aten.native_layer_norm_backward(
        gradient, summed, summed.shape[-1:], mean, spread, *weights, [True, False, False]
    )[0]
    return out
