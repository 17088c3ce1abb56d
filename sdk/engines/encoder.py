"""The fast engine: an encoder's forward pass written out, for any mix of adapters at once.

adapters computes module by module, and one forward pass has one set of active modules. Here the base is a short list of
products with packed matrices, and every adapter or composition works on its own rows of the states between them, so
that rows of unlike adapters share one forward pass. The numbers are the same except for rounding.

The last layer's output is read at the first token only, so behind the keys and values it is computed for no other.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from adapters import AdapterSetup
from torch import Tensor
from torch.nn import functional

from pointsman.registry.errors import SettingsError

from ..core.devices import autocast_to, has_fast_bf16
from ..patches.forward_context import SharedLayers
from .adapter_program import BOTTLENECKS, UPDATES, AdapterProgram, Norm, Slots, SumBottleneck, layer_norm
from .encoder_layers import MODEL_TYPES, LayerModules, can_write_out, layer_modules
from .frozen_linear import FrozenLinear
from .int8_linear import Int8Linear, can_multiply, has_fast_int8

_PROGRAMS: Final = 256
"""Adapters and compositions whose programs are kept."""

_PLACES: Final = 32
"""Softmax in bf16 takes several times longer over a number of keys that is no multiple of this, a vector's width."""

_FEW_ROWS: Final = 4
"""Below this many rows, attention's time is that of starting its operations, of which torch's own has the fewest."""

