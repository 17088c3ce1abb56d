"""Which files of rows a recorded run may have read: its registry's own users', not those that a bundle names."""

from collections.abc import Mapping
from typing import Any

from pointsman.registry import Registry, Run
from pointsman.registry.errors import Action, Advice, SettingsError

from ..data.source import DataSource


def check_own_paths(registry: Registry, run: Run, source: DataSource, changes: Mapping[str, Any]) -> None:
    """Refuse to read files by the paths of a run that was not recorded here, unless the user names them.

    A bundle names files, too. Its paths are only hints, since whoever made the bundle chose them: a path may be a
    device, a share on another machine, or a file whose rows are nobody else's business.

    Args:
        registry: The registry of the run.
        run: The run.
        source: Where its rows came from.
        changes: What the user changes of it: ``data`` replaces both of the run's paths, ``validation`` its own.

    Raises:
        SettingsError: They would be read.
    """
    if registry.recorded_here(run.uid) or changes.get("data") is not None:
        return
    paths = {"data": source.data} if source.data not in (None, "sample") else {}
    if source.validation is not None and changes.get("validation") is None:
        paths["validation"] = source.validation
    if paths:
        named = " and ".join(f"{str(path)[:200]!a}" for path in paths.values())
        raise SettingsError(
            f"the rows of run {run.uid} are known only by {named}, which came with a bundle or from an older release "
            "and is not opened by itself; name your own rows, or that place if you trust it",
            advice=Advice(Action.TRAIN_LIKE, {"ref": f"run:{run.uid}", **paths}),
        )
