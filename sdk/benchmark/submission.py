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

from pointsman.registry.errors import Action, Advice, ConflictError, DataError, SettingsError, StoreError, WeightsError
from pointsman.registry.storage.files import write_atomically

from ..data import available_splits, load_task_data
from ..data.glue_tsv import folder_name
from ..data.splits import Split
from ..switching.execute.requests import STREAM_ROWS
from ..switching.switcher import Switcher
from ..tasks import GLUE, Task


@dataclass(frozen=True, kw_only=True)
class OfficialFile:
    """One file of a complete submission."""

    name: str
    task: str
    split: str
    """The split of the task that it has predictions for."""
    rows: int
    """The number of rows of the published test file."""
    spelling: Mapping[str, str]
    """The text that stands for each class, by the class name; empty for a score."""

    @property
    def adapter(self) -> str:
        """The task whose adapter predicts it: mnli for ax."""
        return GLUE[self.task].scored_with or self.task

    def written(self, logits: torch.Tensor) -> list[str]:
        """The lines for a head's outputs, ``(rows, labels)`` or ``(rows, 1)`` for a score."""
        task = GLUE[self.task]
        if task.bounds is not None:
            low, high = task.bounds
            return [f"{min(max(low, value), high):.3f}" for value in logits[:, 0].tolist()]
        return [self.spelling[task.labels[label]] for label in logits.argmax(dim=1).tolist()]


_NLI: Final = {"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"}
_TWO_WAY: Final = {"entailment": "entailment", "not_entailment": "not_entailment"}

