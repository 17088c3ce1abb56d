"""Files as people have them: quotes that are text, other delimiters and encodings, bad rows, codes, named classes."""

import contextlib
import csv
import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pointsman.registry.errors import Action, Advice, DataError, SettingsError
from pointsman.sdk import GLUE
from pointsman.sdk.core.read_settings import ReadSettings
from pointsman.sdk.data import TaskData, load_table_data, load_table_rows
from pointsman.sdk.data.source import DataSource
from pointsman.sdk.data.table_files import read_table

REAL = Path(__file__).parents[4] / "shared" / "glue" / "official"

LINES = [f"text {index}\t{index % 2}" for index in range(12)]
QUOTED = ['" I see , " he said .\t1', 'the " witness "\t0', '"Stop" he said\t1', 'he said : " no "\t0', '"\t1']


def save(path: Path, lines: list[str], header: str = "text\tlabel", encoding: str = "utf-8") -> Path:
    path.write_bytes("".join(f"{line}\n" for line in [header, *lines]).encode(encoding))
    return path


def load(path: Path, validation: Path | None = None, **reading: Any) -> TaskData:
    found = load_table_data(
        "own", path, text=["text"], label="label", validation=validation, reading=ReadSettings(**reading)
    )
    assert isinstance(found, TaskData)
    return found


def rows(data: TaskData) -> list[tuple[str, Any]]:
    return sorted(
        (text, label)
        for split in data.splits.values()
        for (text,), label in zip(split.texts(), split.labels().tolist(), strict=True)
    )


def labels(path: Path, values: list[str], **reading: Any) -> TaskData:
    return load(save(path, [f"text {index}\t{value}" for index, value in enumerate(values)]), **reading)


# Quotes


def test_quotes_that_are_text_stay_text_and_no_row_vanishes(tmp_path: Path) -> None:
    data = load(save(tmp_path / "own.tsv", [*LINES, *QUOTED]))
    assert rows(data) == sorted((line.split("\t")[0], int(line[-1])) for line in [*LINES, *QUOTED])
    assert data.notes == ("own.tsv: 17 rows, quotes are text", "label: 2 classes from integers (0, 1)")


def test_quotes_that_enclose_are_taken_off_in_a_tsv_too(tmp_path: Path) -> None:
    lines = [*LINES, '"a\ttab"\t1', '"he said ""no"""\t0', '"two\nlines"\t1', '"all"\t0']
    data = load(save(tmp_path / "own.tsv", lines))
    assert {text for text, _ in rows(data)} >= {"a\ttab", 'he said "no"', "two\nlines", "all"}
    assert data.notes[0] == "own.tsv: 16 rows, quotes enclose fields"


@pytest.mark.parametrize(("kind", "mark"), [(".tsv", "\t"), (".csv", ",")])
def test_quotes_that_would_merge_rows_are_refused(tmp_path: Path, kind: str, mark: str) -> None:
    """Line 14 begins with a quote, line 17 has the next one: as CSV, four rows are one, with labels inside its text."""
    lines = [
        line.replace("\t", mark) for line in [*LINES, '"a film\t1', "dull\t0", "good\t1", 'the end"\t0', "fine\t1"]
    ]
    path = save(tmp_path / f"own{kind}", lines, f"text{mark}label")
    with pytest.raises(
        DataError, match=r"line 14: the quote that opens here closes in line 17, and .* look like rows"
    ) as e:
        load(path)
    assert e.value.advice == Advice(Action.SET_ARGUMENTS, {"quoting": "none"})
    assert len(rows(load(path, quoting="none"))) == 17
    (merged,) = [text for text, _ in rows(load(path, quoting="csv")) if "\n" in text]
    assert merged.count("\n") == 3


def test_a_text_of_several_lines_is_one_text(tmp_path: Path) -> None:
    """Prose with commas and line breaks looks like no rows, since nothing in it stands where the labels are."""
    lines = [f"text {index},{('good', 'bad')[index % 2]}" for index in range(12)]
    prose = '"Well, it was long,\nvery long, indeed\n\nand good, too",bad'
    data = load(save(tmp_path / "own.csv", [*lines, prose], "text,label"))
    assert "Well, it was long,\nvery long, indeed\n\nand good, too" in dict(rows(data))
    assert len(rows(data)) == 13


