"""Train a fusion over registered adapters, and register it as a version."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pointsman.registry import Ref, Registry, Version

from ..bases.find import absolute_name
from ..bases.places import place_of
from ..core.read_settings import ReadSettings
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
    reading: ReadSettings | Mapping[str, Any] | None = None,
    primary: str | None = None,
    positive: str | None = None,
    registry: Registry | None = None,
    settings: TrainSettings | None = None,
    report: Report = quiet,
    callbacks: Sequence[TrainerCallback] = (),
    **options: Any,
) -> Version:
    """Train AdapterFusion over registered adapters, and register the best checkpoint as the next version of ``name``.

    AdapterFusion (Pfeiffer et al. 2021, arXiv:2005.00247) learns an attention over its members, at every place and for
    every token. Base and members do not change; the fusion layer and a new head are trained. The run is like that of
    any training: ``resume`` continues it, ``train_like`` repeats it, and the settings are the same. By default, its
    learning rate is the paper's. A penalty in the loss keeps the value matrices near the identity (see
    ``fusion_layers.regularisation``), and ``weight_decay`` does not apply to them.

    Args:
        name: The adapter to make a version of.
        members: Refs of at least two bottleneck adapters, of any tasks; the version keeps the versions that they
            resolve to now.
        task: As for ``train``.
        base: ``minilm``, a directory, or a name on the Hugging Face hub; by default where the members' base was.
        overrides: Fields of the fusion layer's configuration to change, as ``{"value": False}``.
        data: As for ``train``.
        validation: As for ``train``.
        text: As for ``train``.
        label: As for ``train``.
        reading: As for ``train``.
        primary: As for ``train``.
        positive: As for ``train``.
        registry: Where the members are, and where the version is registered; by default the default registry.
        settings: The settings; or give single ones as ``options``.
        report: As for ``train``.
        callbacks: As for ``train``.
        **options: Fields of ``TrainSettings``.

    Returns:
        The new version: its method is ``fuse``, its parents are the members.

    Raises:
        PointsmanError: An argument cannot work; nothing is registered except the run, once it has started.

    Examples:
        >>> fuse("similarity", ["sts", "paraphrase", "nli"], "mrpc").parents
        ('sts@1', 'paraphrase@1', 'nli@2')
    """
    settings = TrainSettings.given(settings, options)
    refs = parse_members(members)
    with open_registry(registry) as opened:
        opened.check_writable()
        versions = find_members(opened, refs)
        request = TrainRequest(
            task=task,
            base=absolute_name(place_of(opened, versions[0].base, base, of=versions[0].ref)),
            method=FUSE,
            config=fuse_config([version.ref for version in versions], overrides),
            source=DataSource.of(data, validation, text, label, reading, primary=primary, positive=positive),
            name=name,
            settings=settings,
            requested=settings.requested,
        )
        return run_training(prepare(request, registry=opened), registry=opened, report=report, callbacks=callbacks)
