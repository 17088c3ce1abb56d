"""The request for a training: recorded with the run, and read back from it to resume or repeat the training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from pointsman.registry import Origin, Run
from pointsman.registry.errors import Action, Advice, SettingsError
from pointsman.registry.refs import check_name

from ..bases.find import absolute_name
from ..core.arguments import short_repr
from ..core.read_settings import ReadSettings
from ..data.source import DataSource
from ..methods import DEFAULT_METHOD, configure, find_method
from ..methods.fusion import FUSE, configure_fusion
from .settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """Everything that a training depends on.

    Raises:
        InvalidNameError: The adapter's name breaks the rules for names.
        SettingsError: The task is not a string.

    Examples:
        >>> TrainRequest.of(
        ...     "sst2", base="minilm", method="seq_bn", overrides=None, source=DataSource(data="sample"), name=None,
        ...     settings=TrainSettings(epochs=1),
        ... )
    """

    task: str
    base: str
    method: str
    config: Mapping[str, Any]
    """The method's full configuration."""
    source: DataSource
    name: str
    """The adapter to make a version of."""
    settings: TrainSettings
    requested: frozenset[str]
    """The settings that the caller chose; the others may be resolved again when the request changes."""
    origin: Origin | None = None
    """What the training belongs to: a trial of a search, a cell of a benchmark."""
    if_newest: str | None = None
    """The uid of the newest run of that origin, None if it has no run: see ``Registry.start_run``."""

    def __post_init__(self) -> None:
        if not isinstance(self.task, str):
            raise SettingsError(f"task must be a name, one of GLUE's or of your own; found {short_repr(self.task)}")
        check_name(self.name)

    @classmethod
    def of(
        cls,
        task: str,
        *,
        base: str,
        method: str,
        overrides: Mapping[str, Any] | None,
        source: DataSource,
        name: str | None,
        settings: TrainSettings,
        origin: Origin | None = None,
        if_newest: str | None = None,
    ) -> Self:
        """Check and complete the arguments of ``train``.

        Raises:
            InvalidNameError: The adapter's name breaks the rules for names.
            MethodNotFoundError: The method is unknown.
            SettingsError: The method's configuration cannot work.
        """
        method = find_method(method).name
        return cls(
            task=task,
            base=absolute_name(base),
            method=method,
            config=configure(method, overrides),
            source=source,
            name=name or task,
            settings=settings,
            requested=settings.requested,
            origin=origin,
            if_newest=if_newest,
        )

    @classmethod
    def of_arguments(
        cls,
        task: str,
        *,
        base: str,
        method: str = DEFAULT_METHOD,
        overrides: Mapping[str, Any] | None = None,
        data: str | Path | None = None,
        validation: str | Path | None = None,
        text: Sequence[str] | str = (),
        label: str = "label",
        reading: ReadSettings | Mapping[str, Any] | None = None,
        primary: str | None = None,
        positive: str | None = None,
        name: str | None = None,
        settings: TrainSettings | None = None,
        origin: Origin | None = None,
        **options: Any,
    ) -> Self:
        """The request of these arguments of ``train``.

        Raises:
            InvalidNameError, MethodNotFoundError, SettingsError: As for ``of``.
        """
        return cls.of(
            task,
            base=base,
            method=method,
            overrides=overrides,
            source=DataSource.of(data, validation, text, label, reading, primary=primary, positive=positive),
            name=name,
            settings=TrainSettings.given(settings, options),
            origin=origin,
        )

    @property
    def given(self) -> dict[str, Any]:
        """Where base and rows come from, as JSON, recorded so that the run can be resumed or repeated."""
        return {"base": self.base, **self.source.given}

    @classmethod
    def of_run(cls, run: Run, *, base: str) -> Self:
        """The request of a recorded run, with its resolved settings.

        Args:
            run: The run.
            base: Where to load its base from, as ``place_of`` gives it: a run of a bundle names a place of its own.

        Raises:
            SettingsError: The run was recorded by an older release, which did not record the request.
        """
        if "given" not in run.data or "config" not in run.settings:
            raise SettingsError(
                f"run {run.uid} was recorded by an older release, without its full request, so it cannot be repeated; "
                "train again with the recorded settings",
                advice=Advice(Action.TRAIN),
            )
        given = run.data["given"]
        known = {field.name for field in fields(TrainSettings)}
        settings = {key: value for key, value in run.settings.items() if key in known}
        return cls(
            task=run.task,
            base=absolute_name(base),
            method=run.method,
            config=run.settings["config"],
            source=DataSource.of_given(given),
            name=run.adapter,
            settings=TrainSettings.of(settings),
            requested=frozenset(run.settings.get("asked", known)),
            origin=run.origin,
        )

    def changed(
        self,
        *,
        base: str | None = None,
        method: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        data: str | Path | None = None,
        validation: str | Path | None = None,
        text: Sequence[str] | str | None = None,
        label: str | None = None,
        reading: ReadSettings | Mapping[str, Any] | None = None,
        primary: str | None = None,
        positive: str | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Self:
        """A copy with some things changed; a mapping as ``reading`` changes single settings of it.

        A new method starts from its own configuration. Settings that the caller did not choose, and that depend on what
        changes, are left open again: the learning rate with another method, the epochs with other rows.

        Raises:
            InvalidNameError, MethodNotFoundError, SettingsError: As for ``of``.
        """
        config, new_method = self.config, self.method
        if new_method == FUSE and method in (None, FUSE):
            config = {**config, "fusion": configure_fusion(overrides, start=config["fusion"])}
        elif method is not None or overrides:
            new_method = find_method(method or self.method).name
            config = configure(new_method, overrides, start=self.config if new_method == self.method else None)
        source = self.source
        if any(given is not None for given in (data, validation, text, label, reading)):
            source = DataSource.of(
                data or source.data,
                validation or (source.validation if data is None else None),
                source.text if text is None else text,
                label or source.label,
                ReadSettings.of(reading, source.reading),
                primary=source.primary,
                positive=source.positive,
            )
        other_rows = source != self.source or "max_train_rows" in options
        source = replace(source, primary=primary or source.primary, positive=positive or source.positive)
        dependencies = {
            "average": "schedule" in options,
            "learning_rate": new_method != self.method,
            "epochs": other_rows,
            "batch_size": other_rows,
            "max_length": base is not None,
            "precision": "device" in options,
        }
        reopened = {name for name, changed in dependencies.items() if changed and name not in self.requested}
        # Both set the length of the training, so the new one replaces the recorded one.
        if "max_steps" in options:
            reopened.add("epochs")
        if "epochs" in options:
            reopened.add("max_steps")
        defaults = TrainSettings().to_dict()
        settings = {**self.settings.to_dict(), **{name: defaults[name] for name in reopened}}
        return replace(
            self,
            base=self.base if base is None else absolute_name(base),
            method=new_method,
            config=config,
            source=source,
            name=name or self.name,
            settings=TrainSettings.of({**settings, **options}),
            requested=self.requested | options.keys(),
            origin=None,
            if_newest=None,
        )
