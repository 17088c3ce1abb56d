"""A submission to GLUE's leaderboard: a zip with a file of predictions for each of the benchmark's test files.

The format is the one of https://gluebenchmark.com/faq: tab-separated files with the columns index and prediction, in
the order of the test file. Scores are cut to 0 to 5 and have three decimals, as GLUE's baselines write them
(https://github.com/nyu-mll/jiant). The same versions and rows make the same zip, byte for byte.
"""

import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from pointsman.registry.errors import ConflictError, DataError, SettingsError, StoreError, WeightsError
from pointsman.registry.storage.files import write_atomically

from ..data import load_task_data, splits_there
from ..data.glue_tsv import folder_name
from ..data.splits import Split
from ..switching.execute.requests import STREAM_ROWS
from ..switching.switcher import Switcher
from ..tasks import GLUE, Task


@dataclass(frozen=True, kw_only=True)
class OfficialFile:
    """One file that the leaderboard asks for."""

    name: str
    task: str
    split: str
    """The split of the task whose rows it answers."""
    rows: int
    """How many rows the published test file has."""
    spelling: Mapping[str, str]
    """What is written for each of the task's classes, by its name; empty for a score."""

    @property
    def adapter(self) -> str:
        """The task whose adapter answers it: of ax, mnli."""
        return GLUE[self.task].scored_with or self.task

    def written(self, logits: torch.Tensor) -> list[str]:
        """What is written for a head's outputs: ``(rows, labels)``, or ``(rows, 1)`` for a score."""
        task = GLUE[self.task]
        if task.bounds is not None:
            low, high = task.bounds
            return [f"{min(max(low, value), high):.3f}" for value in logits[:, 0].tolist()]
        return [self.spelling[task.labels[label]] for label in logits.argmax(dim=1).tolist()]


_NLI: Final = {"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"}
_TWO_WAY: Final = {"entailment": "entailment", "not_entailment": "not_entailment"}

# fmt: off
_TABLE: Final[tuple[tuple[str, str, str, int, Mapping[str, str]], ...]] = (
    # file         task    split              rows     what is written for each class
    ("AX.tsv",      "ax",   "test",            1_104,   _NLI),
    ("CoLA.tsv",    "cola", "test",            1_063,   {"unacceptable": "0", "acceptable": "1"}),
    ("MNLI-m.tsv",  "mnli", "test_matched",    9_796,   _NLI),
    ("MNLI-mm.tsv", "mnli", "test_mismatched", 9_847,   _NLI),
    ("MRPC.tsv",    "mrpc", "test",            1_725,   {"not_equivalent": "0", "equivalent": "1"}),
    ("QNLI.tsv",    "qnli", "test",            5_463,   _TWO_WAY),
    ("QQP.tsv",     "qqp",  "test",            390_965, {"not_duplicate": "0", "duplicate": "1"}),
    ("RTE.tsv",     "rte",  "test",            3_000,   _TWO_WAY),
    ("SST-2.tsv",   "sst2", "test",            1_821,   {"negative": "0", "positive": "1"}),
    ("STS-B.tsv",   "stsb", "test",            1_379,   {}),
    ("WNLI.tsv",    "wnli", "test",            146,     {"not_entailment": "0", "entailment": "1"}),
)
# fmt: on

FILES: Final = tuple(
    OfficialFile(name=name, task=task, split=split, rows=rows, spelling=spelling)
    for name, task, split, rows, spelling in _TABLE
)
"""The files of a complete submission, in the order they have in the zip."""

_TASKS: Final = tuple(name for name, task in GLUE.items() if task.trainable)


@dataclass(frozen=True, kw_only=True)
class SubmittedFile:
    """One file of a submission."""

    name: str
    rows: int
    official_rows: int
    """How many rows the leaderboard takes."""
    ref: str | None
    """The version that predicted it, as ``name@number``; None where it was filled."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What ``submit`` wrote."""

    path: Path
    source: str
    """Where the rows came from, in a few words."""
    files: tuple[SubmittedFile, ...]
    missing: tuple[str, ...]
    """Files that the leaderboard asks for and that were not written."""
    filled: tuple[str, ...]
    """Files without predictions: each task's class 0, or 0, on every row."""

    @property
    def misfits(self) -> tuple[SubmittedFile, ...]:
        """Files with more or fewer rows than the leaderboard takes."""
        return tuple(file for file in self.files if file.rows != file.official_rows)


