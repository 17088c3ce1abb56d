"""The attention of a fusion layer over its members, by input and place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from adapters import AdapterSetup
from adapters.composition import Fuse
from torch import Tensor

from pointsman.registry import Ref, Registry
from pointsman.registry.errors import SettingsError

from ..bases.load import load_base
from ..bases.places import place_of
from ..core.registries import open_registry
from ..core.same_base import check_base
from ..data.batches import in_row_order, sorted_batches
from ..data.lengths import check_stored_length
from ..data.tokens import TokenRows, tokenise
from ..engines.single import BATCH_ROWS
from ..engines.slots import slot_name
from ..methods.fusion import is_fusion, member_refs
from ..switching.execute.requests import Text, check_input, input_list
from ..tasks import Task
from ..training.fusion_subject import insert_version


class Place(NamedTuple):
    """A place of a fusion layer in the base."""

    layer: int
    """The base's layer, from 0; of a layer that runs several times (ALBERT), the last time."""
    location: str
    """After attention (``mh_adapter``) or after the feed-forward block (``output_adapter``)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FusionAttention:
    """The attention of inputs over the members of a fusion."""

    members: tuple[str, ...]
    """Their refs, in the fusion's order."""
    places: tuple[Place, ...]
    """From the lowest to the highest."""
    weights: Tensor
    """``(inputs, places, members)`` in float32: means over an input's tokens without padding; they add up to 1 over the
    members."""


def fusion_attention(
    ref: str | Ref,
    inputs: Sequence[Text],
    *,
    base: str | None = None,
    registry: Registry | None = None,
    device: str = "cpu",
) -> FusionAttention:
    """The attention of a registered fusion for some inputs (Pfeiffer et al. 2021, arXiv:2005.00247, section 6).

    Args:
        ref: A version of the method ``fuse``.
        inputs: Texts, or pairs of texts for a task of pairs.
        base: Where to load the base from; by default where it was at training.
        registry: Where the version is; by default the default registry.
        device: The device to compute on, as torch names it.

    Raises:
        NotFoundError: The version or a member of it is not found.
        SettingsError: It is no fusion, there are no inputs, or its task does not take them.
        UnusableBaseError, BaseNotFoundError, BaseMismatchError: The base cannot be loaded, or is another one.
        StoreError, WeightsError: Files are missing, damaged or do not fit.

    Examples:
        >>> fusion_attention("similarity", [("He left.", "He is gone.")]).weights.mean(dim=(0, 1))
        tensor([0.21, 0.48, 0.31])
    """
    with open_registry(registry) as opened:
        version = opened.version(ref)
        if not is_fusion(version):
            raise SettingsError(
                f"{version.ref} is no fusion ({version.method}), and only a fusion has attention over members"
            )
        task = Task.from_dict(version.task)
        rows = [check_input(task, text, number) for number, text in enumerate(input_list(inputs))]
        if not rows:
            raise SettingsError("nothing to attend to: the list of inputs is empty")
        loaded = load_base(place_of(opened, version.base, base, of=version.ref), device=device)
        check_base(version, loaded.record)
        check_stored_length(version.ref, version.max_length, loaded.model.config)
        block = insert_version(loaded.model, opened, version, slot_name(0))
        tokens = tokenise(loaded.tokenizer, rows, max_length=version.max_length)
        places, weights = attention(loaded.model.eval(), block, tokens)
        return FusionAttention(members=member_refs(version.config), places=places, weights=weights)


def attention(model: Any, block: Fuse, rows: TokenRows) -> tuple[tuple[Place, ...], Tensor]:
    """The attention of a fusion in a model: its places, and ``(rows, places, members)`` in float32 on the CPU.

    Args:
        model: An adapters model in evaluation mode, with the fusion and its members in it.
        block: The block that activates the fusion.
        rows: The inputs, at least one.
    """
    batches = list(sorted_batches(rows.lengths, BATCH_ROWS))
    places: tuple[Place, ...] = ()
    parts = []
    with torch.inference_mode(), AdapterSetup(block):
        for indices in batches:
            batch = {name: tensor.to(model.device) for name, tensor in rows.batch(indices.tolist()).items()}
            by_layer = model(**batch, output_adapter_fusion_attentions=True).adapter_fusion_attentions[block.name]
            places = tuple(Place(layer, location) for layer in sorted(by_layer) for location in by_layer[layer])
            # (rows, places, tokens, members)
            given = torch.from_numpy(np.stack([by_layer[layer][location] for layer, location in places], axis=1))
            mask = batch["attention_mask"].cpu()[:, None, :, None]
            parts.append((given.float() * mask).sum(dim=2) / mask.sum(dim=2))
    return places, in_row_order(parts, batches)
