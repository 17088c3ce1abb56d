"""The methods of ``Registry`` about runs."""

import operator
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..database import tables as t
from ..database.bases import add_place
from ..database.clock import clock
from ..database.paging import check_page
from ..database.part import RegistryPart
from ..errors import SettingsError
from ..records import Base, Origin, Page, Run, RunStatus
from ..refs import check_name
from . import listing, liveness, runs
from .checks import check_origin
from .recorder import RunRecorder
from .serving import ServingRecorder


class RunsPart(RegistryPart):
    """Start, resume and find runs: trainings, and what servers record."""

    def start_run(
        self,
        adapter: str,
        *,
        task: str,
        method: str,
        base: Base,
        settings: Mapping[str, Any],
        data: Mapping[str, Any],
        environment: Mapping[str, Any],
        seed: int,
        origin: Origin | None = None,
        if_newest: str | None = None,
    ) -> RunRecorder:
        """Start a run and return the recorder that logs its metrics.

        Args:
            adapter: The adapter that it trains a version of.
            task: The task's name.
            method: The adapter method's name.
            base: The base.
            settings: All settings, as JSON.
            data: Where the rows came from, how many, and their fingerprint.
            environment: Versions, processor, command.
            seed: The random seed.
            origin: The larger piece of work that the run is a part of. Then the run is started only if the newest run
                of that very origin is ``if_newest``: of several processes that start the same part, one succeeds.
            if_newest: The uid of that run; None if the origin must have no run yet.

        Raises:
            InvalidNameError: The adapter's name or the origin breaks the rules.
            SettingsError: Something is not JSON, the environment has the registry's own key, ``process``, or
                ``if_newest`` is given without an origin.
            ReservedError: Another run is the newest one of the origin; nothing was recorded.

        Examples:
            >>> origin = Origin(kind="trial", name="sst2-lora", item="3")
            >>> recorder = registry.start_run("sst2", origin=origin, **fields)
        """
        check_name(adapter)
        if liveness.KEY in environment:
            raise SettingsError(
                f"the environment has the key '{liveness.KEY}', which the registry uses for the process that records "
                "a run: use another key"
            )
        if origin is None and if_newest is not None:
            raise SettingsError(f"if_newest is '{if_newest}', but the run has no origin to compare: give an origin")
        if origin is not None:
            check_origin(origin)
        uid = secrets.token_hex(6)
        with self.database.writing(lambda connection: runs.has_uid(connection, uid)) as connection:
            started = clock(connection)
            before = None if origin is None else runs.reserve(connection, origin, if_newest)
            runs.insert(
                connection,
                uid=uid,
                adapter=adapter,
                task=task,
                method=method,
                base=base,
                settings=settings,
                data=data,
                environment={**environment, liveness.KEY: liveness.this_process()},
                seed=seed,
                status=RunStatus.RUNNING,
                error=None,
                # A clock that is behind must not make the new run look older than the one that it follows.
                started_at=started if before is None else max(started, before),
                ended_at=None,
                heartbeat_at=started,
                origin=origin,
            )
            add_place(connection, base, started)
        return RunRecorder(self.database, uid)

    def start_serving(
        self, *, settings: Mapping[str, Any], environment: Mapping[str, Any] | None = None
    ) -> ServingRecorder:
        """Return the recorder of a server, which starts a serving run for each version that it logs figures of.

        Args:
            settings: How the server computes, as JSON.
            environment: Versions, processor, command.

        Raises:
            SettingsError: One of them is not JSON.

        Examples:
            >>> recorder = registry.start_serving(settings={"precision": "fp32"})
        """
        return ServingRecorder(self.database, settings=settings, environment=environment or {})

    def check_resumable(self, uid: str) -> Run:
        """Return the run that ``resume_run`` would resume, or raise what it would raise."""
        with self.database.reading() as connection:
            return runs.check_resumable(connection, uid)[1]

    def resume_run(self, uid: str, *, last_step: int) -> RunRecorder:
        """Resume a run that crashed or was interrupted, and return the recorder that logs the rest of it.

        Its history is cut off after ``last_step``. So a training that continues from a checkpoint leaves no step out
        and logs none twice, if it flushed its metrics when it wrote the checkpoint. Of several processes that try at
        once, one succeeds.

        Args:
            uid: The run's uid, or its first digits.
            last_step: The step of the checkpoint; points of that step stay. -1 removes all.

        Raises:
            RunNotFoundError: No run has that uid, or several begin so.
            ConflictError: The run has finished, was pruned, has made a version, or is still running; nothing was
                changed. A run that was killed on this machine is known to be dead at once, a run on another machine
                after three minutes of silence.
            SettingsError: ``last_step`` is below -1, or does not fit 64 bits.
        """
        last_step = operator.index(last_step)
        with self.database.writing() as connection:
            uid = runs.resume(connection, uid, last_step)
        return RunRecorder(self.database, uid)

    def run_directory(self, uid: str) -> Path:
        """Return the directory of a run's checkpoints."""
        return self.home / "runs" / uid

    def run(self, uid: str) -> Run:
        """Return the run with that uid, or whose uid begins so.

        Raises:
            RunNotFoundError: No run has that uid, or several begin so.
        """
        with self.database.reading() as connection:
            (run,) = listing.records(connection, where=[t.run.c.id == runs.run_id(connection, uid)])
        return run

    def recorded_here(self, uid: str) -> bool:
        """Return whether a process that used this registry recorded a run, so that its paths are its own users'.

        What a run that came with a bundle names is only a hint. So is what a run names whose release did not record its
        process.

        Args:
            uid: The run's uid, or its first digits.

        Raises:
            RunNotFoundError: No run has that uid, or several begin so.

        Examples:
            >>> registry.recorded_here("3fa912bc04d1")
            True
        """
        with self.database.reading() as connection:
            return runs.process(connection, runs.run_id(connection, uid)) is not None

    def runs(
        self,
        where: str | None = None,
        *,
        adapter: str | None = None,
        serving: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> Page[Run]:
        """Return the trainings that match, newest first, and the number of all of them.

        Args:
            where: A query: ``"origin.kind = trial and origin.name = 'sst2-lora' and status = finished"``; the module
                ``registry.search.run_fields`` lists its fields. ``status`` is the status that people see: a run whose
                process is dead is ``interrupted``, not ``running``.
            adapter: Only runs that train a version of this adapter.
            serving: Serving runs instead of trainings: what servers recorded of the version ``origin.name``.
            limit: At most this many.
            offset: The number of runs to leave out first.

        Raises:
            QueryError: The query cannot be understood; the message points at the character.
            MetricNotFoundError: The query names a metric that nothing in the registry has.
            SettingsError: ``limit`` is below 1, or ``offset`` is below 0.
        """
        check_page(limit, offset)
        conditions = [listing.SERVINGS if serving else listing.TRAININGS]
        if adapter is not None:
            conditions.append(t.run.c.adapter_name == adapter)
        with self.database.reading() as connection:
            if where is None:
                return listing.page(connection, where=conditions, limit=limit, offset=offset)
            # The parser takes a while to import, and most calls have no query.
            from ..search import conditions as queries  # noqa: PLC0415
            from ..search.run_fields import run_subject  # noqa: PLC0415

            query = queries.compile_query(
                where, run_subject(lambda: listing.status_column(connection)), connection.dialect.name
            )
            page = listing.page(connection, where=[*conditions, query.condition], limit=limit, offset=offset)
            if not page.total:
                query.check_metrics(connection)
        return page
