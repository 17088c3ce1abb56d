"""The methods of ``Registry`` about metric histories."""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from ..database.part import RegistryPart
from ..errors import MetricNotFoundError, SettingsError, unknown
from ..metrics import history as histories
from ..metrics import points, summaries
from ..metrics.series import Window
from ..records import MetricPoint, MetricSummary, VersionPoint
from ..refs import Ref, check_metric, check_name
from ..runs import runs, serving
from . import catalog


class HistoryPart(RegistryPart):
    """Read the metrics of runs and versions."""

    def history(
        self,
        ref: str | Ref,
        metric: str,
        *,
        first_step: int | None = None,
        last_step: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        max_points: int | None = None,
    ) -> list[MetricPoint]:
        """Return the points of one metric of the run that made a version, by step.

        A metric that begins with ``serving/`` is what servers recorded of the version, all of them in order of time:
        the step is the minute since 1970-01-01 UTC.

        Args:
            ref: A version's ref, or ``run:UID`` for a run.
            metric: As in ``eval/accuracy``.
            first_step: The first step to include.
            last_step: The last step to include.
            since: Leave out points that were logged before.
            until: Leave out points that were logged after.
            max_points: At most this many, at least 8. A longer history is thinned out: the first and the last point
                stay, and each bucket keeps its minimum, its maximum and a NaN if it has one, so that a plot of that
                width looks the same. It takes as long for ten million points as for a thousand.

        Raises:
            MetricNotFoundError: The run has no such metric; the message lists its metrics.
            NotFoundError: The version or run does not exist.
            SettingsError: ``max_points`` is below 8.
        """
        if max_points is not None and max_points < 8:
            raise SettingsError(f"max_points {max_points} is not valid: it must be at least 8")
        window = Window(
            first_step=first_step,
            last_step=last_step,
            since=None if since is None else since.timestamp(),
            until=None if until is None else until.timestamp(),
        )
        with self.database.reading() as connection:
            if metric.startswith(serving.PREFIX) and not _is_run(ref):
                served = _serving_runs(connection, ref)
                points = histories.joined_history(connection, served, metric, window, max_points=max_points)
                known = [] if points else [each.key for each in summaries.joined_summaries(connection, served)]
                if not points and metric not in known:
                    raise unknown(MetricNotFoundError, "metric", metric, known)
                return points
            return histories.history(connection, _run_of(connection, ref), metric, window, max_points=max_points)

    def version_history(self, name: str, metric: str) -> list[VersionPoint]:
        """Return a metric's values across the versions of an adapter, by number.

        Raises:
            AdapterNotFoundError: The adapter does not exist.
            MetricNotFoundError: None of its versions has the metric.
        """
        with self.database.reading() as connection:
            adapter_id = catalog.resolve(connection, Ref(check_name(name))).adapter_id
            points = histories.across(connection, adapter_id, check_metric(metric))
            if not points:
                raise unknown(MetricNotFoundError, "metric", metric, histories.metrics_across(connection, adapter_id))
        return points

    def metric_names(self, adapter: str | None = None) -> list[str]:
        """Return the names of all metrics that any run logged or any version has, sorted.

        Args:
            adapter: Only those that a version of this adapter has, as a score or in its run.

        Raises:
            AdapterNotFoundError: The adapter does not exist.
        """
        with self.database.reading() as connection:
            if adapter is None:
                return points.metric_names(connection)
            return histories.metrics_across(
                connection, catalog.resolve(connection, Ref(check_name(adapter))).adapter_id
            )

    def summaries(self, ref: str | Ref) -> list[MetricSummary]:
        """Return the summary of each metric of a version's run and of what servers recorded of it, or of ``run:UID``.

        They are sorted by name.
        """
        with self.database.reading() as connection:
            served = [] if _is_run(ref) else summaries.joined_summaries(connection, _serving_runs(connection, ref))
            try:
                logged = summaries.summaries(connection, _run_of(connection, ref))
            except MetricNotFoundError:
                if not served:
                    raise
                logged = []
        return sorted([*logged, *served], key=lambda summary: summary.key)

    def summaries_by_run(self, uids: Iterable[str]) -> dict[str, list[MetricSummary]]:
        """Return the summary of each metric of several runs, by the run's uid; runs without a metric are left out.

        Args:
            uids: The whole uids of the runs. A summary whose row is damaged is left out: ``summaries`` names it.

        Examples:
            >>> page = registry.runs(limit=50)
            >>> registry.summaries_by_run(run.uid for run in page)
        """
        with self.database.reading() as connection:
            return summaries.summaries_by_run(connection, uids)


def _is_run(ref: str | Ref) -> bool:
    return isinstance(ref, str) and ref.startswith("run:")


def _serving_runs(connection: sa.Connection, ref: str | Ref) -> list[int]:
    """The ids of the runs that servers recorded of a version, the oldest first."""
    parsed = Ref.parse(ref)
    return serving.run_ids(connection, f"{parsed.name}@{catalog.resolve(connection, parsed).number}")


def _run_of(connection: sa.Connection, ref: str | Ref) -> int:
    """The id of the run that ``run:UID`` names, or that made a version."""
    if _is_run(ref):
        return runs.run_id(connection, str(ref).removeprefix("run:"))
    version = catalog.resolve(connection, Ref.parse(ref))
    if version.run_id is None:
        raise MetricNotFoundError(
            f"{Ref.parse(ref).name}@{version.number} was made by no run, so it has no metric history"
        )
    return version.run_id