_WRITTEN_OUT: Final = 128
"""Up to this many keys, attention in bf16 is faster with its scores in memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowGroup:
    """Neighbouring rows of a batch with the same modules of adapters."""

    rows: slice
    program: AdapterProgram
    slots: Slots

    def part(self, states: Tensor) -> Tensor:
        """The states of its rows, of those of all rows."""
        is_all = self.rows.stop - self.rows.start == len(states)
        return states if is_all else states[self.rows]


@dataclass(frozen=True, kw_only=True, eq=False)
class Expansion:
    """Where a batch of texts becomes a batch of rows, of which some share a text."""

    text_of_row: Tensor
    """``(rows,)`` in int64."""
    shared: SharedLayers


class Encoder:
    """A base whose layers are written out. Any number of threads may use it at once.

    Args:
        model: An adapters model in evaluation mode on a CPU, of a base that ``can_write_out``. It is not changed.
        precision: Of the base's products: ``fp32``, ``bf16`` or ``int8``. The states between them are in bf16 with
            ``bf16``, and else in float32; with ``int8``, attention is in bf16 where the device has it in hardware.

    Examples:
        >>> encoder = Encoder(model, precision="fp32")
        >>> group = RowGroup(rows=slice(0, 8), program=encoder.program("slot000000"), slots={"slot000000": 3})
        >>> encoder(batch, [group]).shape
        torch.Size([8, 384])
    """

    def __init__(self, model: Any, *, precision: str) -> None:
        self._model = model
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = model.device  # the library looks it up among all parameters
        self._modules = layer_modules(model)
        linear = Int8Linear if precision == "int8" else partial(FrozenLinear, dtype=self._dtype)
        *lower, last = self._modules
        self._layers: list[_Layer | _LastLayer] = [_Layer(modules, linear) for modules in lower]
        self._layers.append(_LastLayer(last, linear))
        self._heads = int(model.config.num_attention_heads)
        self._attends_in_bf16 = precision == "bf16" or (precision == "int8" and has_fast_bf16(self._device))
        self._programs: dict[str, AdapterProgram] = {}

    def program(self, key: str, setup: Any) -> AdapterProgram:
        """The program of an adapter or composition.

        Args:
            key: Names it, the same for the same modules.
            setup: The active adapters, a name in the model or a composition block of the adapters library.
        """
        found = self._programs.get(key)
        if found is None:
            found = AdapterProgram(self._model, self._modules, setup, dtype=self._dtype)
            if len(self._programs) >= _PROGRAMS:
                self.forget()
            self._programs[key] = found
        return found

    def forget(self) -> None:
        """Let go of all programs, since adapters were added to the model or removed from it."""
        self._programs = {}

    def __call__(
        self,
        batch: Mapping[str, Tensor],
        groups: Sequence[RowGroup],
        *,
        dropped: int = 0,
        expansion: Expansion | None = None,
    ) -> Tensor:
        """The states of each row's first token behind the last layer, ``(rows, hidden)``.

        Args:
            batch: ``input_ids`` and ``attention_mask``, ``(texts, tokens)``; ``token_type_ids`` if the base has them.
            groups: The groups of all rows, in order.
            dropped: The number of lowest layers whose adapters are skipped.
            expansion: Where texts become rows; None: each row has a text of its own.
        """
        with autocast_to(self._device, None):
            states = self._embed(batch, groups)
            mask = batch["attention_mask"]
            bias = None if bool(mask.all()) else _attention_bias(mask, states.dtype)
            for number, layer in enumerate(self._layers):
                active = _active(groups, number) if number >= dropped else {}
                waits = expansion is not None and number < expansion.shared.layers + expansion.shared.to_adapter
                if expansion is not None and not waits:
                    states, bias = _by_row(states, expansion), None if bias is None else _by_row(bias, expansion)
                states = self._run(layer, states, bias, active=active, expansion=expansion)
            first_tokens = states[:, 0]
            return first_tokens if expansion is None else _by_row(first_tokens, expansion)

    def _embed(self, batch: Mapping[str, Tensor], groups: Sequence[RowGroup]) -> Tensor:
        base = self._model.base_model
        inputs = {key: batch[key] for key in ("input_ids", "token_type_ids") if key in batch}
        # In a model in training its adapter is active, and the library would change the embeddings here already.
        with AdapterSetup(None):
            embedded: Tensor = base.embeddings(**inputs).to(self._dtype)
        if any(group.program.is_embedding for group in groups):
            parts = [
                group.program.embed(group.slots, group.part(embedded))
                if group.program.is_embedding
                else group.part(embedded)
                for group in groups
            ]
            embedded = torch.cat(parts)
        project = getattr(base, "embeddings_project", None)
        return embedded if project is None else project(embedded)

    def _run(
        self,
        layer: "_Layer | _LastLayer",
        states: Tensor,
        bias: Tensor | None,
        *,
        active: Mapping[str, Sequence["_Active"]],
        expansion: Expansion | None,
    ) -> Tensor:
        """One layer; the last one behind its keys and values for the first token only."""
        residual, query, key, value = layer.attention_inputs(states)
        query = _updated(active.get("query"), residual, query)
        key = _updated(active.get("key"), states, key)
        value = _updated(active.get("value"), states, value)
        context = self._attend(query, key, value, bias)
        attended = _placed(
            active.get("attention_place"), layer.mix, context, residual, norm=layer.attention_norm, expansion=expansion
        )
        updates = active.get("widen")
        wide = (
            layer.widened(attended)
            if updates is None
            else layer.activation(_updated(updates, attended, layer.widen(attended)))
        )
        updates = active.get("narrow")
        narrow = layer.narrow if updates is None else _Updated(layer.narrow, updates)
        return _placed(active.get("output_place"), narrow, wide, attended, norm=layer.output_norm, expansion=expansion)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """``(rows, queries, hidden)`` from queries, keys and values of that form."""
        rows, tokens, hidden = query.shape
        size = hidden // self._heads
        query, key, value = (part.view(rows, -1, self._heads, size).transpose(1, 2) for part in (query, key, value))
        if self._attends_in_bf16 and rows >= _FEW_ROWS and key.shape[2] <= _WRITTEN_OUT:
            context = _attend_padded(query, key, value, bias).to(query.dtype)
        else:
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return context.transpose(1, 2).reshape(rows, tokens, hidden)


_Active = tuple[RowGroup, Any]
"""A group, and the function that its program has for a place."""


class _Updated:
    """A linear layer with the updates of each group of rows."""

    def __init__(self, linear: FrozenLinear | Int8Linear, updates: Sequence[_Active]) -> None:
        self._linear, self._updates = linear, updates

    def __call__(self, states: Tensor) -> Tensor:
        return _updated(self._updates, states, self._linear(states))

    def plus(self, states: Tensor, added: Tensor) -> Tensor:
        return self(states).add_(added)


_Linear = FrozenLinear | Int8Linear | _Updated

_MakeLinear = Callable[..., FrozenLinear | Int8Linear]


class _LayerBehindAttention:
    """The weights that all layers have."""

    def __init__(self, modules: LayerModules, linear: _MakeLinear) -> None:
        self.mix = linear(modules.mix)
        self.widen = linear(modules.widen)
        self.narrow = linear(modules.narrow)
        self.attention_norm, self.output_norm = layer_norm(modules.attention_norm), layer_norm(modules.output_norm)
        self.activation = modules.activation
        self._is_gelu = modules.is_gelu

    def widened(self, states: Tensor) -> Tensor:
        """The first half of the feed-forward block."""
        return self.widen.gelu(states) if self._is_gelu else self.activation(self.widen(states))


class _Layer(_LayerBehindAttention):
    """A layer that is computed for all tokens."""

    def __init__(self, modules: LayerModules, linear: _MakeLinear) -> None:
        super().__init__(modules, linear)
        self.qkv = linear(modules.query, modules.key, modules.value)

    def attention_inputs(self, states: Tensor) -> tuple[Tensor, ...]:
        """The residual, queries, keys and values."""
        return states, *torch.split(self.qkv(states), states.shape[-1], dim=-1)


class _LastLayer(_LayerBehindAttention):
    """A layer that is computed for all keys and values, and else for the first token only."""

    def __init__(self, modules: LayerModules, linear: _MakeLinear) -> None:
        super().__init__(modules, linear)
        self.query, self.key_value = linear(modules.query), linear(modules.key, modules.value)

    def attention_inputs(self, states: Tensor) -> tuple[Tensor, ...]:
        """The residual and queries of the first tokens, and all keys and values."""
        first = states[:, :1].contiguous()
        return first, self.query(first), *torch.split(self.key_value(states), states.shape[-1], dim=-1)


def encoder_for(model: Any, precision: str) -> Encoder | None:
    """The fast engine for a base; None where the torch modules compute it.

    Args:
        model: An adapters model.
        precision: ``fp32``, ``bf16`` or ``int8``.

    Raises:
        SettingsError: The precision is ``int8``, and the device or the base does not have it.
    """
    fits = model.device.type == "cpu" and can_write_out(model.config)
    if precision == "int8":
        if not has_fast_int8(model.device):
            raise SettingsError(f"precision int8: {model.device} does not multiply int8 matrices in hardware; use fp32")
        if not fits:
            types = ", ".join(sorted(MODEL_TYPES))
            raise SettingsError(
                f"precision int8 is for encoders of {types} with absolute positions; found "
                f"{model.config.model_type}: use fp32"
            )
        for modules in layer_modules(model):
            for linear in (modules.query, modules.narrow):
                if not can_multiply(linear.in_features):
                    raise SettingsError(
                        f"precision int8 is for layers of a multiple of 4 inputs; found {linear.in_features}: use fp32"
                    )
    return Encoder(model, precision=precision) if fits else None


def _active(groups: Sequence[RowGroup], layer: int) -> dict[str, list[_Active]]:
    """For each place of a layer where adapters stand, the groups with theirs."""
    found: dict[str, list[_Active]] = {}
    for field in (*UPDATES, *BOTTLENECKS):
        if any(field in group.program.layers[layer] for group in groups):
            found[field] = [(group, group.program.layers[layer].get(field)) for group in groups]
    return found


def _updated(active: Sequence[_Active] | None, inputs: Tensor, outputs: Tensor) -> Tensor:
    """A linear layer's outputs with the updates of each group of rows."""
    for group, update in active or ():
        if update is not None:
            part = group.part(outputs)
            updated = update(group.slots, group.part(inputs), part)
            if updated is not part:
                part.copy_(updated)
    return outputs


