"""One frozen BERT encoder with bottleneck adapters, forward and backward written out, for training on a CPU.

What the library computes module by module, with autocast and autograd between, is here one function with its own
gradient. The numbers are the same but for rounding; these are saved:

- query, key and value are one product;
- of the last layer, whose output is read at the first token only, nothing is computed for the other tokens but their
  keys and values;
- no gradient is computed below the first adapter, and none of frozen weights;
- every intermediate is cast once, and kept once.

The residual stream, layer normalisation and the adapters are in float32, the base's matrix products in the type of its
matrices.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .dropout import PooledDropout

MODEL_TYPES: Final = frozenset({"bert", "electra", "roberta", "xlm-roberta"})
"""Whose layers are BERT's (Devlin et al. 2019, arXiv:1810.04805)."""

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
"""The bottleneck of Pfeiffer et al. 2021 (arXiv:2005.00247), the only one that is written out here."""

_MASKED: Final = -10_000.0
"""Added to the scores of padding, which softmax then makes zero in any of the types."""

_PLACES: Final = 8
"""Softmax over a multiple of so many numbers takes half the time of one over a few less."""

_SMALL: Final = 24

_aten: Any = torch.ops.aten


def can_fuse(model: Any, config: Mapping[str, Any]) -> bool:
    """Whether this base with an adapter of this configuration is what is written out here."""
    base = model.config
    return (
        base.model_type in MODEL_TYPES
        and base.hidden_act == "gelu"
        and getattr(base, "position_embedding_type", "absolute") == "absolute"
        and not base.is_decoder
        and all(config.get(key, ...) == value for key, value in _PLAIN.items())
        and "architecture" not in config  # of bottlenecks it has none
        and model.device.type == "cpu"
    )


class FusedClassifier:
    """A model's adapter and head in one slot, as a function of a padded batch that can be differentiated.

    Args:
        model: An adapters model, see ``can_fuse``, whose dropout is pooled and whose matrices have the type to compute
            in. It shares the model's weights, but for a copy of those of query, key and value.
        slot: The adapter and head in it.
    """

    def __init__(self, model: Any, slot: str) -> None:
        self._embeddings: nn.Module = model.base_model.embeddings
        self._project: nn.Module | None = getattr(model.base_model, "embeddings_project", None)
        self._head: Any = model.heads[slot]
        layers = [_Layer(layer, slot) for layer in model.base_model.encoder.layer]
        self._encoder = _Encoder(
            layers, heads=model.config.num_attention_heads, epsilon=float(model.config.layer_norm_eps)
        )

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The head's outputs, ``(rows, outputs)`` in float32.

        Args:
            batch: ``input_ids`` and ``attention_mask``, ``(rows, tokens)``, padded on the right; ``token_type_ids``
                where the base has them.
        """
        mask = batch["attention_mask"]
        inputs = {key: batch[key] for key in ("input_ids", "token_type_ids") if key in batch}
        with torch.no_grad(), torch.autocast("cpu", dtype=self._encoder.dtype, enabled=self._encoder.is_half):
            embedded = self._embeddings(**inputs)
            if self._project is not None:
                embedded = self._project(embedded)
        shape = self._encoder.shape(mask)
        first = _Run.apply(self._encoder, embedded.float(), shape, *self._encoder.parameters)  # type: ignore[no-untyped-call]
        outputs: Tensor = nn.Sequential.forward(self._head, first)  # type: ignore[no-untyped-call]
        return outputs


class _Bottleneck(NamedTuple):
    """The trained weights of one layer: ``(bottleneck, hidden)``, ``(bottleneck,)``, ``(hidden, bottleneck)``, …"""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


class _Layer:
    """One layer's weights, as the functions below take them."""

    def __init__(self, layer: Any, slot: str) -> None:
        attention, out = layer.attention.self, layer.attention.output
        parts = (attention.query, attention.key, attention.value)
        with torch.no_grad():
            self.qkv = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        self.mix = out.dense.weight.detach(), out.dense.bias.detach()
        self.norm = out.LayerNorm.weight.detach(), out.LayerNorm.bias.detach()
        self.widen = layer.intermediate.dense.weight.detach(), layer.intermediate.dense.bias.detach()
        self.narrow = layer.output.dense.weight.detach(), layer.output.dense.bias.detach()
        self.last_norm = layer.output.LayerNorm.weight.detach(), layer.output.LayerNorm.bias.detach()
        self.drop_scores, self.drop_mix, self.drop_narrow = attention.dropout, out.dropout, layer.output.dropout
        self.bottleneck: _Bottleneck | None = None
        if slot in layer.output.adapters:
            adapter = layer.output.adapters[slot]
            down, up = adapter.adapter_down[0], adapter.adapter_up
            self.bottleneck = _Bottleneck(down.weight, down.bias, up.weight, up.bias)


class _Shape(NamedTuple):
    """The shape of a batch."""

    rows: int
    tokens: int
    places: int
    """Tokens of a row where it is attended to: those of the batch, and empty ones up to a multiple of eight."""
    bias: Tensor | None
    """What is added to scores, ``(rows * heads, 1, places)``: nothing, and at padding what softmax makes zero."""


