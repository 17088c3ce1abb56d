"""What a training is asked for, whole: it can be recorded with the run, and read from there to do it again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from pointsman.registry import Origin, Run
from pointsman.registry.errors import SettingsError
from pointsman.registry.refs import check_name

from ..bases.find import absolute_name
from ..core.arguments import short_repr
from ..data.source import DataSource
from ..methods import configure, find_method
from ..methods.fusion import FUSE, configure_fusion
from .settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """Everything that says what a training does.

    Raises:
        InvalidNameError: The adapter's name breaks the rules for names.
        SettingsError: The task is no name.
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
    asked: frozenset[str]
    """The settings that somebody asked for; the others are what suits."""
    origin: Origin | None = None
    """What the training is a part of: a trial of a search, a cell of a benchmark."""
    if_newest: str | None = None
    """The uid of the newest run of that origin, of which another process may have started the next meanwhile."""

    def __post_init__(self) -> None:
        if not isinstance(self.task, str):
            raise SettingsError(f"task has to be a name, one of GLUE's or of your own; found {short_repr(self.task)}")
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
        """What ``train`` is asked for.

        Raises:
            InvalidNameError, MethodNotFoundError, SettingsError: Something that cannot work.
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
            asked=settings.asked,
            origin=origin,
            if_newest=if_newest,
        )

    @property
    def given(self) -> dict[str, Any]:
        """Where base and rows come from, as JSON: what a run keeps for the day that it is resumed or repeated."""
        return {"base": self.base, **asdict(self.source), "text": list(self.source.text)}

    @classmethod
    def of_run(cls, run: Run) -> Self:
        """What a recorded run was asked for, every default written out.

        Raises:
            SettingsError: It was recorded by a release that did not write all of it down.
        """
        if "given" not in run.data or "config" not in run.settings:
            raise SettingsError(
                f"run {run.uid} was recorded by an older release, which did not write down all that it was asked for: "
                "train anew with the settings that 'registry show' lists"
            )
        given = run.data["given"]
        known = {field.name for field in fields(TrainSettings)}
        settings = {key: value for key, value in run.settings.items() if key in known}
        return cls(
            task=run.task,
            base=given.get("base", run.base.name),
            method=run.method,
            config=run.settings["config"],
            source=DataSource(
                data=given["data"], validation=given["validation"], text=tuple(given["text"]), label=given["label"]
            ),
            name=run.adapter,
            settings=TrainSettings.of(settings),
            asked=frozenset(run.settings.get("asked", known)),
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
        name: str | None = None,
        **options: Any,
    ) -> Self:
        """The same with some things otherwise.

        A method that is named starts from its own configuration. Settings that had been left open, and would come out
        otherwise now, are left open again: the rate of another method, the epochs of other rows.

        Raises:
            InvalidNameError, MethodNotFoundError, SettingsError: Something that cannot work.
        """
        config, chosen = self.config, self.method
        if chosen == FUSE and method in (None, FUSE):
            config = {**config, "fusion": configure_fusion(overrides, start=config["fusion"])}
        elif method is not None or overrides:
            chosen = find_method(method or self.method).name
            config = configure(chosen, overrides, start=self.config if chosen == self.method else None)
        source = self.source
        if not (data is validation is text is label is None):
            source = DataSource.of(
                data or source.data,
                validation or (source.validation if data is None else None),
                source.text if text is None else text,
                label or source.label,
            )
        other_rows = source != self.source or "max_train_rows" in options
        reasons = {
            "average": "schedule" in options,
            "learning_rate": chosen != self.method,
            "epochs": other_rows,
            "batch_size": other_rows,
            "max_length": base is not None,
            "precision": "device" in options,
        }
        settings, open_ones = self.settings.to_dict(), TrainSettings().to_dict()
        reopened = {key for key, reason in reasons.items() if reason and key not in self.asked}
        # Either says how long, and goes before the other that was said before.
        reopened |= {other for one, other in (("max_steps", "epochs"), ("epochs", "max_steps")) if one in options}
        settings |= {key: open_ones[key] for key in reopened}
        return replace(
            self,
            base=self.base if base is None else absolute_name(base),
            method=chosen,
            config=config,
            source=source,
            name=name or self.name,
            settings=TrainSettings.of({**settings, **options}),
            asked=self.asked | options.keys(),
            origin=None,
            if_newest=None,
        )