def test_a_quote_that_never_closes_is_refused_or_text(tmp_path: Path) -> None:
    lines = [*LINES, '"open\t1', "after\t0"]
    assert '"open' in dict(rows(load(save(tmp_path / "own.tsv", lines))))
    comma = save(tmp_path / "own.csv", [line.replace("\t", ",") for line in lines], "text,label")
    with pytest.raises(DataError, match=r"line 14: a quote opens here and never closes.*quoting none") as error:
        load(comma)
    assert error.value.advice == Advice(Action.SET_ARGUMENTS, {"quoting": "none"})
    assert len(rows(load(comma, quoting="none"))) == 14


def test_only_the_line_of_a_stray_quote_is_left_out(tmp_path: Path) -> None:
    data = load(
        save(tmp_path / "own.tsv", [*LINES, '"open\t1', "after\t0", '"a" b\t1', "last\t0"]), **CSV, skip_bad_rows=2
    )
    assert [text for text, _ in rows(data)][:2] == ["after", "last"]
    assert [row.partition(", ")[2] for row in data.skipped] == [
        "line 14: a quote opens here and never closes; put texts with quotes or line breaks in quotes",
        "line 16: text follows the quote that closes a field; put texts with quotes or line breaks in quotes",
    ] or [row.partition(", ")[2].split(":")[0] for row in data.skipped] == ["line 14", "line 16"]


CSV = {"quoting": "csv"}


def test_a_validation_file_has_the_quotes_of_the_training_file(tmp_path: Path) -> None:
    train = save(tmp_path / "own.tsv", [*LINES, *QUOTED])
    other = save(tmp_path / "dev.tsv", ['"all of it"\t1', "none\t0"])
    assert load(train, other).splits["validation"].texts() == [('"all of it"',), ("none",)]
    assert load(save(tmp_path / "plain.tsv", LINES), other).splits["validation"].texts()[0] == ("all of it",)


@pytest.mark.skipif(not REAL.is_dir(), reason="no GLUE data")
@pytest.mark.parametrize(
    ("folder", "text", "label", "classes"),
    [
        ("MRPC", ["#1 String", "#2 String"], "Quality", ("0", "1")),
        ("RTE", ["sentence1", "sentence2"], "label", ("entailment", "not_entailment")),
        ("STS-B", ["sentence1", "sentence2"], "score", ()),
        ("WNLI", ["sentence1", "sentence2"], "label", ("0", "1")),
    ],
)
def test_files_of_glue_as_tasks_of_ones_own(folder: str, text: list[str], label: str, classes: tuple[str, ...]) -> None:
    """Every line is a row, with the texts as GLUE's own reader has them."""
    train, dev = REAL / folder / "train.tsv", REAL / folder / "dev.tsv"
    data = load_table_data("own", train, text=text, label=label, validation=dev)
    assert data.task.labels == classes
    for name, path in (("train", train), ("validation", dev)):
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
        header = lines[0].split("\t")
        places = [header.index(column) for column in text]
        assert data.splits[name].texts() == [
            tuple(line.split("\t")[place] for place in places) for line in lines[1:] if line
        ]


def glue_like(columns: list[str], rows: list[dict[str, str]]) -> list[str]:
    return ["\t".join(row.get(column, "x") for column in columns) for row in rows]


def test_the_layouts_of_qqp_and_mnli(tmp_path: Path) -> None:
    """QQP has rows that are too short; MNLI's training and matched files have different columns."""
    qqp = ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
    pairs = [
        {"question1": f'Is "{n}" a number?', "question2": f'"{n}" is what', "is_duplicate": str(n % 2)}
        for n in range(40)
    ]
    path = save(tmp_path / "qqp.tsv", [*glue_like(qqp, pairs), "1\t2\t3\tcut off"], "\t".join(qqp))
    options: dict[str, Any] = {"text": ["question1", "question2"], "label": "is_duplicate"}
    with pytest.raises(DataError, match="line 42: 4 fields where the header has 6") as error:
        load_table_data("own", path, **options)
    assert error.value.advice == Advice(Action.SET_ARGUMENTS, {"skip_bad_rows": 1})
    data = load_table_data("own", path, **options, reading=ReadSettings(skip_bad_rows=1))
    assert sum(map(len, data.splits.values())) == 40
    mnli = ["index", "sentence1", "sentence2", "label1", "gold_label"]
    matched = [*mnli[:-1], "label2", "label3", "gold_label"]
    lines = [
        {"sentence1": f'" {n} " he said', "sentence2": f"it is {n}", "gold_label": GLUE["mnli"].labels[n % 3]}
        for n in range(30)
    ]
    train = save(tmp_path / "train.tsv", glue_like(mnli, lines), "\t".join(mnli))
    dev = save(tmp_path / "dev_matched.tsv", glue_like(matched, lines), "\t".join(matched))
    data = load_table_data("own", train, text=["sentence1", "sentence2"], label="gold_label", validation=dev)
    assert data.task.labels == tuple(sorted(GLUE["mnli"].labels))
    assert data.splits["train"].fingerprint == data.splits["validation"].fingerprint


