"""From requests to logits: grouped by route, tokenised, leased, and computed in as few forward passes as possible."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointsman.registry.errors import SettingsError

from ...core.composition import Composition
from ...data.tokens import TokenRows, joined, tokenise
from ...engines.mixed import mixed_outputs
from ...patches.layer_drop import check_drop_layers
from ...tasks import Task
from ..memory.adapter_cache import AdapterCache
from ..resolve.resolved_ref import Route
from .batch_plans import plan_batch
from .requests import Request, check_input


@dataclass(frozen=True, kw_only=True, eq=False)
class RouteLogits:
    """The logits of one route, for all rows that took it."""

    task: Task
    logits: Tensor
    """``(rows, labels)`` in float32 on the CPU, or ``(rows, 1)`` of a regression."""
    positions: list[int]
    """The place of each row among all answers: request by request, and route by route in each."""
    tokens: list[int]
    """Tokens of each row, once it is cut."""


class Executor:
    """Computes requests on one model; any number of threads may do so at once.

    Args:
        adapters: The versions on the model.
        tokenizer: The base's.
        autocast: The type to compute matrix products in; None: the model's own.
    """

    def __init__(self, adapters: AdapterCache, tokenizer: Any, *, autocast: torch.dtype | None) -> None:
        self._adapters = adapters
        self._tokenizer = tokenizer
        self._tokenising = threading.Lock()  # a tokenizer stores the length that it cuts to: one call at a time
        self._autocast = autocast
        self._device = adapters.placement.model.device  # the library looks it up among all parameters

    def execute(self, requests: Sequence[Request], *, drop_layers: int = 0) -> list[RouteLogits]:
        """Compute the logits of requests, all rows of one route together.

        Args:
            requests: At least one.
            drop_layers: The number of lowest layers whose adapters are skipped.

        Raises:
            SettingsError: There is no request, an input is not what its task takes, more adapters are needed than fit
                into the capacity, the base has fewer layers, or the Switcher is closed.
            StoreError, WeightsError: Files are missing, damaged or do not fit.
        """
        placement = self._adapters.placement
        # Read before the check: they are dropped only after the cache is stopped.
        model, encoder = placement.model, placement.encoder
        self._adapters.check_open()
        if not requests:
            raise SettingsError("nothing to predict: the list of inputs is empty")
        check_drop_layers(drop_layers, model)
        routes: dict[Composition, Route] = {}
        positions: dict[Composition, list[int]] = {}
        texts: list[tuple[str, ...]] = []
        max_lengths: list[int] = []
        for request in requests:
            for taken in request.routes:
                route = routes.setdefault(taken.composition, taken)  # other refs may resolve to the same blocks
                positions.setdefault(route.composition, []).append(len(texts))
                texts.append(check_input(route.task, request.text, request.number))
                max_lengths.append(route.max_length)
        rows = self._tokenise(texts, max_lengths)
        plan_of_row = np.empty(len(texts), dtype=np.int64)
        for index, places in enumerate(positions.values()):
            plan_of_row[places] = index
        versions = {version.ref: version for route in routes.values() for version in route.versions}
        with self._adapters.lease(list(versions.values())) as loaded:
            plans = [
                plan_batch(route, loaded, placement.rack_name, model_type=model.config.model_type)
                for route in routes.values()
            ]
            with placement.model_lock.shared():
                logits = mixed_outputs(
                    model,
                    plans,
                    plan_of_row,
                    rows,
                    encoder=encoder,
                    device=self._device,
                    autocast=self._autocast,
                    drop_layers=drop_layers,
                )
        lengths = rows.lengths
        return [
            RouteLogits(
                task=route.task,
                logits=outputs,
                positions=positions[blocks],
                tokens=lengths[positions[blocks]].tolist(),
            )
            for (blocks, route), outputs in zip(routes.items(), logits, strict=True)
        ]

    def _tokenise(self, texts: Sequence[tuple[str, ...]], max_lengths: Sequence[int]) -> TokenRows:
        """Tokenise rows of one text or two, each cut to its own length, in their order."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, (row, max_length) in enumerate(zip(texts, max_lengths, strict=True)):
            groups.setdefault((len(row), max_length), []).append(index)
        with self._tokenising:
            parts = [
                tokenise(self._tokenizer, [texts[index] for index in indices], max_length=max_length)
                for (_, max_length), indices in groups.items()
            ]
        if len(parts) == 1:
            return parts[0]
        order = np.concatenate([np.asarray(indices) for indices in groups.values()])
        return joined(parts).take(np.argsort(order).tolist())