# fmt: off
_TABLE: Final[tuple[tuple[str, str, str, int, Mapping[str, str]], ...]] = (
    # file         task    split              rows     the text for each class
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
"""The files of a complete submission, in the order of the zip."""

_TASKS: Final = tuple(name for name, task in GLUE.items() if task.trainable)


@dataclass(frozen=True, kw_only=True)
class SubmittedFile:
    """One file of a submission."""

    name: str
    rows: int
    official_rows: int
    """The number of rows that the leaderboard expects."""
    ref: str | None
    """The version that predicted it, as ``name@number``; None if it was filled."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The submission that ``submit`` wrote."""

    path: Path
    source: str
    """Where the rows came from, for people."""
    files: tuple[SubmittedFile, ...]
    missing: tuple[str, ...]
    """Files of a complete submission that were not written."""
    filled: tuple[str, ...]
    """Files without predictions, with class 0 (or the score 0) on every row."""

    @property
    def misfits(self) -> tuple[SubmittedFile, ...]:
        """Files whose number of rows is not the one that the leaderboard expects."""
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
    """Predict GLUE's test rows with registered versions, and write the zip that the leaderboard takes.

    Args:
        switcher: A Switcher on the base of the versions.
        refs: At most one version of each GLUE task. The version of mnli also predicts the diagnostic rows (ax), if the
            data have them.
        path: The zip; it appears when it is complete.
        data: A directory in the hub's or GLUE's own layout, ``sample``, or None for the hub.
        fill: Write the files of the other tasks as well, with class 0 (for stsb the score 0) on every row, since the
            leaderboard takes complete submissions only.
        force: Overwrite an existing file.
        report: Called from time to time with the number of predicted rows and the number of all rows.

    Returns:
        Which version predicted which file, and what is missing. A file with an unexpected number of rows is written
        all the same, see ``misfits``.

    Raises:
        SettingsError: There is no version, two versions of one task, a version of a task that is not GLUE's, or a path
            that is not a zip in an existing directory.
        ConflictError: The path exists.
        DataError: The data lack a task's test rows, or do not fit it. Nothing was predicted.
        NotFoundError, BaseMismatchError: And the other errors of ``Switcher.load``.
        WeightsError: A version's outputs are NaN.
        StoreError: The zip cannot be written.

    Examples:
        >>> submit(switcher, ["sst2@best", "mnli@best"], data="glue/", path="glue.zip").missing
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
    _check_target(path, force=force)  # another process may have written it during the predictions
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
        raise SettingsError(f"a submission must be a file with the suffix .zip; found {str(path)!a}")
    if not path.parent.is_dir():
        raise SettingsError(f"the directory {path.parent} does not exist; create it first")
    if path.is_dir() or (path.exists() and not force):
        advice = None if path.is_dir() else Advice(Action.SET_ARGUMENTS, {"force": True})
        raise ConflictError(f"{path} exists; name another file", advice=advice)
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"the submission {path} cannot be written: no permission to write to its directory")


def _by_task(switcher: Switcher, refs: Sequence[str]) -> dict[str, str]:
    """Load the versions; return them, as ``name@number``, by the task that each was trained on."""
    if isinstance(refs, str):
        raise SettingsError(f"refs must be a list of versions; found the string {refs!r}")
    if not refs:
        raise SettingsError(f"the list of refs is empty; name one version of each task: {', '.join(_TASKS)}")
    chosen: dict[str, str] = {}
    for ref in refs:
        version, learned = switcher.load(ref), switcher.task(ref)
        if learned.name not in _TASKS or not _same(learned, GLUE[learned.name]):
            raise SettingsError(
                f"{version} was trained on {learned.name!r}, which is not a GLUE task; the leaderboard takes: "
                f"{', '.join(_TASKS)}"
            )
        if learned.name in chosen:
            both = f"{chosen[learned.name]} and {version}"
            raise SettingsError(f"{both} are two versions of {learned.name}; a submission takes one of each task")
        chosen[learned.name] = version
    return chosen


def _same(learned: Task, official: Task) -> bool:
    return (learned.text, learned.labels) == (official.text, official.labels)


def _test_rows(chosen: Mapping[str, str], source: str | Path | None) -> tuple[dict[str, Split], str]:
    """The rows to predict by file name, and where they came from; all are read before any is predicted."""
    wanted = [file for file in FILES if file.adapter in chosen]
    available = {name: _splits(GLUE[name], source) for name in dict.fromkeys(file.task for file in wanted)}
    # The diagnostic rows are in a folder of their own, which is optional.
    if lacking := [file for file in wanted if GLUE[file.task].trainable and file.split not in available[file.task]]:
        looked_for = "; ".join(
            f"{file.task}: {file.task}/{file.split}-00000-of-00001.parquet or "
            f"{folder_name(GLUE[file.task])}/{file.split}.tsv"
            for file in lacking
        )
        raise DataError(
            f"{source or 'the hub'} lacks test rows; looked for {looked_for}; add them, or leave out the versions of "
            f"{', '.join(dict.fromkeys(file.task for file in lacking))}"
        )
    wanted = [file for file in wanted if file.split in available[file.task]]
    loaded = {
        name: load_task_data(GLUE[name], source, splits=[file.split for file in wanted if file.task == name])
        for name in dict.fromkeys(file.task for file in wanted)
    }
    sources = ", ".join(dict.fromkeys(data.source for data in loaded.values()))
    return {file.name: loaded[file.task].splits[file.split] for file in wanted}, sources


def _splits(task: Task, source: str | Path | None) -> set[str]:
    """The splits of a task that a source has; empty if it has no folder of the task."""
    try:
        return available_splits(task, source)
    except DataError:
        # For a directory, the caller collects what all tasks lack, for one message.
        if task.trainable and (source is None or not Path(source).is_dir()):
            raise
        return set()


def _chunks(rows: Split) -> Iterator[list[tuple[str, ...]]]:
    """The texts of ``STREAM_ROWS`` rows at a time: all of qqp's as Python strings take hundreds of megabytes."""
    for start in range(0, len(rows), STREAM_ROWS):
        columns = rows.dataset[start : start + STREAM_ROWS]
        yield list(zip(*(columns[name] for name in rows.task.text), strict=True))


def _logits(switcher: Switcher, ref: str, texts: Sequence[tuple[str, ...]]) -> torch.Tensor:
    logits = switcher.logits(ref, texts)
    if bool(logits.isnan().any()):
        raise WeightsError(f"the outputs of {ref} are NaN; submit another version")
    return logits


def _tsv(answers: Iterable[str]) -> bytes:
    lines = [f"{index}\t{answer}\n" for index, answer in enumerate(answers)]
    return "".join(["index\tprediction\n", *lines]).encode()


def _zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            # A fixed time and system, so that the same predictions make the same bytes.
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()