# What is written is what is read

cells = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
bodies = cells.filter(str.strip)


def written(pairs: list[tuple[str, str]], delimiter: str, quoting: int, end: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows([("text", "label"), *pairs])
    return stream.getvalue()


@given(
    pairs=st.lists(st.tuples(bodies, st.sampled_from("ab")), min_size=1, max_size=12),
    delimiter=st.sampled_from([",", "\t", ";", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
)
@example(pairs=[("\t\n", "a"), ("x", "b")], delimiter="\t", quoting=csv.QUOTE_MINIMAL, end="\n")
@example(pairs=[("x\ta\ny", "a"), ("x", "b")], delimiter="\t", quoting=csv.QUOTE_MINIMAL, end="\n")
@example(pairs=[("x\ry", "a"), ("\r", "b"), ("x", "a")], delimiter=",", quoting=csv.QUOTE_MINIMAL, end="\n")
@example(pairs=[('"', "a"), ('"x', "b")], delimiter="\t", quoting=csv.QUOTE_MINIMAL, end="\n")
@settings(deadline=None, max_examples=150)
def test_what_csv_writes_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], delimiter: str, quoting: int, end: str
) -> None:
    """Also without being told that quotes enclose; or it is refused, never read otherwise."""
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(written(pairs, delimiter, quoting, end).encode())
    table = read_table(path, ["text", "label"], ReadSettings(quoting="csv", delimiter=delimiter), label="label")
    assert list(zip(table.columns["text"], table.columns["label"], strict=True)) == pairs
    assert table.bad == []
    try:
        guessed = read_table(path, ["text", "label"], ReadSettings(delimiter=delimiter), label="label")
    except DataError as error:
        assume("look like rows of their own" not in str(error))
        raise
    assert (guessed.columns, guessed.bad) == (table.columns, [])


@given(
    pairs=st.lists(
        st.tuples(bodies.filter(lambda text: not set("\t\r\n") & set(text)), st.sampled_from("ab")), min_size=1
    )
)
@settings(deadline=None, max_examples=60)
def test_lines_without_quoting_are_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    path = save(tmp_path_factory.getbasetemp() / "plain.tsv", ["\t".join(pair) for pair in pairs])
    table = read_table(path, ["text", "label"], ReadSettings(quoting="none"), label="label")
    assert list(zip(table.columns["text"], table.columns["label"], strict=True)) == pairs


quoted = st.lists(st.sampled_from(['"', '""', "a", " ", ",", "é"]), max_size=6).map("".join).filter(str.strip)


@given(pairs=st.lists(st.tuples(quoted, st.sampled_from("abc")), min_size=2, max_size=14))
@example(pairs=[('"a', "a"), ('b"', "b")])
@example(pairs=[('"a', "c"), ("x", "a"), ('b"', "b"), ("x", "a"), ("x", "b")])
@settings(deadline=None, max_examples=100)
def test_no_row_of_plain_lines_vanishes(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    """Whatever quotes are in them: every line is a row, or bad, or the file is refused; and a row has its own label."""
    path = save(tmp_path_factory.getbasetemp() / "quotes.tsv", ["\t".join(pair) for pair in pairs])
    try:
        table = read_table(path, ["text", "label"], label="label")
    except DataError as error:
        assume("quoting none" not in str(error))
        raise
    assert sorted([*table.places, *(place for place, _ in table.bad)]) == [2 + row for row in range(len(pairs))]
    assert table.columns["label"] == [pairs[place - 2][1] for place in table.places]


@given(
    objects=st.lists(st.fixed_dictionaries({"text": bodies, "label": st.sampled_from("ab")}), min_size=1),
    ascii_only=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
)
@settings(deadline=None, max_examples=60)
def test_what_json_writes_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, str]], ascii_only: bool, encoding: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    path.write_bytes("\n".join(json.dumps(one, ensure_ascii=ascii_only) for one in objects).encode(encoding))
    table = read_table(path, ["text", "label"], ReadSettings(encoding=encoding), label="label")
    assert table.columns == {"text": [one["text"] for one in objects], "label": [one["label"] for one in objects]}