class _Attended(NamedTuple):
    """What the gradient of a layer's attention needs."""

    qkv: tuple[Tensor, Tensor, Tensor]
    probabilities: Tensor
    dropped: Tensor
    masks: tuple[Tensor | None, Tensor | None]
    norm: tuple[Tensor, Tensor, Tensor]


class _Fed(NamedTuple):
    """What the gradient of a layer's feed-forward block needs."""

    wide: Tensor
    mask: Tensor | None


class _Adapted(NamedTuple):
    """What the gradient of a layer's adapter needs; without an adapter, its last normalisation's."""

    weights: _Bottleneck | None
    inner: tuple[Tensor, Tensor, Tensor] | None
    normed: Tensor | None
    narrow: Tensor | None
    norm: tuple[Tensor, Tensor, Tensor]


class _Encoder:
    """The layers, as one function of embedded tokens and the adapters' weights."""

    def __init__(self, layers: Sequence[_Layer], *, heads: int, epsilon: float) -> None:
        self.layers = layers
        self.heads = heads
        self.epsilon = epsilon
        self.dtype = layers[0].mix[0].dtype
        self.is_half = self.dtype is torch.bfloat16
        self.parameters = [tensor for layer in layers if layer.bottleneck is not None for tensor in layer.bottleneck]
        self.lowest = next(index for index, layer in enumerate(layers) if layer.bottleneck is not None)

    def shape(self, mask: Tensor) -> _Shape:
        """The shape of a batch with this attention mask, ``(rows, tokens)``."""
        count, tokens = mask.shape
        places = -(-tokens // _PLACES) * _PLACES
        if places == tokens and bool(mask.all()):
            return _Shape(count, tokens, places, None)
        bias = torch.full((count, places), _MASKED)
        bias[:, :tokens].mul_(1 - mask)
        return _Shape(count, tokens, places, bias.repeat_interleave(self.heads, dim=0).unsqueeze(1))

    def norm(self, summed: Tensor, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        out, mean, spread = torch.native_layer_norm(summed, summed.shape[-1:], *weights, self.epsilon)
        return out, (summed, mean, spread)

    def attend(self, layer: _Layer, hidden: Tensor, shape: _Shape, *, only_first: bool) -> tuple[Tensor, _Attended]:
        """``(tokens, hidden)`` to the attention block's normalised output, of all tokens or of each row's first."""
        width = hidden.shape[-1]
        size = width // self.heads
        projected = functional.linear(hidden.to(self.dtype), *layer.qkv)
        split = torch.zeros((3, shape.rows, self.heads, shape.places, size), dtype=self._type(shape, only_first))
        split[:, :, :, : shape.tokens] = projected.view(shape.rows, -1, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        query, key, value = split.view(3, -1, shape.places, size).unbind(0)
        if only_first:
            query = query[:, :1]
            hidden = hidden.view(shape.rows, shape.tokens, width)[:, 0]
        bias = query.new_zeros(()) if shape.bias is None else shape.bias.to(query.dtype)
        scores = torch.baddbmm(bias, query, key.transpose(1, 2), beta=float(bias.dim() > 0), alpha=size**-0.5)
        probabilities = scores.softmax(dim=-1)
        dropped, mask = _drop(layer.drop_scores, probabilities)
        context = torch.bmm(dropped, value).view(shape.rows, self.heads, -1, size)[:, :, : shape.tokens]
        context = context.transpose(1, 2).to(self.dtype, memory_format=torch.contiguous_format).reshape(-1, width)
        mixed, mix_mask = _drop(layer.drop_mix, functional.linear(context, *layer.mix))
        out, norm = self.norm(hidden + mixed, layer.norm)
        return out, _Attended((query, key, value), probabilities, dropped, (mask, mix_mask), norm)

    def attend_backward(
        self, layer: _Layer, kept: _Attended, gradient: Tensor, shape: _Shape, *, only_first: bool
    ) -> Tensor:
        width = gradient.shape[-1]
        size = width // self.heads
        query, key, value = kept.qkv
        mask, mix_mask = kept.masks
        summed = _norm_backward(gradient, kept.norm, layer.norm)
        mixed = _masked(summed.to(self.dtype), mix_mask) @ layer.mix[0]
        context = torch.zeros((shape.rows, self.heads, query.shape[1], size), dtype=query.dtype)
        context[:, :, : shape.tokens] = mixed.view(shape.rows, -1, self.heads, size).transpose(1, 2)
        context = context.view(-1, query.shape[1], size)
        scores = _masked(torch.bmm(context, value.transpose(1, 2)), mask)
        scores = _aten._softmax_backward_data(scores, kept.probabilities, -1, query.dtype).mul_(size**-0.5)
        gradients = (
            torch.bmm(scores, key),
            torch.bmm(scores.transpose(1, 2), query),
            torch.bmm(kept.dropped.transpose(1, 2), context),
        )
        joined = torch.empty((shape.rows, shape.tokens, 3, self.heads, size), dtype=self.dtype)
        for part, of_part in zip(joined.permute(2, 0, 3, 1, 4).unbind(0), gradients, strict=True):
            real = of_part.view(shape.rows, self.heads, -1, size)[:, :, : shape.tokens]
            part[:, :, : real.shape[2]] = real
            part[:, :, real.shape[2] :] = 0
        out = (joined.view(shape.rows * shape.tokens, -1) @ layer.qkv[0]).float()
        if only_first:
            out.view(shape.rows, shape.tokens, width)[:, 0] += summed
            return out
        return out.add_(summed)

    def _type(self, shape: _Shape, only_first: bool) -> torch.dtype:
        """What to compute scores in: products this small are faster in float32."""
        return torch.float32 if only_first or shape.places <= _SMALL else self.dtype

    def feed(self, layer: _Layer, attended: Tensor) -> tuple[Tensor, _Fed]:
        """The feed-forward block's output, before its residual: ``(tokens, hidden)``."""
        wide = functional.linear(attended.to(self.dtype), *layer.widen)
        out, mask = _drop(layer.drop_narrow, functional.linear(functional.gelu(wide), *layer.narrow))
        return out, _Fed(wide, mask)

    def feed_backward(self, layer: _Layer, kept: _Fed, gradient: Tensor) -> Tensor:
        wide = _masked(gradient.to(self.dtype), kept.mask) @ layer.narrow[0]
        out: Tensor = _aten.gelu_backward(wide, kept.wide) @ layer.widen[0]
        return out

    def adapt(self, layer: _Layer, summed: Tensor) -> tuple[Tensor, _Adapted]:
        """The layer's output from the sum of its two blocks: ``LN(s + up(relu(down(LN(s)))))``."""
        if layer.bottleneck is None:
            out, norm = self.norm(summed, layer.last_norm)
            return out, _Adapted(None, None, None, None, norm)
        weights = layer.bottleneck
        normed, inner = self.norm(summed, layer.last_norm)
        narrow = functional.linear(normed, weights.down, weights.down_bias).relu_()
        out, norm = self.norm(summed + functional.linear(narrow, weights.up, weights.up_bias), layer.last_norm)
        return out, _Adapted(weights, inner, normed, narrow, norm)

    def adapt_backward(self, layer: _Layer, kept: _Adapted, gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The gradient of the sum, and those of the adapter's weights in float32."""
        total = _norm_backward(gradient, kept.norm, layer.last_norm)
        if kept.weights is None or kept.narrow is None or kept.normed is None or kept.inner is None:
            return total, []
        narrow = _aten.threshold_backward(total @ kept.weights.up, kept.narrow, 0)
        gradients = [narrow.T @ kept.normed, narrow.sum(0), total.T @ kept.narrow, total.sum(0)]
        return total + _norm_backward(narrow @ kept.weights.down, kept.inner, layer.last_norm), gradients


class _Run(torch.autograd.Function):
    """All layers, from embedded tokens to the last layer's output at the first token of each row."""

    @staticmethod
    def forward(ctx: Any, encoder: _Encoder, embedded: Tensor, shape: _Shape, *parameters: Tensor) -> Tensor:
        hidden, last = embedded.reshape(-1, embedded.shape[-1]), len(encoder.layers) - 1
        kept = []
        for index, layer in enumerate(encoder.layers):
            attended, attention = encoder.attend(layer, hidden, shape, only_first=index == last)
            fed, feeding = encoder.feed(layer, attended)
            hidden, adapting = encoder.adapt(layer, attended + fed)
            if index >= encoder.lowest:
                kept.append((layer, attention, feeding, adapting))
        ctx.encoder, ctx.kept, ctx.shape = encoder, kept, shape
        return hidden

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        encoder, kept = ctx.encoder, ctx.kept
        gradients: list[Tensor] = []
        only_first = True
        while kept:
            layer, attention, feeding, adapting = kept.pop()
            gradient, of_weights = encoder.adapt_backward(layer, adapting, gradient)
            gradients[:0] = of_weights
            if kept:
                gradient = gradient + encoder.feed_backward(layer, feeding, gradient)
                gradient = encoder.attend_backward(layer, attention, gradient, ctx.shape, only_first=only_first)
            only_first = False
        return None, None, None, *gradients


def _drop(dropout: nn.Module, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
    """What dropout leaves, and the scaled mask it was multiplied with; None where nothing is dropped."""
    if not dropout.training or not isinstance(dropout, PooledDropout):
        return hidden, None
    mask = dropout.mask(hidden)
    return hidden * mask, mask


def _masked(gradient: Tensor, mask: Tensor | None) -> Tensor:
    return gradient if mask is None else gradient * mask


def _norm_backward(gradient: Tensor, kept: tuple[Tensor, Tensor, Tensor], weights: tuple[Tensor, Tensor]) -> Tensor:
    summed, mean, spread = kept
    out: Tensor = _aten.native_layer_norm_backward(
        gradient, summed, summed.shape[-1:], mean, spread, *weights, [True, False, False]
    )[0]
    return out
