"""The blocks of a BERT encoder's layers, forward and backward, on the batches of any number of adapters at once.

The frozen products and normalisations run over the tokens of all batches, one after another without padding between
them; behind the last batch may stand tokens of no batch. Attention, dropout and the adapter run on each batch alone.

Between two products stand many small operations, whose time is that of starting them and of waiting for memory that is
not in the cache. So there are as few as there can be, and what is not read again is overwritten.
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

    inputs: Sequence[Tensor]
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
            hidden: The states below it, ``(tokens, hidden)``; overwritten.
            groups: The batches of all tokens, in order.
        """
        layer, attend = self.layers[number], self._attend_first if self._is_last(number) else self._attend
        spans = self._spans(number, groups)
        residual, mixed, scored = attend(number, hidden, groups)
        _drop(mixed, spans, [group.masks[number].mix for group in groups])
        attended, attention_norm = self._norm(residual.add_(mixed), layer.norm)
        wide = layer.widen(attended.to(self.dtype))
        fed = layer.narrow(functional.gelu(wide))
        _drop(fed, spans, [group.masks[number].narrow for group in groups])
        out, adapted = self._adapt(number, attended.add_(fed), groups)
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
        narrow = gradient.to(self.dtype, copy=True)
        _drop(narrow, spans, [group.masks[number].narrow for group in groups])
        wide = layer.narrow.backward(narrow)
        _aten.gelu_backward.grad_input(wide, saved.wide, grad_input=wide)
        gradient.add_(layer.widen.backward(wide))
        summed = _norm_backward(gradient, saved.attention_norm, layer.norm)
        mixed = summed.to(self.dtype, copy=True)
        _drop(mixed, spans, [group.masks[number].mix for group in groups])
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
        spans = self._spans(number, groups)
        joined = layer.qkv(hidden.to(self.dtype))
        context = _buffer(hidden.shape, self.dtype, spans)
        for group, projected, out in zip(groups, _parts(joined, spans), _parts(context, spans), strict=True):
            shape = group.shape
            dtype = torch.float32 if shape.places <= _FLOAT32_PLACES else self.dtype
            query, key, value = self._split(projected, shape, dtype)
            added = query.new_zeros(()) if shape.bias is None else shape.bias.to(dtype)
            alpha, beta = self.size**-0.5, float(added.dim() > 0)
            scores = torch.baddbmm(added, query, key.transpose(1, 2), beta=beta, alpha=alpha)
            probabilities = torch.softmax(scores, -1, out=scores)
            dropped = _dropped(probabilities, group.masks[number].scores)
            self._join(torch.bmm(dropped, value)[None], shape, out)
            scored.append(_Scored((query, key, value), probabilities, dropped))
        return hidden, layer.mix(context), scored

    def _attend_backward(self, saved: SavedLayer, context: Tensor, summed: Tensor, groups: Sequence[Group]) -> Tensor:
        spans, alpha = self._spans(saved.number, groups), self.size**-0.5
        joined = _buffer((len(context), 3 * context.shape[1]), context.dtype, spans)
        for group, scored, part, out in zip(
            groups, saved.scored, _parts(context, spans), _parts(joined, spans), strict=True
        ):
            query, key, value = scored.inputs
            (of_context,) = self._split(part, group.shape, query.dtype)
            scores = torch.bmm(of_context, value.transpose(1, 2))
            _softmax_backward(scores, group.masks[saved.number].scores, scored.probabilities)
            parts = query.new_empty((3, *query.shape))
            parts[0].baddbmm_(scores, key, beta=0, alpha=alpha)
            parts[1].baddbmm_(scores.transpose(1, 2), query, beta=0, alpha=alpha)
            torch.bmm(scored.dropped.transpose(1, 2), of_context, out=parts[2])
            self._join(parts, group.shape, out)
        return summed.add_(self.layers[saved.number].qkv.backward(joined))

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
            reach, hidden = scored.inputs
            scores = torch.bmm(pooled[group.rows], hidden.transpose(1, 2)) + of_bias[group.rows]
            _softmax_backward(scores, group.masks[saved.number].scores, scored.probabilities)
            scores *= self.size**-0.5
            part = torch.bmm(scored.dropped.transpose(1, 2), pooled[group.rows])
            parts.append(part.baddbmm_(scores.transpose(1, 2), reach))
            reached.append(torch.bmm(scores, hidden))
        query = torch.bmm(torch.cat(reached).transpose(0, 1), weights.key.transpose(1, 2)).transpose(0, 1)
        of_first = summed + weights.query.backward(query.reshape(count, -1).to(self.dtype))
        for group, part in zip(groups, parts, strict=True):
            part[:, 0] += of_first[group.rows]
        return _whole([part.view(-1, part.shape[-1]) for part in parts], saved.tokens)

    def _split(self, joined: Tensor, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """``(tokens, parts * hidden)`` to the parts by row and head, ``(rows * heads, places, size)`` each."""
        parts = joined.view(shape.rows, shape.tokens, -1, self.heads, self.size).permute(2, 0, 3, 1, 4)
        split = torch.empty((len(parts), shape.rows, self.heads, shape.places, self.size), dtype=dtype)
        split[:, :, :, : shape.tokens].copy_(parts)
        if shape.places > shape.tokens:
            split[:, :, :, shape.tokens :].zero_()
        return split.view(len(parts), -1, shape.places, self.size).unbind(0)

    def _join(self, parts: Tensor, shape: Shape, out: Tensor) -> None:
        """The inverse of ``_split``, into ``out``; empty places are left out."""
        joined = out.view(shape.rows, shape.tokens, len(parts), self.heads, self.size).permute(2, 0, 3, 1, 4)
        by_row = parts.view(len(parts), shape.rows, self.heads, shape.places, self.size)
        joined.copy_(by_row[:, :, :, : shape.tokens])

    def _adapt(self, number: int, summed: Tensor, groups: Sequence[Group]) -> tuple[Tensor, _Adapted]:
        """The layer's output from the sum of its two blocks: ``LN(s + up(relu(down(LN(s)))))``."""
        weights = self.layers[number].last_norm
        bottlenecks = [group.bottlenecks[number] for group in groups]
        normed, inner = self._norm(summed, weights)
        if bottlenecks[0] is None:
            return normed, _Adapted([], None, inner)
        spans, updated, adapters = self._spans(number, groups), [], []
        for bottleneck, before, inside in zip(bottlenecks, _parts(summed, spans), _parts(normed, spans), strict=True):
            assert bottleneck is not None  # all adapters of a pass are in the same layers
            narrow = functional.linear(inside, bottleneck.down, bottleneck.down_bias).relu_()
            updated.append(functional.linear(narrow, bottleneck.up, bottleneck.up_bias).add_(before))
            adapters.append(_Adapter(bottleneck, inside, narrow))
        out, norm = self._norm(_whole(updated, len(summed)), weights)
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
        of_normed, of_weights = [], []
        for adapter, part in zip(adapted.adapters, _parts(total, spans), strict=True):
            narrow = _aten.threshold_backward.default(torch.mm(part, adapter.weights.up), adapter.narrow, 0)
            of_up = torch.mm(adapter.narrow.T, part).T
            of_weights.append([torch.mm(narrow.T, adapter.normed), narrow.sum(0), of_up, part.sum(0)])
            if not is_lowest:
                of_normed.append(torch.mm(narrow, adapter.weights.down))
        if not is_lowest:
            total.add_(_norm_backward(_whole(of_normed, len(total)), adapted.inner, weights))
        return total, of_weights


def _parts(states: Tensor, spans: Sequence[slice]) -> Sequence[Tensor]:
    """The states of each span; those of one span alone are all of them."""
    return [states] if len(spans) == 1 else [states[span] for span in spans]


def _whole(parts: Sequence[Tensor], count: int) -> Tensor:
    """The inverse of ``_parts``, with zeros behind the last part up to a number of states."""
    behind = count - sum(map(len, parts))
    if len(parts) == 1 and not behind:
        return parts[0]
    return torch.cat([*parts, parts[0].new_zeros((behind, parts[0].shape[1]))])


def _buffer(shape: Sequence[int], dtype: torch.dtype, spans: Sequence[slice]) -> Tensor:
    """States to be written span by span, and zeros behind the last span."""
    states = torch.empty(shape, dtype=dtype)
    if spans[-1].stop < len(states):
        states[spans[-1].stop :] = 0
    return states


def _dropped(states: Tensor, mask: Tensor | None) -> Tensor:
    """States, or their gradient, after dropout."""
    return states if mask is None else states * mask


def _drop(states: Tensor, spans: Sequence[slice], masks: Sequence[Tensor | None]) -> None:
    """Drop out states of all groups, or their gradient, in place, each group's with its own mask."""
    for part, mask in zip(_parts(states, spans), masks, strict=True):
        if mask is not None:
            part.mul_(mask)


def _softmax_backward(gradient: Tensor, mask: Tensor | None, probabilities: Tensor) -> None:
    """The gradient of the scores in place of that of the probabilities after dropout."""
    if mask is not None:
        gradient.mul_(mask)
    _aten._softmax_backward_data.out(gradient, probabilities, -1, gradient.dtype, grad_input=gradient)


def _norm_backward(gradient: Tensor, saved: _Norm, weights: tuple[Tensor, Tensor]) -> Tensor:
    summed, mean, spread = saved
    out: Tensor = _aten.native_layer_norm_backward.default(
        gradient, summed, summed.shape[-1:], mean, spread, *weights, [True, False, False]
    )[0]
    return out