SOUP = st.lists(st.sampled_from(['"', '""', "\n", "\r\n", "\r", "\t", ",", "a", "0", "\\", "{", "é"]), max_size=40)


@given(
    soup=SOUP,
    kind=st.sampled_from([".csv", ".tsv"]),
    quoting=st.sampled_from(["auto", "csv", "none"]),
)
@settings(deadline=None, max_examples=200)
def test_every_record_is_read_or_counted_as_bad(
    tmp_path_factory: pytest.TempPathFactory, soup: list[str], kind: str, quoting: str
) -> None:
    """No line belongs to two records or to none, blank lines outside of quotes aside."""
    mark = "\t" if kind == ".tsv" else ","
    path = tmp_path_factory.getbasetemp() / f"soup{kind}"
    path.write_bytes(f"text{mark}label\n{''.join(soup)}".encode())
    try:
        table = read_table(path, ["text", "label"], ReadSettings(quoting=quoting), label="label")
    except DataError as error:
        assume(not any(said in str(error) for said in ("no rows", "look like rows", "quoting none")))
        raise
    places = sorted([*table.places, *(place for place, _ in table.bad)])
    assert len(set(places)) == len(places)
    if quoting == "none":
        body = path.read_bytes().decode().split("\n")[1:]
        assert len(places) == sum(line.removesuffix("\r") != "" for line in body)
    elif '"' not in "".join(soup):
        assert len(places) == sum(line.removesuffix("\r") != "" for line in "".join(soup).split("\n"))


@given(content=st.binary(max_size=200), kind=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet", ".txt"]))
@example(content=b"\xff\xfet\x00", kind=".csv")
@example(content=b"text,label\n\x00,\x00\n", kind=".csv")
@example(content=b'{"text": 1, "label": 1e999}', kind=".jsonl")
@settings(deadline=None, max_examples=150)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"bytes{kind}"
    for head in (b"", b"text,label\n"):
        path.write_bytes(head + content)
        for reading in (ReadSettings(), ReadSettings(skip_bad_rows=99, encoding="utf-16", delimiter=",")):
            with contextlib.suppress(DataError, SettingsError):
                load_table_data("own", path, text=["text"], label="label", reading=reading)


# Delimiters and encodings


def test_the_header_tells_of_another_delimiter(tmp_path: Path) -> None:
    path = save(tmp_path / "own.csv", [line.replace("\t", ";") for line in LINES], "text;label")
    with pytest.raises(DataError, match="no column 'text'; it has: text;label") as error:
        load(path)
    assert error.value.advice == Advice(Action.SET_ARGUMENTS, {"delimiter": ";"})
    assert len(rows(load(path, delimiter=";"))) == 12
    tabs = save(tmp_path / "tabs.csv", LINES)
    with pytest.raises(DataError) as error:
        load(tabs)
    assert error.value.advice == Advice(Action.SET_ARGUMENTS, {"delimiter": "tab"})
    assert len(rows(load(tabs, delimiter="tab"))) == 12


def test_a_text_file_of_another_ending_needs_a_delimiter(tmp_path: Path) -> None:
    path = save(tmp_path / "own.txt", LINES)
    with pytest.raises(DataError, match=r"of the kind '\.txt'; give a file that ends in .*, or a delimiter"):
        load(path)
    assert len(rows(load(path, delimiter="\\t"))) == 12


def test_settings_that_no_file_takes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"text": f"t {n}", "label": n % 2}) + "\n" for n in range(12)))
    with pytest.raises(SettingsError, match=r"delimiter is for delimited files, as \.csv and \.tsv; found own\.jsonl"):
        load(path, delimiter=";")
    assert len(load(path, save(tmp_path / "dev.csv", ["a;1"], "text;label"), delimiter=";").splits["validation"]) == 1
    with pytest.raises(SettingsError, match=r"quoting is for delimited files, as \.csv and \.tsv; found own\.jsonl"):
        load(path, quoting="none")
    table = tmp_path / "own.parquet"
    pq.write_table(pa.table({"text": [f"t {n}" for n in range(12)], "label": [n % 2 for n in range(12)]}), table)
    for name, value in (("quoting", "csv"), ("delimiter", ";"), ("encoding", "cp1252")):
        with pytest.raises(SettingsError, match=rf"{name} is for .* files.*; found own\.parquet"):
            load(table, **{name: value})
        with pytest.raises(SettingsError, match=rf"{name} is for .* files.*; found own\.parquet"):
            load_table_rows(load(table).task, table, reading=ReadSettings(**{name: value}))
    assert len(load(table, path, encoding="cp1252").splits["validation"]) == 12
    with pytest.raises(SettingsError, match="read as those of 'own', which is trained: leave out kind; found 'score'"):
        load_table_rows(load(table).task, table, reading=ReadSettings(kind="score"))
    for source in ("sample", str(tmp_path)):
        with pytest.raises(SettingsError, match="for files of your own"):
            DataSource.of(source, None, (), "label", {"kind": "class"}).load("own" if source != "sample" else "sst2")


