"""Submissions are what GLUE's leaderboard takes: read back here as its server does, by the rules of its FAQ alone."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pointsman.registry import Registry, Version
from pointsman.registry.errors import (
    Action,
    Advice,
    BaseMismatchError,
    ConflictError,
    DataError,
    PointsmanError,
    SettingsError,
    WeightsError,
)
from pointsman.sdk import Switcher, submit
from pointsman.sdk.bases.load import LoadedBase
from pointsman.sdk.benchmark.submission import FILES, Submission
from pointsman.sdk.data import load_task_data
from pointsman.sdk.data.tokens import tokenise
from pointsman.sdk.engines.single import adapter_outputs
from pointsman.sdk.engines.slots import add_head, add_slot, extract_adapter, head_tensors, remove_slot, slot_name
from pointsman.sdk.methods import configure
from pointsman.sdk.switching.execute.requests import STREAM_ROWS
from pointsman.sdk.tasks import GLUE, custom_task

from helpers import PAIRS, TEXTS, MakeVersion, scramble

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "glue"
real = pytest.mark.skipif(not REAL.is_dir(), reason="GLUE's own files are not beside this checkout (../shared/glue)")

TASKS = ["cola", "sst2", "mrpc", "stsb", "mnli", "qnli", "qqp", "rte", "wnli"]
LENGTH = 48
"""Tokens that a row is cut to. Where most rows are far longer, cutting a pair takes longer than predicting it."""

NLI = {"entailment", "neutral", "contradiction"}
# What gluebenchmark.com asks for: the rows of each file, and the answers that may stand in it (None: a score).
ASKED: dict[str, tuple[int, set[str] | None]] = {
    "CoLA.tsv": (1063, {"0", "1"}),
    "SST-2.tsv": (1821, {"0", "1"}),
    "MRPC.tsv": (1725, {"0", "1"}),
    "STS-B.tsv": (1379, None),
    "MNLI-m.tsv": (9796, NLI),
    "MNLI-mm.tsv": (9847, NLI),
    "QNLI.tsv": (5463, {"entailment", "not_entailment"}),
    "QQP.tsv": (390965, {"0", "1"}),
    "RTE.tsv": (3000, {"entailment", "not_entailment"}),
    "WNLI.tsv": (146, {"0", "1"}),
    "AX.tsv": (1104, NLI),
}

# What the published files write for each class, by the task and by the class' name here.
SPELLINGS = {
    "cola": {"unacceptable": "0", "acceptable": "1"},
    "sst2": {"negative": "0", "positive": "1"},
    "mrpc": {"not_equivalent": "0", "equivalent": "1"},
    "qqp": {"not_duplicate": "0", "duplicate": "1"},
    "wnli": {"not_entailment": "0", "entailment": "1"},
    "qnli": {"entailment": "entailment", "not_entailment": "not_entailment"},
    "rte": {"entailment": "entailment", "not_entailment": "not_entailment"},
    "mnli": {"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"},
    "ax": {"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"},
    "stsb": {},
}


def read_as_the_server(path: Path) -> dict[str, list[str]]:
    """The answers in a zip by the name of their file; anything that the leaderboard would not understand fails."""
    answers = {}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names)) > 0
        for name in names:
            allowed = ASKED[name][1]  # nothing else, and nothing below a folder
            header, *lines, end = archive.read(name).decode("ascii").split("\n")
            assert (header, end) == ("index\tprediction", "")
            rows = [line.split("\t") for line in lines]
            assert [index for index, _ in rows] == [str(index) for index in range(len(rows))]
            answers[name] = [answer for _, answer in rows]
            if allowed is None:
                assert all(0 <= float(answer) <= 5 for answer in answers[name])
            else:
                assert set(answers[name]) <= allowed
    return answers


def would_take(path: Path) -> bool:
    """Whether the leaderboard would score it."""
    return {name: len(rows) for name, rows in read_as_the_server(path).items()} == {n: r for n, (r, _) in ASKED.items()}


Make = Callable[..., Version]


@pytest.fixture
def make(registry: Registry, loaded: LoadedBase) -> Make:
    """Registers a version of a task of GLUE whose answers differ from row to row.

    Of random weights alone, most answers to all rows are one class. Here each output of the head is 0 in the mean over
    some rows (for a score: 2.5), and spread over what a score may be and more.
    """

    def made(name: str, *, rows: Sequence[tuple[str, ...]] | None = None, factor: float = 1.0) -> Version:
        task, slot = GLUE[name], slot_name(0)
        torch.manual_seed(TASKS.index(name))
        config = configure("seq_bn")
        add_slot(loaded.model, slot, config)
        add_head(loaded.model, slot, labels=task.labels)
        scramble(loaded.model, slot)
        loaded.model.eval()
        if rows is None:
            (split, *_) = (file.split for file in FILES if file.task == name)
            rows = load_task_data(name, "sample", splits=[split]).splits[split].head(64).texts()
        found = adapter_outputs(loaded.model, slot, tokenise(loaded.tokenizer, rows, max_length=LENGTH))
        *_, weight, bias = head_tensors(loaded.model, slot).values()
        scale = factor * 3 / float(found.std(dim=0).mean())
        weight.mul_(scale)
        bias.sub_(found.mean(dim=0)).mul_(scale).add_(2.5 * task.is_regression)
        files = extract_adapter(loaded.model, slot, name=name, base="tiny")
        remove_slot(loaded.model, slot)
        return registry.add_version(
            name,
            files=files,
            task=task.to_dict(),
            method="seq_bn",
            config=config,
            base=loaded.record,
            max_length=LENGTH,
            parameters=1,
        )

    return made


@pytest.fixture
def all_tasks(make: Make) -> list[str]:
    """A version of each task."""
    for name in TASKS:
        make(name)
    return TASKS


@pytest.fixture
def switcher(registry: Registry, tiny_base: Path) -> Iterator[Switcher]:
    with Switcher(str(tiny_base), registry=registry) as opened:
        yield opened


def write_sst2(directory: Path, rows: int) -> list[str]:
    """A test file in GLUE's own layout; returns its sentences."""
    texts = [TEXTS[index * index % len(TEXTS)] for index in range(rows)]
    (directory / "SST-2").mkdir(parents=True)
    lines = ["index\tsentence", *(f"{index}\t{text}" for index, text in enumerate(texts))]
    (directory / "SST-2" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return texts


def write_mnli(directory: Path, layout: str, splits: tuple[str, ...] = ("test_matched", "test_mismatched")) -> None:
    folder = directory / {"hub": "mnli", "official": "MNLI"}[layout]
    folder.mkdir(parents=True)
    for split in splits:
        if layout == "hub":
            premise, hypothesis = map(list, zip(*PAIRS, strict=True))
            table = pa.table({"premise": premise, "hypothesis": hypothesis, "label": pa.array([-1] * 3, pa.int64())})
            pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
        else:
            lines = ["index\tsentence1\tsentence2", *(f"{index}\t{a}\t{b}" for index, (a, b) in enumerate(PAIRS))]
            (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_table_is_the_benchmarks_own() -> None:
    assert [file.name for file in FILES] == sorted(ASKED)
    assert {file.name: file.rows for file in FILES} == {name: rows for name, (rows, _) in ASKED.items()}
    assert {file.task: dict(file.spelling) for file in FILES} == SPELLINGS
    assert {file.task: tuple(file.spelling) for file in FILES} == {name: task.labels for name, task in GLUE.items()}
    assert {file.adapter for file in FILES} == set(TASKS)


def test_every_answer_is_the_versions_own(all_tasks: list[str], switcher: Switcher, tmp_path: Path) -> None:
    made = submit(switcher, all_tasks, data="sample", path=tmp_path / "glue.zip")
    answers = read_as_the_server(tmp_path / "glue.zip")
    assert set(answers) == set(ASKED)
    varied = 0
    for file in FILES:
        rows = load_task_data(file.task, "sample", splits=[file.split]).splits[file.split]
        predictions = switcher.predict(file.adapter, rows.texts())
        if file.task == "stsb":
            expected = [f"{min(max(0.0, answer.score), 5.0):.3f}" for answer in predictions]
        else:
            expected = [SPELLINGS[file.task][str(answer.label)] for answer in predictions]
        assert answers[file.name] == expected
        varied += len(set(expected)) > 1
    assert varied == len(FILES)
    assert isinstance(made, Submission)
    assert made.path == tmp_path / "glue.zip"
    assert {file.name: file.ref for file in made.files} == {file.name: f"{file.adapter}@1" for file in FILES}
    assert (made.missing, made.filled, made.source) == ((), (), "sample (synthetic)")
    assert {(file.name, file.rows, file.official_rows) for file in made.misfits} == {
        (name, 200, rows) for name, (rows, _) in ASKED.items()
    }
    assert not would_take(tmp_path / "glue.zip")


def test_the_same_versions_make_the_same_zip(
    all_tasks: list[str], registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    zips = []
    for order in (["cola", "mnli", "stsb"], ["stsb", "cola", "mnli"]):
        with Switcher(str(tiny_base), registry=registry) as switcher:
            zips.append(submit(switcher, order, data="sample", path=tmp_path / f"{order[0]}.zip").path)
    assert zips[0].read_bytes() == zips[1].read_bytes()
    with zipfile.ZipFile(zips[0]) as archive:
        found = [(info.filename, info.date_time) for info in archive.infolist()]
    assert found == [(name, (1980, 1, 1, 0, 0, 0)) for name in sorted(("CoLA.tsv", "STS-B.tsv", "MNLI-m.tsv",
                                                                      "MNLI-mm.tsv", "AX.tsv"))]  # fmt: skip


def test_what_is_missing_is_filled_only_if_asked_for(make: Make, switcher: Switcher, tmp_path: Path) -> None:
    make("stsb")
    others = tuple(name for name in sorted(ASKED) if name != "STS-B.tsv")
    partial = submit(switcher, ["stsb"], data="sample", path=tmp_path / "partial.zip")
    assert set(read_as_the_server(tmp_path / "partial.zip")) == {"STS-B.tsv"}
    assert (partial.missing, partial.filled) == (others, ())
    full = submit(switcher, ["stsb@1"], data="sample", path=tmp_path / "full.zip", fill=True)
    answers = read_as_the_server(tmp_path / "full.zip")
    assert answers.pop("STS-B.tsv") == read_as_the_server(tmp_path / "partial.zip")["STS-B.tsv"]
    assert {name: (len(rows), set(rows)) for name, rows in answers.items()} == {
        name: (ASKED[name][0], {"entailment"} if name[:2] in ("AX", "MN", "QN", "RT") else {"0"}) for name in others
    }
    assert (full.missing, full.filled) == ((), others)
    assert {file.name: file.ref for file in full.files} == {**dict.fromkeys(others), "STS-B.tsv": "stsb@1"}
    assert [file.name for file in full.misfits] == ["STS-B.tsv"]


def test_a_filled_submission_is_one_that_the_leaderboard_takes(make: Make, switcher: Switcher, tmp_path: Path) -> None:
    make("sst2")
    write_sst2(tmp_path / "glue", 1821)
    made = submit(switcher, ["sst2"], data=tmp_path / "glue", path=tmp_path / "glue.zip", fill=True)
    assert would_take(made.path)
    assert (made.misfits, made.source) == ((), "directory (official layout) glue")
    assert read_as_the_server(made.path)["STS-B.tsv"] == ["0.000"] * 1379


def test_scores_are_cut_to_what_they_may_be(make: Make, switcher: Switcher, tmp_path: Path) -> None:
    wild = make("stsb").ref
    submit(switcher, [wild], data="sample", path=tmp_path / "glue.zip")
    answers = read_as_the_server(tmp_path / "glue.zip")["STS-B.tsv"]
    rows = load_task_data("stsb", "sample", splits=["test"]).splits["test"].texts()
    values = [answer.score for answer in switcher.predict(wild, rows)]
    assert min(values) < -1
    assert max(values) > 6
    for value, answer in zip(values, answers, strict=True):
        assert answer == ("0.000" if value < 0 else "5.000" if value > 5 else f"{value:.3f}")
    assert len(set(answers)) > 10


def test_rows_keep_their_order_and_come_in_pieces(make: Make, switcher: Switcher, tmp_path: Path) -> None:
    make("sst2", rows=[(text,) for text in TEXTS])
    texts = write_sst2(tmp_path / "glue", 2 * STREAM_ROWS + 50)
    labels = [str(answer.label) for answer in switcher.predict("sst2", TEXTS)]
    assert len(set(labels)) == 2
    told: list[tuple[int, int]] = []
    submit(
        switcher,
        ["sst2"],
        data=tmp_path / "glue",
        path=tmp_path / "glue.zip",
        report=lambda done, total: told.append((done, total)),
    )
    spelt = dict(zip(TEXTS, (SPELLINGS["sst2"][label] for label in labels), strict=True))
    assert read_as_the_server(tmp_path / "glue.zip") == {"SST-2.tsv": [spelt[text] for text in texts]}
    assert told == [(done, len(texts)) for done in (STREAM_ROWS, 2 * STREAM_ROWS, len(texts))]


@pytest.mark.parametrize("layout", ["hub", "official"])
def test_mnlis_version_answers_the_diagnostic_rows_where_they_are(
    layout: str, make: Make, switcher: Switcher, tmp_path: Path
) -> None:
    make("mnli")
    write_mnli(tmp_path / layout, layout)
    without = submit(switcher, ["mnli"], data=tmp_path / layout, path=tmp_path / "without.zip")
    assert set(read_as_the_server(tmp_path / "without.zip")) == {"MNLI-m.tsv", "MNLI-mm.tsv"}
    assert "AX.tsv" in without.missing
    (tmp_path / layout / "diagnostic").mkdir()
    lines = ["index\tsentence1\tsentence2", "0\tthe cat ate\tthe dog ate"]
    (tmp_path / layout / "diagnostic" / "diagnostic.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    submit(switcher, ["mnli"], data=tmp_path / layout, path=tmp_path / "with.zip")
    answers = read_as_the_server(tmp_path / "with.zip")
    assert {name: len(rows) for name, rows in answers.items()} == {"MNLI-m.tsv": 3, "MNLI-mm.tsv": 3, "AX.tsv": 1}


def test_diagnostic_rows_that_are_broken_are_not_taken_for_missing(
    make: Make, switcher: Switcher, tmp_path: Path
) -> None:
    make("mnli")
    write_mnli(tmp_path / "glue", "official")
    (tmp_path / "glue" / "diagnostic").mkdir()
    (tmp_path / "glue" / "diagnostic" / "diagnostic.tsv").write_text("index\tsentence1\tsentence2\n0\tone\n")
    with pytest.raises(DataError, match="line 2"):
        submit(switcher, ["mnli"], data=tmp_path / "glue", path=tmp_path / "glue.zip")
    assert not (tmp_path / "glue.zip").exists()


def refused(
    kind: type[PointsmanError], said: str, attempt: Callable[[Callable[[int, int], None]], object]
) -> PointsmanError:
    """Check that it is refused before a single row is predicted, and return the error."""

    def report(done: int, total: int) -> None:
        raise AssertionError(f"{done} of {total} rows were predicted")

    with pytest.raises(kind, match=said) as caught:
        attempt(report)
    return caught.value


def test_data_that_lack_a_task_are_refused_at_once(all_tasks: list[str], switcher: Switcher, tmp_path: Path) -> None:
    write_sst2(tmp_path / "glue", 3)
    write_mnli(tmp_path / "glue", "hub", ("test_matched",))
    refs = ["sst2", "rte", "mnli", "cola"]
    target = tmp_path / "glue.zip"
    for said in (
        "glue lacks test rows.*cola/test-00000-of-00001.parquet or CoLA/test.tsv.*mnli/test_mismatched",
        "RTE/test.tsv",
        "leave out the versions of cola, mnli, rte$",
    ):
        refused(
            DataError, said, lambda report: submit(switcher, refs, data=tmp_path / "glue", path=target, report=report)
        )
    refused(
        DataError, "nowhere does not exist", lambda r: submit(switcher, refs, data=tmp_path / "nowhere", path=target)
    )
    error = refused(
        DataError, "hub.*cannot be reached.* as data", lambda r: submit(switcher, ["mnli"], path=target, report=r)
    )
    assert error.advice == Advice(Action.SET_ARGUMENTS, {"data": None})
    assert {path.name for path in tmp_path.iterdir()} == {"home", "glue"}


def test_versions_that_make_no_submission(
    make_version: MakeVersion, registry: Registry, switcher: Switcher, other_base: Path, tmp_path: Path
) -> None:
    make_version("sst2")
    make_version("films", seed=1)
    make_version("elsewhere", GLUE["rte"], base=other_base)
    make_version("reviews", custom_task("reviews", text=["text"], label="label", labels=("bad", "good")))
    turned = {**GLUE["rte"].to_dict(), "labels": ["not_entailment", "entailment"]}
    make_version("turned", type(GLUE["rte"]).from_dict(turned))
    target = tmp_path / "glue.zip"
    for refs, kind, said in [
        (["sst2", "films"], SettingsError, "sst2@1 and films@1 are two versions of sst2"),
        (["sst2", "sst2@1"], SettingsError, "are two versions of sst2"),
        (["reviews"], SettingsError, f"reviews@1 was trained on 'reviews'.*{', '.join(sorted(TASKS)[:1])}.*wnli"),
        (["turned"], SettingsError, "not a GLUE task"),
        (["sst2", "elsewhere"], BaseMismatchError, "elsewhere@1 was trained on the base '.*other-bert'"),
        ([], SettingsError, "one version of each task"),
        ("sst2", SettingsError, "list"),
    ]:
        refused(kind, said, lambda r, refs=refs: submit(switcher, refs, data="sample", path=target, report=r))
    assert not target.exists()


def test_a_path_that_cannot_be_written(make: Make, switcher: Switcher, tmp_path: Path) -> None:
    make("sst2")
    there, folder = tmp_path / "there.zip", tmp_path / "folder.zip"
    there.write_bytes(b"somebody's")
    folder.mkdir()
    for path, kind, said in [
        (there, ConflictError, "there.zip exists"),
        (folder, ConflictError, "folder.zip exists"),
        (tmp_path / "no" / "glue.zip", SettingsError, "no does not exist; create it first"),
        (tmp_path / "glue.tar", SettingsError, "with the suffix .zip"),
    ]:
        refused(kind, said, lambda r, path=path: submit(switcher, ["sst2"], data="sample", path=path, report=r))
    refused(
        ConflictError, "exists", lambda r: submit(switcher, ["sst2"], data="sample", path=folder, force=True, report=r)
    )
    assert there.read_bytes() == b"somebody's"
    submit(switcher, ["sst2"], data="sample", path=there, force=True)
    assert len(read_as_the_server(there)["SST-2.tsv"]) == 200
    assert {path.name for path in tmp_path.iterdir()} == {"home", "there.zip", "folder.zip"}


def test_a_file_that_came_in_between_is_kept(make: Make, switcher: Switcher, tmp_path: Path) -> None:
    make("sst2")
    target = tmp_path / "glue.zip"
    with pytest.raises(ConflictError, match="exists"):
        submit(
            switcher, ["sst2"], data="sample", path=target, report=lambda *_: target.write_text("somebody's") and None
        )
    assert target.read_text() == "somebody's"


def test_answers_that_are_no_numbers_are_not_submitted(make: Make, switcher: Switcher, tmp_path: Path) -> None:
    for name in ("sst2", "stsb"):
        make(name, factor=float("nan"))
        with pytest.raises(WeightsError, match=f"the outputs of {name}@1 are NaN"):
            submit(switcher, [name], data="sample", path=tmp_path / "glue.zip")
    assert not (tmp_path / "glue.zip").exists()


@real
@pytest.mark.parametrize(
    ("name", "folder", "column"),
    [("cola", "CoLA", 1), ("mrpc", "MRPC", 0), ("rte", "RTE", 3), ("sst2", "SST-2", 1), ("wnli", "WNLI", 3)],
)
def test_classes_are_spelt_as_in_the_published_files(name: str, folder: str, column: int) -> None:
    """The hub's ids, spelt as a submission spells them, are the labels of the official files, row by row."""
    lines = (REAL / "official" / folder / "dev.tsv").read_bytes().decode("utf-8-sig").removesuffix("\n").split("\n")
    published = [line.removesuffix("\r").split("\t")[column] for line in lines[name != "cola" :]]
    (file,) = (file for file in FILES if file.task == name)
    labels = load_task_data(name, REAL / "hub", splits=["validation"]).splits["validation"].labels()
    assert len(labels) > 70
    assert [file.spelling[GLUE[name].labels[label]] for label in labels] == published


@real
@pytest.mark.slow
def test_both_layouts_of_the_real_files_make_the_same_zip(
    all_tasks: list[str], switcher: Switcher, tmp_path: Path
) -> None:
    """Of every task whose files are here, but rte, whose rows are many and long; of mnli, which is not, three rows."""
    here = ["cola", "mrpc", "sst2", "stsb", "wnli"]
    for layout in ("hub", "official"):
        write_mnli(tmp_path / layout, layout)
        for folder in (REAL / layout).iterdir():
            (tmp_path / layout / folder.name).symlink_to(folder)
        made = submit(switcher, [*here, "mnli"], data=tmp_path / layout, path=tmp_path / f"{layout}.zip")
        assert {file.name for file in made.misfits} == {"MNLI-m.tsv", "MNLI-mm.tsv"}
        assert made.missing == ("QNLI.tsv", "QQP.tsv", "RTE.tsv")
    assert (tmp_path / "hub.zip").read_bytes() == (tmp_path / "official.zip").read_bytes()
    answers = read_as_the_server(tmp_path / "hub.zip")
    assert {name: len(rows) for name, rows in answers.items() if "MNLI" not in name} == {
        name: ASKED[name][0] for name in ("AX.tsv", "CoLA.tsv", "MRPC.tsv", "SST-2.tsv", "STS-B.tsv", "WNLI.tsv")
    }  # fmt: skip
    assert all(len(set(rows)) > 1 for name, rows in answers.items() if "MNLI" not in name)
