"""Train a fusion over registered adapters, and register what comes out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pointsman.registry import Ref, Registry, Version

from ..bases.find import absolute_name
from ..core.refs import parse_members
from ..core.registries import open_registry
from ..data.source import DataSource
from ..methods.fusion import FUSE, fuse_config
from ..training.fusion_members import find_members
from ..training.prepare import prepare
from ..training.progress import Report, quiet
from ..training.request import TrainRequest
from ..training.session import run_training
from ..training.settings import TrainSettings


def fuse(
    name: str,
    members: Iterable[str | Ref],
    task: str,
    *,
    base: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    validation: str | Path | None = None,
    text: Sequence[str] | str = (),
    label: str = "label",
    registry: Registry | None = None,
    settings: TrainSettings | None = None,
    report: Report = quiet,
    callbacks: Sequence[TrainerCallback] = (),
    **options: Any,
) -> Version:
    """Train AdapterFusion over registered adapters, and register the best checkpoint as the next version of ``name``.

    AdapterFusion (Pfeiffer et al. 2021, arXiv:2005.00247) learns at every place, and for every token, how much to
    listen to which member. Base and members stay as they are; trained are the fusion layer and a new head. The run is
    one like that of any training: ``resume`` and ``train_like`` take it up and repeat it, and the settings mean the
    same. By default, its learning rate is the paper's. Value matrices are held near the identity: what they cost is a
    part of the loss (see ``layers.regularisation``), and ``weight_decay`` does not touch them.

    Args:
        name: The adapter to make a version of.
        members: Refs of two bottleneck adapters or more, of any tasks; the version keeps which versions they mean now.
        task: As for ``train``.
        base: ``minilm``, a directory, or a name on the Hugging Face hub; by default where the members' base was.
        overrides: Fields of the fusion layer's configuration to set otherwise, as ``{"value": False}``.
        data: As for ``train``.
        validation: As for ``train``.
        text: As for ``train``.
        label: As for ``train``.
        registry: Where the members are, and where to register it; by default the default registry.
        settings: The settings, or give single ones as ``options``.
        report: As for ``train``.
        callbacks: As for ``train``.
        **options: Fields of ``TrainSettings``.

    Returns:
        The new version: its method is ``fuse``, its parents are the members.

    Raises:
        PointsmanError: Something asked for cannot work; nothing is registered but, once it has started, the run.
    """
    settings = TrainSettings.given(settings, options)
    refs = parse_members(members)
    with open_registry(registry) as opened:
        opened.check_writable()
        found = find_members(opened, refs)
        request = TrainRequest(
            task=task,
            base=absolute_name(base or found[0].base.name),
            method=FUSE,
            config=fuse_config([member.ref for member in found], overrides),
            source=DataSource.of(data, validation, text, label),
            name=name,
            settings=settings,
            requested=settings.requested,
        )
        return run_training(prepare(request, registry=opened), registry=opened, report=report, callbacks=callbacks)