@pytest.mark.parametrize("kind", [".tsv", ".jsonl"])
def test_other_encodings(tmp_path: Path, kind: str) -> None:
    texts = [f"café {index}" for index in range(12)]
    lines = [
        json.dumps({"text": text, "label": index % 2}, ensure_ascii=False)
        if kind == ".jsonl"
        else f"{text}\t{index % 2}"
        for index, text in enumerate(texts)
    ]
    path = tmp_path / f"own{kind}"
    head = [] if kind == ".jsonl" else ["text\tlabel"]
    for encoding in ("cp1252", "utf-16", "utf-16-le", "gb18030"):
        path.write_bytes("\n".join([*head, *lines]).encode(encoding))
        assert [text for text, _ in rows(load(path, encoding=encoding))] == sorted(texts)
    path.write_bytes("\n".join([*head, *lines]).encode("utf-16"))
    with pytest.raises(DataError, match="it begins as UTF-16 does; name its encoding"):
        load(path)
    path.write_bytes("\n".join([*head, *lines]).encode("cp1252"))
    with pytest.raises(
        DataError, match=f"line {len(head) + 1}: not UTF-8; save the file as UTF-8, or name its encoding"
    ):
        load(path)


# Bad rows


def test_bad_rows_are_left_out_and_each_is_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = {
        14: b"one\n",
        15: b"a\tb\tc\n",
        16: b" \t1\n",
        17: b"late\t\n",
        18: b"caf\xe9\t1\n",
    }
    path = save(tmp_path / "own.tsv", LINES)
    path.write_bytes(path.read_bytes() + b"".join(bad.values()) + b"last\t1\n")
    with pytest.raises(DataError, match=r"line 14: 1 field where the header has 2; 5 of 18 rows are bad$") as error:
        load(path)
    assert error.value.advice is None  # so many that something else is wrong
    with pytest.raises(DataError, match=r"5 of 18 rows are bad, and skip_bad_rows is 4"):
        load(path, skip_bad_rows=4)
    with caplog.at_level(logging.INFO):
        data = DataSource.of(path, None, (), "label", {"skip_bad_rows": 5}).load("own")
    assert rows(data)[0] == ("last", 1)
    assert len(rows(data)) == 13
    assert [row.removeprefix(f"{path}, ") for row in data.skipped] == [
        "line 14: 1 field where the header has 2",
        "line 15: 3 fields where the header has 2",
        "line 16: the text 'text' is empty; fill it or remove the row",
        "line 17: the label 'label' is missing; fill it or remove the row",
        "line 18: not UTF-8; save the file as UTF-8, or name its encoding, such as cp1252 (of Windows) or latin-1",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        *(f"left out: {row}" for row in data.skipped),
        "own.tsv: 13 rows, 5 bad left out",
        "label: 2 classes from integers (0, 1)",
    ]


def test_bad_lines_of_json_are_left_out_too(tmp_path: Path) -> None:
    good = [json.dumps({"text": f"text {index}", "label": index % 2}) for index in range(12)]
    bad = ["{", "[1]", '{"text": "x"}', '{"text": "x", "label": "y"}', '{"text": "\\ud800", "label": 1}', "[" * 99_999]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join([*good, *bad]))
    data = load(path, skip_bad_rows=len(bad))
    assert [row.removeprefix(f"{path}, line ").partition(":")[0] for row in data.skipped] == [
        str(13 + index) for index in range(len(bad))
    ]
    assert len(rows(data)) == 12
    with pytest.raises(DataError, match="6 of 18 rows are bad, and skip_bad_rows is 5"):
        load(path, skip_bad_rows=5)


def test_where_few_rows_are_bad_leaving_them_out_is_advised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 14: 1 field where") as error:
        load(save(tmp_path / "own.tsv", [*LINES, "one"]))
    assert error.value.advice == Advice(Action.SET_ARGUMENTS, {"skip_bad_rows": 1})


