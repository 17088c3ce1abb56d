"""The blocks of a BERT encoder's layers, forward and backward, on the batches of any number of adapters at once.

The frozen products and normalisations run over the tokens of all batches, one after another without padding between
them; behind the last batch may stand tokens of no batch. Attention, dropout and the adapter run on each batch alone.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .frozen_layers import Bottleneck, LastAttention, Layer

_MASKED: Final = -10_000.0
"""Added to the scores of padding, so that softmax makes them zero in float32 and in bf16."""

_PLACES: Final = 8
"""Attention runs over a multiple of this many places: softmax takes half the time of one over a few less."""

_FLOAT32_PLACES: Final = 24
"""Up to this many places, attention's products are faster in float32 than in bf16."""

_aten: Any = torch.ops.aten

_Norm = tuple[Tensor, Tensor, Tensor]
"""What the backward pass of a normalisation needs: its input, the means, and the inverse deviations."""


class Shape(NamedTuple):
    """The shape of a batch."""

    rows: int
    tokens: int
    places: int
    """Places of a row in attention: the batch's tokens, and empty places up to a multiple of eight."""
    bias: Tensor | None
    """Added to attention scores, ``(rows * heads, 1, places)``: 0, and ``_MASKED`` at padding and empty places."""
    padding: Tensor | None
    """The same without empty places, ``(rows, 1, tokens)``."""

    @classmethod
    def of(cls, mask: Tensor, heads: int) -> "Shape":
        """The shape of a batch with this attention mask, ``(rows, tokens)``."""
        rows, tokens = mask.shape
        places = -(-tokens // _PLACES) * _PLACES
        is_unpadded = bool(mask.all())
        if is_unpadded and places == tokens:
            return cls(rows, tokens, places, None, None)
        bias = torch.full((rows, 1, places), _MASKED)
        bias[:, 0, :tokens].mul_(1 - mask)
        padding = None if is_unpadded else bias[:, :, :tokens]
        return cls(rows, tokens, places, bias.repeat_interleave(heads, dim=0), padding)


class Masks(NamedTuple):
    """The scaled dropout masks of a layer; None where nothing is dropped."""

    scores: Tensor | None
    """``(rows * heads, places, places)``; in the last layer ``(rows, heads, tokens)``."""
    mix: Tensor | None
    """``(rows * tokens, hidden)``; in the last layer ``(rows, hidden)``."""
    narrow: Tensor | None
    """Likewise."""


class Group(NamedTuple):
    """The batch of one adapter among the rows of a forward pass."""

    shape: Shape
    masks: Sequence[Masks]
    """Of each layer."""
    bottlenecks: Sequence[Bottleneck | None]
    """Of each layer."""
    tokens: slice
    """Its tokens among those of all batches."""
    rows: slice
    """Its rows among those of all batches."""


class _Scored(NamedTuple):
    """What the backward pass of one group's attention needs."""

    tensors: tuple[Tensor, ...]
    """Query, key and value; in the last layer, its query times the keys' weights, and its input."""
    probabilities: Tensor
    dropped: Tensor


class _Adapter(NamedTuple):
    """What the backward pass of one group's adapter needs."""

    weights: Bottleneck
    normed: Tensor
    narrow: Tensor


class _Adapted(NamedTuple):
    """What the backward pass of a layer's adapters needs; without adapters, of its last normalisation."""

    adapters: list[_Adapter]
    inner: _Norm | None
    norm: _Norm


class SavedLayer(NamedTuple):
    """What the backward pass of a layer needs."""

    number: int
    tokens: int
    """The states below it."""
    scored: list[_Scored]
    attention_norm: _Norm
    wide: Tensor
    adapted: _Adapted


class Blocks:
    """The forward and backward pass of a layer.

    Args:
        layers: The frozen weights of each layer.
        last: The last layer's attention.
        lowest: The number of the lowest layer with an adapter.
        dtype: The type of the base's matrix products.
        heads: The number of attention heads.
        epsilon: Of layer normalisation.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        last: LastAttention,
        *,
        lowest: int,
        dtype: torch.dtype,
        heads: int,
        epsilon: float,
    ) -> None:
        self.layers = layers
        self.last = last
        self.lowest = lowest
        self.heads = heads
        self.size = last.value_bias.shape[1]
        self.epsilon = epsilon
        self.dtype = dtype

    def forward(self, number: int, hidden: Tensor, groups: Sequence[Group]) -> tuple[Tensor, SavedLayer]:
        """The output of a layer, ``(tokens, hidden)``; that of the last layer at first tokens only, ``(rows, hidden)``.

        Args:
            number: The layer's number.
            hidden: The states below it, ``(tokens, hidden)``.
            groups: The batches of all tokens, in order.
        """
        layer, attend = self.layers[number], self._attend_first if self._is_last(number) else self._attend
        spans = self._spans(number, groups)
        residual, mixed, scored = attend(number, hidden, groups)
        mixed = _masked(mixed, spans, [group.masks[number].mix for group in groups])
        attended, attention_norm = self._norm(residual + mixed, layer.norm)
        wide = layer.widen(attended.to(self.dtype))
        fed = layer.narrow(functional.gelu(wide))
        fed = _masked(fed, spans, [group.masks[number].narrow for group in groups])
        out, adapted = self._adapt(number, attended + fed, groups)
        return out, SavedLayer(number, len(hidden), scored, attention_norm, wide, adapted)

    def backward(
        self, saved: SavedLayer, gradient: Tensor, groups: Sequence[Group]
    ) -> tuple[Tensor | None, list[list[Tensor]]]:
        """The gradient of the states below a layer, None if no adapter is there, and by group those of its weights."""
        number, layer = saved.number, self.layers[saved.number]
        spans = self._spans(number, groups)
        gradient, of_weights = self._adapt_backward(saved, gradient, groups)
        if number == self.lowest:
            return None, of_weights
        narrow = _masked(gradient.to(self.dtype), spans, [group.masks[number].narrow for group in groups])
        wide = _aten.gelu_backward(layer.narrow.backward(narrow), saved.wide)
        gradient = gradient + layer.widen.backward(wide)
        summed = _norm_backward(gradient, saved.attention_norm, layer.norm)
        mixed = _masked(summed.to(self.dtype), spans, [group.masks[number].mix for group in groups])
        context = layer.mix.backward(mixed)
        backward = self._attend_first_backward if self._is_last(number) else self._attend_backward
        return backward(saved, context, summed, groups), of_weights

    def _is_last(self, number: int) -> bool:
        return number == len(self.layers) - 1

    def _spans(self, number: int, groups: Sequence[Group]) -> list[slice]:
        """Where the groups are behind the attention of a layer."""
        return [group.rows if self._is_last(number) else group.tokens for group in groups]

    def _norm(self, summed: Tensor, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, _Norm]:
        out, mean, spread = torch.native_layer_norm(summed, summed.shape[-1:], *weights, self.epsilon)
        return out, (summed, mean, spread)

    def _attend(self, number: int, hidden: Tensor, groups: Sequence[Group]) -> tuple[Tensor, Tensor, list[_Scored]]:
        """``(tokens, hidden)`` to the attention block's residual and output, the same shape each."""
        layer, scored = self.layers[number], []
        joined = layer.qkv(hidden.to(self.dtype))
        context = _buffer(hidden.shape, self.dtype, self._spans(number, groups))
        for group in groups:
            shape = group.shape
            dtype = torch.float32 if shape.places <= _FLOAT32_PLACES else self.dtype
            query, key, value = self._split(joined[group.tokens], shape, dtype)
            added = query.new_zeros(()) if shape.bias is None else shape.bias.to(dtype)
            alpha, beta = self.size**-0.5, float(added.dim() > 0)
            scores = torch.baddbmm(added, query, key.transpose(1, 2), beta=beta, alpha=alpha)
            probabilities = scores.softmax(dim=-1)
            dropped = _dropped(probabilities, group.masks[number].scores)
            self._join([torch.bmm(dropped, value)], shape, context[group.tokens])
            scored.append(_Scored((query, key, value), probabilities, dropped))
        return hidden, layer.mix(context), scored

    def _attend_backward(self, saved: SavedLayer, context: Tensor, summed: Tensor, groups: Sequence[Group]) -> Tensor:
        spans = self._spans(saved.number, groups)
        joined = _buffer((len(context), 3 * context.shape[1]), context.dtype, spans)
        for group, scored in zip(groups, saved.scored, strict=True):
            query, key, value = scored.tensors
            (of_context,) = self._split(context[group.tokens], group.shape, query.dtype)
            scores = torch.bmm(of_context, value.transpose(1, 2))
            scores = self._scores_backward(_dropped(scores, group.masks[saved.number].scores), scored)
            parts = [
                torch.bmm(scores, key),
                torch.bmm(scores.transpose(1, 2), query),
                torch.bmm(scored.dropped.transpose(1, 2), of_context),
            ]
            self._join(parts, group.shape, joined[group.tokens])
        return self.layers[saved.number].qkv.backward(joined).float().add_(summed)

    def _attend_first(
        self, number: int, hidden: Tensor, groups: Sequence[Group]
    ) -> tuple[Tensor, Tensor, list[_Scored]]:
        """The last layer's attention of each row's first token alone: ``(tokens, hidden)`` to ``(rows, hidden)``.

        With one query per row, keys and values need not be computed: ``q (x K)ᵀ`` is ``(q Kᵀ) xᵀ``, and ``p (x V)`` is
        ``(p x) V``. A bias of the keys adds the same number to all scores of a row, which does not change softmax.
        """
        weights, scored = self.last, []
        states = [hidden[group.tokens].view(group.shape.rows, group.shape.tokens, -1) for group in groups]
        first = torch.cat([of_group[:, 0] for of_group in states])
        query = weights.query(first.to(self.dtype)).float().view(len(first), self.heads, -1)
        reach = torch.bmm(query.transpose(0, 1), weights.key).transpose(0, 1)
        pooled, kept = [], []
        for group, of_group in zip(groups, states, strict=True):
            scores = torch.bmm(reach[group.rows], of_group.transpose(1, 2)).mul_(self.size**-0.5)
            if group.shape.padding is not None:
                scores += group.shape.padding
            probabilities = scores.softmax(dim=-1)
            dropped = _dropped(probabilities, group.masks[number].scores)
            pooled.append(torch.bmm(dropped, of_group))
            kept.append(dropped.sum(dim=-1, keepdim=True))
            scored.append(_Scored((reach[group.rows], of_group), probabilities, dropped))
        context = torch.bmm(torch.cat(pooled).transpose(0, 1), weights.value.transpose(1, 2)).transpose(0, 1)
        context = context + torch.cat(kept) * weights.value_bias
        return first, self.layers[number].mix(context.reshape(len(first), -1).to(self.dtype)), scored

    def _attend_first_backward(
        self, saved: SavedLayer, context: Tensor, summed: Tensor, groups: Sequence[Group]
    ) -> Tensor:
        weights, count = self.last, len(summed)
        by_head = context.float().view(count, self.heads, -1)
        pooled = torch.bmm(by_head.transpose(0, 1), weights.value).transpose(0, 1)
        of_bias = (by_head * weights.value_bias).sum(dim=-1, keepdim=True)
        parts, reached = [], []
        for group, scored in zip(groups, saved.scored, strict=True):
            reach, hidden = scored.tensors
            scores = torch.bmm(pooled[group.rows], hidden.transpose(1, 2)) + of_bias[group.rows]
            scores = self._scores_backward(_dropped(scores, group.masks[saved.number].scores), scored)
            part = torch.bmm(scored.dropped.transpose(1, 2), pooled[group.rows])
            parts.append(part.baddbmm_(scores.transpose(1, 2), reach))
            reached.append(torch.bmm(scores, hidden))
        query = torch.bmm(torch.cat(reached).transpose(0, 1), weights.key.transpose(1, 2)).transpose(0, 1)
        of_first = summed + weights.query.backward(query.reshape(count, -1).to(self.dtype))
        for group, part in zip(groups, parts, strict=True):
            part[:, 0] += of_first[group.rows]
        flat = [part.view(-1, part.shape[-1]) for part in parts]
        if len(flat) == 1:
            return flat[0]
        behind = saved.tokens - groups[-1].tokens.stop
        return torch.cat([*flat, summed.new_zeros((behind, summed.shape[1]))])

    def _scores_backward(self, gradient: Tensor, scored: _Scored) -> Tensor:
        of_scores: Tensor = _aten._softmax_backward_data(gradient, scored.probabilities, -1, gradient.dtype)
        return of_scores.mul_(self.size**-0.5)

    def _split(self, joined: Tensor, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """``(tokens, parts * hidden)`` to the parts by row and head, ``(rows * heads, places, size)`` each."""
        parts = joined.view(shape.rows, shape.tokens, -1, self.heads, self.size).permute(2, 0, 3, 1, 4)
        split = torch.empty((len(parts), shape.rows, self.heads, shape.places, self.size), dtype=dtype)
        split[:, :, :, : shape.tokens] = parts
        if shape.places > shape.tokens:
            split[:, :, :, shape.tokens :] = 0
        return split.view(len(parts), -1, shape.places, self.size).unbind(0)

    def _join(self, parts: Sequence[Tensor], shape: Shape, out: Tensor) -> None:
        """The inverse of ``_split``, into ``out``; empty places are left out."""
        joined = out.view(shape.rows, shape.tokens, len(parts), self.heads, self.size)
        for place, part in zip(joined.permute(2, 0, 3, 1, 4).unbind(0), parts, strict=True):
            place.copy_(part.view(shape.rows, self.heads, shape.places, self.size)[:, :, : shape.tokens])

    def _adapt(self, number: int, summed: Tensor, groups: Sequence[Group]) -> tuple[Tensor, _Adapted]:
        """The layer's output from the sum of its two blocks: ``LN(s + up(relu(down(LN(s)))))``."""
        weights = self.layers[number].last_norm
        bottlenecks = [group.bottlenecks[number] for group in groups]
        normed, inner = self._norm(summed, weights)
        if bottlenecks[0] is None:
            return normed, _Adapted([], None, inner)
        spans = self._spans(number, groups)
        updated, adapters = _buffer(summed.shape, summed.dtype, spans), []
        for bottleneck, span in zip(bottlenecks, spans, strict=True):
            assert bottleneck is not None  # all adapters of a pass are in the same layers
            narrow = functional.linear(normed[span], bottleneck.down, bottleneck.down_bias).relu_()
            update = functional.linear(narrow, bottleneck.up, bottleneck.up_bias)
            torch.add(summed[span], update, out=updated[span])
            adapters.append(_Adapter(bottleneck, normed[span], narrow))
        out, norm = self._norm(updated, weights)
        return out, _Adapted(adapters, inner, norm)

    def _adapt_backward(
        self, saved: SavedLayer, gradient: Tensor, groups: Sequence[Group]
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """The gradient of the sum, complete unless this is the lowest adapter, and those of the adapters' weights."""
        adapted, weights = saved.adapted, self.layers[saved.number].last_norm
        total = _norm_backward(gradient, adapted.norm, weights)
        if adapted.inner is None:
            return total, [[] for _ in groups]
        is_lowest = saved.number == self.lowest
        spans = self._spans(saved.number, groups)
        of_normed, of_weights = _buffer(total.shape, total.dtype, spans), []
        for adapter, span in zip(adapted.adapters, spans, strict=True):
            part = total[span]
            narrow = _aten.threshold_backward(part @ adapter.weights.up, adapter.narrow, 0)
            of_weights.append([narrow.T @ adapter.normed, narrow.sum(0), part.T @ adapter.narrow, part.sum(0)])
            if not is_lowest:
                torch.mm(narrow, adapter.weights.down, out=of_normed[span])
        return total if is_lowest else total + _norm_backward(of_normed, adapted.inner, weights), of_weights


def _buffer(shape: Sequence[int], dtype: torch.dtype, spans: Sequence[slice]) -> Tensor:
    """States to be written span by span, and zeros behind the last span."""
    states = torch.empty(shape, dtype=dtype)
    states[spans[-1].stop :] = 0
    return states


def _dropped(states: Tensor, mask: Tensor | None) -> Tensor:
    """States, or their gradient, after dropout."""
    return states if mask is None else states * mask


def _masked(states: Tensor, spans: Sequence[slice], masks: Sequence[Tensor | None]) -> Tensor:
    """States of all groups, or their gradient, after dropout of each group with its own mask."""
    drawn = [mask for mask in masks if mask is not None]
    if not drawn:
        return states
    dropped = _buffer(states.shape, states.dtype, spans)
    for span, mask in zip(spans, drawn, strict=True):
        torch.mul(states[span], mask, out=dropped[span])
    return dropped


def _norm_backward(gradient: Tensor, saved: _Norm, weights: tuple[Tensor, Tensor]) -> Tensor:
    summed, mean, spread = saved
    out: Tensor = _aten.native_layer_norm_backward(
        gradient, summed, summed.shape[-1:], mean, spread, *weights, [True, False, False]
    )[0]
    return out