def submit(
    switcher: Switcher,
    refs: Sequence[str],
    *,
    path: str | Path,
    data: str | Path | None = None,
    fill: bool = False,
    force: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> Submission:
    """Predict GLUE's test rows with registered versions, and write the zip that its leaderboard takes.

    Args:
        switcher: A Switcher on the base of the versions.
        refs: At most one version of each task of GLUE. The one of mnli also answers the diagnostic rows (ax), where the
            data have them.
        path: The zip; appears when it is complete.
        data: A directory in the hub's or GLUE's own layout, ``sample``, or None for the hub.
        fill: Write files for the other tasks, too, with each one's class 0 (for stsb 0) on every row: the leaderboard
            takes complete submissions only.
        force: Overwrite a file that is there.
        report: Called with the number of rows done and of all rows, time and again.

    Returns:
        Which file came from which version, and what is missing. Rows in another number than the official one are
        written all the same: see ``misfits``.

    Raises:
        SettingsError: No version, two of one task, one of another task than GLUE's, or a path that cannot be.
        ConflictError: Something is at the path already.
        DataError: The data lack a task's test rows, or do not fit it. Nothing was predicted.
        NotFoundError, BaseMismatchError and the other errors of ``Switcher.load``.
        WeightsError: A version's outputs are NaN.
        StoreError: The zip cannot be written.
    """
    path = Path(path)
    _check_target(path, force=force)
    chosen = _by_task(switcher, refs)
    tests, source = _test_rows(chosen, data)
    total = sum(len(rows) for rows in tests.values())
    done = 0
    written: list[SubmittedFile] = []
    members: dict[str, bytes] = {}
    for file in FILES:
        if (rows := tests.get(file.name)) is not None:
            ref = chosen[file.adapter]
            answers: list[str] = []
            for texts in _chunks(rows):
                answers += file.written(_logits(switcher, ref, texts))
                done += len(texts)
                if report is not None:
                    report(done, total)
        elif fill:
            ref, answers = None, file.written(torch.zeros(1, GLUE[file.task].num_labels)) * file.rows
        else:
            continue
        members[file.name] = _tsv(answers)
        written.append(SubmittedFile(name=file.name, rows=len(answers), official_rows=file.rows, ref=ref))
    _check_target(path, force=force)  # that took its time: something may be there by now
    try:
        write_atomically(path, [_zipped(members)])
    except OSError as error:
        raise StoreError(f"the submission {path} cannot be written: {error.strerror}") from error
    return Submission(
        path=path,
        source=source,
        files=tuple(written),
        missing=tuple(file.name for file in FILES if file.name not in members),
        filled=tuple(file.name for file in written if file.ref is None),
    )


def _check_target(path: Path, *, force: bool) -> None:
    if path.suffix.lower() != ".zip":
        raise SettingsError(f"a submission is a file that ends in .zip; found {str(path)!a}")
    if not path.parent.is_dir():
        raise SettingsError(f"the directory {path.parent} does not exist: make it first")
    if path.is_dir() or (path.exists() and not force):
        raise ConflictError(f"{path} exists: name another file" + ("" if path.is_dir() else ", or force it (--force)"))
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"the submission {path} cannot be written: its directory does not let you")


def _by_task(switcher: Switcher, refs: Sequence[str]) -> dict[str, str]:
    """The versions, as ``name@number``, by the task that each has learned; all of them loaded."""
    if isinstance(refs, str):
        raise SettingsError(f"refs are a list of versions; found the string {refs!r}: put it into a list")
    if not refs:
        raise SettingsError(f"name the versions to submit: one of each task, of {', '.join(_TASKS)}")
    chosen: dict[str, str] = {}
    for ref in refs:
        found, learned = switcher.load(ref), switcher.task(ref)
        if learned.name not in _TASKS or not _same(learned, GLUE[learned.name]):
            raise SettingsError(
                f"{found} learned {learned.name!r}, which is none of GLUE's tasks: the leaderboard takes "
                f"{', '.join(_TASKS)}"
            )
        if learned.name in chosen:
            both = f"{chosen[learned.name]} and {found}"
            raise SettingsError(f"two versions of {learned.name}, {both}: a submission has one of each task")
        chosen[learned.name] = found
    return chosen


def _same(learned: Task, official: Task) -> bool:
    return (learned.text, learned.labels) == (official.text, official.labels)


def _test_rows(chosen: Mapping[str, str], source: str | Path | None) -> tuple[dict[str, Split], str]:
    """The rows to predict, by the file they are for, and where they came from. All are read before any is predicted."""
    wanted = [file for file in FILES if file.adapter in chosen]
    there = {name: _splits(GLUE[name], source) for name in dict.fromkeys(file.task for file in wanted)}
    # The diagnostic rows are a folder of their own, which those who only want mnli's may well not have.
    if lacking := [file for file in wanted if GLUE[file.task].trainable and file.split not in there[file.task]]:
        looked_for = "; ".join(
            f"{file.task}: {file.task}/{file.split}-00000-of-00001.parquet or "
            f"{folder_name(GLUE[file.task])}/{file.split}.tsv"
            for file in lacking
        )
        raise DataError(
            f"{source or 'the hub'} lacks test rows; looked for {looked_for}. Add them, or leave out the versions of "
            f"{', '.join(dict.fromkeys(file.task for file in lacking))}"
        )
    wanted = [file for file in wanted if file.split in there[file.task]]
    loaded = {
        name: load_task_data(GLUE[name], source, splits=[file.split for file in wanted if file.task == name])
        for name in dict.fromkeys(file.task for file in wanted)
    }
    sources = ", ".join(dict.fromkeys(data.source for data in loaded.values()))
    return {file.name: loaded[file.task].splits[file.split] for file in wanted}, sources


def _splits(task: Task, source: str | Path | None) -> set[str]:
    """The splits of a task that a source has; none where it has no folder of the task."""
    try:
        return splits_there(task, source)
    except DataError:
        # A directory is asked for every task, so that one message tells of all that it lacks.
        if task.trainable and (source is None or not Path(source).is_dir()):
            raise
        return set()


def _chunks(rows: Split) -> Iterator[list[tuple[str, ...]]]:
    """The texts of some rows at a time: those of all of qqp's take hundreds of megabytes as Python's strings."""
    for start in range(0, len(rows), STREAM_ROWS):
        columns = rows.dataset[start : start + STREAM_ROWS]
        yield list(zip(*(columns[name] for name in rows.task.text), strict=True))


def _logits(switcher: Switcher, ref: str, texts: Sequence[tuple[str, ...]]) -> torch.Tensor:
    logits = switcher.logits(ref, texts)
    if bool(logits.isnan().any()):
        raise WeightsError(f"{ref} answers NaN, from which nothing can be read: submit another version")
    return logits


def _tsv(answers: Iterable[str]) -> bytes:
    lines = [f"{index}\t{answer}\n" for index, answer in enumerate(answers)]
    return "".join(["index\tprediction\n", *lines]).encode()


def _zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            # What would be the time and the system of this call is the same in every one.
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()