# Labels


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["007", "010", "7"], ("7", "007", "010")),
        (["01", "1", "2"], ("1", "01", "2")),
        (["+1", "-1", "0"], ("-1", "0", "+1")),
        (["1_000", "2", "3"], ("1_000", "2", "3")),
        (["9" * 400, "1" + "0" * 400, "-3"], ("-3", "9" * 400, "1" + "0" * 400)),
    ],
)
def test_codes_stay_as_they_are_written(tmp_path: Path, values: list[str], classes: tuple[str, ...]) -> None:
    data = labels(tmp_path / "own.tsv", values * 4)
    assert data.task.labels == classes
    assert rows(data) == sorted((f"text {index}", classes.index(value)) for index, value in enumerate(values * 4))


def test_validation_labels_are_read_as_those_of_the_training(tmp_path: Path) -> None:
    train = save(tmp_path / "own.tsv", [f"text {index}\t{index % 3}" for index in range(12)])
    with pytest.raises(DataError, match="'01': not among the labels of the training data; known: 0, 1, 2"):
        load(train, save(tmp_path / "dev.tsv", ["a\t01", "b\t1"]))
    with pytest.raises(DataError, match=r"'1\.0', '0\.5': not among the labels"):
        load(train, save(tmp_path / "dev.tsv", ["a\t1.0", "b\t0.5"]))
    codes = save(tmp_path / "codes.tsv", [f"text {index}\t{('07', 'x')[index % 2]}" for index in range(12)])
    assert load(codes, save(tmp_path / "dev.tsv", ["a\t07"])).splits["validation"].labels().tolist() == [0]
    scores = save(tmp_path / "scores.tsv", [f"text {index}\t{index / 2}" for index in range(12)])
    assert load(scores, save(tmp_path / "dev.tsv", ["a\t007"])).splits["validation"].labels().tolist() == [7.0]


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        (["1", "2", "3"], None, "label: 3 classes from integers (1, 2, 3); if they are scores, say so (kind score)"),
        (["1", "2", "3"], "class", "label: 3 classes from integers (1, 2, 3)"),
        (["0", "1", "1"], None, "label: 2 classes from integers (0, 1)"),
        (["1", "2", "3"], "score", "label: a score from integers"),
        (["0.5", "1", "2"], None, "label: a score from decimal numbers"),
        (["0.5", "1", "1.0"], "class", "label: 3 classes from decimal numbers (0.5, 1, 1.0)"),
        (["c", "a", "b"], None, "label: 3 classes from text (a, b, c)"),
        (
            [f"w{index}" for index in range(12)],
            None,
            "label: 12 classes from text (w0, w1, w10, w11, w2, w3, w4, w5, …)",
        ),
    ],
)
def test_what_is_guessed_is_said_and_can_be_overridden(
    tmp_path: Path, values: list[str], kind: str | None, said: str
) -> None:
    data = labels(tmp_path / "own.tsv", values * 4, kind=kind)
    assert data.notes == (f"own.tsv: {4 * len(values)} rows", said)
    assert data.task.is_regression == ("a score" in said)


@pytest.mark.parametrize(
    ("values", "row"),
    [
        (["3,5", "2,0", "4"], 2),
        (["999", "1,234", "2,500"], 3),
        (["1,234.5", "999.5", "0.5"], 2),
        (["1.234,5", "999,5", "2"], 2),
        (["1.5", "1 234,5", "2"], 3),
        (["1.5", "1\u202f234", "2"], 3),
        (["1.5", "1'234", "2"], 3),
        (["1.5", "$5", "2"], 3),
        (["-1.5", "5 €", "-$2"], 3),
        (["1.5", "50 %", "2"], 3),
    ],
)
@pytest.mark.parametrize("kind", [None, "score"])
def test_numbers_in_another_writing_are_named(tmp_path: Path, values: list[str], row: int, kind: str | None) -> None:
    """As classes they would have no order; and what is wrong with one is said of all."""
    found = re.escape(ascii(values[row - 2]))
    with pytest.raises(DataError, match=f"line {row}: the label {found} .*write (it|a number) with a decimal point"):
        labels(tmp_path / "own.tsv", values * 4, kind=kind)
    assert len(labels(tmp_path / "own.tsv", values * 4, kind="class").task.labels) == 3
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"text": f"t {n}", "label": values[n % 3]}) + "\n" for n in range(12)))
    with pytest.raises(DataError, match=f"line {row - 1}: the label {found} "):
        load(path, kind=kind)