def _placed(
    active: Sequence[_Active] | None,
    linear: _Linear,
    inputs: Tensor,
    residual: Tensor,
    *,
    norm: Norm,
    expansion: Expansion | None,
) -> Tensor:
    """The normalised states behind a linear layer, its residual and the bottlenecks there.

    Where there are some, texts become rows at the latest.
    """
    if active is None:
        return norm(linear.plus(inputs, residual))
    if all(bottleneck is None or isinstance(bottleneck, SumBottleneck) for _, bottleneck in active):
        summed = linear.plus(inputs, residual)
        if expansion is not None:
            summed = _by_row(summed, expansion)
        parts = [
            norm(group.part(summed)) if bottleneck is None else bottleneck.of_sum(group.slots, group.part(summed), norm)
            for group, bottleneck in active
        ]
    else:
        outputs = linear(inputs)
        if expansion is not None:
            outputs, residual = _by_row(outputs, expansion), _by_row(residual, expansion)
        parts = [
            norm(group.part(outputs) + group.part(residual))
            if bottleneck is None
            else bottleneck(group.slots, group.part(outputs), group.part(residual), norm)
            for group, bottleneck in active
        ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend_padded(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attention in bf16 over a multiple of ``_PLACES`` keys: half the time of torch's own, or less.

    Args:
        query: ``(rows, heads, queries, size)``.
        key: ``(rows, heads, tokens, size)``.
        value: Likewise.
        bias: ``(rows, 1, 1, tokens)``, added to the scores.
    """
    rows, heads, tokens, size = key.shape
    places = -(-tokens // _PLACES) * _PLACES
    padded = key.new_empty((2, rows, heads, places, size), dtype=torch.bfloat16)
    padded[0, :, :, :tokens], padded[1, :, :, :tokens] = key, value
    padded[:, :, :, tokens:] = 0
    keys, values = padded.view(2, rows * heads, places, size).unbind(0)
    added = padded.new_full((1 if bias is None else rows, 1, places), -math.inf)
    added[:, :, :tokens] = 0 if bias is None else bias[:, 0]
    if bias is not None:
        added = added.repeat_interleave(heads, dim=0)
    queries = query.to(torch.bfloat16).reshape(rows * heads, -1, size)
    scores = torch.baddbmm(added, queries, keys.transpose(1, 2), alpha=size**-0.5)
    return torch.bmm(scores.softmax(dim=-1), values).view(rows, heads, -1, size)


def _by_row(states: Tensor, expansion: Expansion) -> Tensor:
    """States by text repeated for each row; states by row as they are."""
    return states if len(states) == len(expansion.text_of_row) else states[expansion.text_of_row]


def _attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Added to attention's scores, ``(rows, 1, 1, tokens)``: 0, and minus infinity at padding."""
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(mask == 0, -math.inf)[:, None, None]