@pytest.mark.parametrize(
    "values", [["1.2.3", "1.2.4"], ["12:30", "3"], ["A1", "2,5"], ["2026-11-30", "1"], ["3-5", "1,2"]]
)
def test_classes_that_are_no_numbers(tmp_path: Path, values: list[str]) -> None:
    assert labels(tmp_path / "own.tsv", values * 6).task.labels == tuple(sorted(values))


def test_integers_of_which_each_is_alone_may_be_scores(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"or give a validation file; if they are scores, say so \(kind score\)$"):
        labels(tmp_path / "own.tsv", [str(n) for n in range(12)])
    for kind, values in ((None, "abcdefghijkl"), ("class", range(12))):
        with pytest.raises(DataError, match=r"or give a validation file$"):
            labels(tmp_path / "own.tsv", [str(n) for n in values], kind=kind)


def test_typed_labels_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    pq.write_table(pa.table({"text": [f"t {n}" for n in range(12)], "label": [n % 2 + 0.0 for n in range(12)]}), path)
    assert load(path).task.is_regression
    assert load(path, kind="class").task.labels == ("0", "1")
    text = tmp_path / "own.jsonl"
    text.write_text("".join(json.dumps({"text": f"t {n}", "label": str(n)}) + "\n" for n in range(12)))
    assert sorted(label for _, label in rows(load(text, kind="score"))) == [float(n) for n in range(12)]


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("9" * 5_000, None, "line 14: the label has 5,000 characters, and a class at most 1,000"),
        ("9" * 5_000, "score", "line 14: the label has 5,000 characters"),
        ("9" * 400, "score", "line 14: the score inf is not a finite number"),
        ("word " * 300, None, "line 14: the label has 1,499 characters"),
        ("high", "score", "line 14: the label 'high' is no score; write a number"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, value: str, kind: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(save(tmp_path / "own.tsv", [*LINES, f"last\t{value}"]), kind=kind)
    assert len(load(tmp_path / "own.tsv", kind=kind, skip_bad_rows=1).skipped) == 1


@pytest.mark.parametrize("digits", [400, 4_200, 5_000])
def test_huge_numbers_in_json(tmp_path: Path, digits: int) -> None:
    path = tmp_path / "own.jsonl"
    lines = [json.dumps({"text": f"t {n}", "label": n % 2}) for n in range(12)]
    path.write_text("\n".join([*lines, '{"text": "last", "label": %s}' % ("9" * digits)]))
    if digits == 400:
        assert "9" * 400 in load(path, save(tmp_path / "dev.tsv", ["a\t1"])).task.labels
    with pytest.raises(DataError, match="line 13: ") as error:
        load(path, kind="score")
    assert len(str(error.value)) < 400


def test_a_label_that_is_not_unicode_is_refused_before_the_training(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join('{"text": "t %d", "label": "\\ud80%d"}\n' % (n, n % 2) for n in range(12)))  # noqa: UP031
    with pytest.raises(DataError, match=r"line 1: the label .* is not Unicode"):
        load(path)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([10**9] * 12, pa.date32()),
        pa.array([2**62] * 12, pa.timestamp("us")),
        pa.array([0] * 12, pa.timestamp("us", tz="Mars/Phobos")),
        pa.array([2**62] * 12, pa.duration("s")),
        pa.array([[1]] * 12),
        pa.array([b"\xff"] * 12),
    ],
    ids=lambda column: str(column.type),
)
def test_types_that_are_no_labels_are_refused_before_they_are_read(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "own.parquet"
    pq.write_table(pa.table({"text": [f"t {n}" for n in range(12)], "label": column}), path)
    with pytest.raises(DataError, match=r"the column 'label' is of the type .*; a label is a string or a number"):
        load(path)
    pq.write_table(pa.table({"text": column, "label": [n % 2 for n in range(12)]}), path)
    with pytest.raises(DataError, match=r"the column 'text' is of the type .*; a text is a string"):
        load(path)


def test_parquet_of_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    text = pa.array([b"caf\xe9"] * 12, pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": text, "label": [n % 2 for n in range(12)]}), path)
    with pytest.raises(DataError, match="a text is not UTF-8"):
        load(path)


# Classes that a parquet file names


def named(path: Path, ids: list[int | None], names: list[str]) -> Path:
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    data = Dataset.from_dict({"text": [f"t {n}" for n in range(len(ids))], "label": ids}, features=features)
    data.to_parquet(path)
    return path


def test_the_names_of_a_parquet_file_are_the_classes(tmp_path: Path) -> None:
    data = load(named(tmp_path / "own.parquet", [2, 0, -1, 0, None, 2] * 4, ["no", "maybe", "yes"]))
    assert data.task.labels == ("no", "yes")  # in the order of their ids; nothing is learned of maybe
    assert data.notes == (
        "own.parquet: 16 rows, 8 without a label left out",
        "label: 2 classes from the names in the file (no, yes)",
    )
    assert [label for _, label in sorted(rows(data), key=lambda row: int(row[0][2:]))] == [1, 0, 0, 1] * 4
    assert data.skipped == ()


def test_named_classes_meet_those_of_another_file(tmp_path: Path) -> None:
    train = named(tmp_path / "own.parquet", [0, 1] * 6, ["no", "yes"])
    data = load(train, save(tmp_path / "dev.tsv", ["a\tyes", "b\tno"]))
    assert data.splits["validation"].labels().tolist() == [1, 0]
    swapped = load(train, named(tmp_path / "dev.parquet", [0, 1, -1], ["yes", "no"]))
    assert swapped.splits["validation"].labels().tolist() == [1, 0]
    with pytest.raises(DataError, match="'perhaps': not among the labels of the training data; known: no, yes"):
        load(train, named(tmp_path / "dev.parquet", [0], ["perhaps"]))


def test_ids_without_a_name(tmp_path: Path) -> None:
    path = named(tmp_path / "own.parquet", [0, 1] * 6, ["no", "yes"])
    table = pq.read_table(path)
    odd = table.set_column(1, "label", pa.array([0, 1] * 5 + [2, 0])).replace_schema_metadata(table.schema.metadata)
    pq.write_table(odd, path)
    with pytest.raises(DataError, match=r"row 11: the class id 2 has no name; the file names 2 classes, from 0"):
        load(path)
    assert len(load(path, skip_bad_rows=1).skipped) == 1
    with pytest.raises(DataError, match="has no row with text and label; 12 rows are marked as having no label"):
        load(named(path, [-1] * 12, ["no", "yes"]))
    assert load(named(path, [0, 1, 2] * 4, ["a", "b", "c"]), kind="score").task.is_regression


# The settings themselves


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quoting": "maybe"}, "quoting must be one of auto, csv, none; found 'maybe'"),
        ({"kind": "number"}, "kind must be one of class, score; found 'number'"),
        ({"skip_bad_rows": -1}, "skip_bad_rows must be a number of rows, at least 0; found -1"),
        ({"skip_bad_rows": True}, "skip_bad_rows must be a number of rows"),
        ({"delimiter": ""}, "delimiter must be one character"),
        ({"delimiter": "ab"}, "delimiter must be one character"),
        ({"delimiter": '"'}, "delimiter must be one character"),
        ({"delimiter": 3}, "delimiter must be one character"),
        ({"encoding": "klingon"}, "encoding must be one of text files, by Python's name, as utf-8, .*found 'klingon'"),
        *(
            ({"encoding": name}, f"encoding must be one of text files, .*found '{name}'")
            for name in ("idna", "punycode", "utf7", "unicode_escape", "raw-unicode-escape", "charmap", "undefined")
        ),
        ({"encoding": "hex"}, "encoding must be one of text"),
        ({"encoding": None}, "encoding must be one of text"),
        ({"quotes": "none"}, "unknown setting of reading 'quotes'; did you mean quoting"),
        ("none", "reading must be ReadSettings or a mapping"),
    ],
)
def test_settings_that_cannot_work(given: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ReadSettings.of(given)


def test_settings_are_kept_and_read_back() -> None:
    reading = ReadSettings(quoting="none", delimiter="tab", encoding="latin1", skip_bad_rows=3, kind="class")
    assert (reading.delimiter, reading.encoding) == ("\t", "iso8859-1")
    assert ReadSettings.from_dict(json.loads(json.dumps(reading.to_dict()))) == reading
    assert ReadSettings.from_dict({"quoting": "csv", "later": 1}) == ReadSettings(quoting="csv")
    assert ReadSettings.of({"kind": None}, reading) == ReadSettings.of({**reading.to_dict(), "kind": None})
    assert ReadSettings.of(None, reading) is reading


def test_rows_of_a_task_that_exists(tmp_path: Path) -> None:
    task = load(save(tmp_path / "own.tsv", LINES)).task
    split = load_table_rows(task, save(tmp_path / "more.tsv", ["a\t1", "b\t0"])).splits["rows"]
    assert (split.texts(), split.labels().tolist()) == ([("a",), ("b",)], [1, 0])
    with pytest.raises(DataError, match="'2': not among the labels"):
        load_table_rows(task, save(tmp_path / "more.tsv", ["a\t2"]))
