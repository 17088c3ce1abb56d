import csv
import io
import json
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.registry.errors import DataError, SettingsError
from pointsman.sdk.core.read_settings import ReadSettings
from pointsman.sdk.data import load_table_data

ROWS = [(f"Review number {index}, it said", ("poor", "fine", "great")[index % 3]) for index in range(30)]


def written(rows, *, header=("text", "label"), delimiter=",") -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows([header, *rows])
    return stream.getvalue()


def save(path: Path, rows, header=("text", "label")) -> Path:
    """Rows in a file of the kind that its name says."""
    if path.suffix == ".parquet":
        columns = zip(*rows, strict=True)
        pq.write_table(pa.table(dict(zip(header, map(list, columns), strict=True))), path)
    elif path.suffix in (".jsonl", ".ndjson"):
        lines = [json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) for row in rows]
        path.write_bytes("\n".join(lines).encode())
    else:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        path.write_bytes(written(rows, header=header, delimiter=delimiter).encode())
    return path


def load(path: Path, **options):
    return load_table_data("reviews", path, **{"text": ["text"], "label": "label", **options})


def all_rows(data) -> set[tuple[tuple[str, ...], float]]:
    return {
        (texts, label)
        for split in data.splits.values()
        for texts, label in zip(split.texts(), split.labels().tolist(), strict=True)
    }


KINDS = [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same(tmp_path, kind):
    rows = [('It\'s "late", he said\u2028so\tbe\nit', "fine"), *ROWS]
    # With a tab and a line break in a text, the lines of its row look like two rows.
    reading = ReadSettings(quoting="csv" if kind == ".tsv" else "auto")
    data = load(save(tmp_path / f"reviews{kind}", rows), reading=reading)
    assert data.source == f"reviews{kind}"
    assert data.task.labels == ("fine", "great", "poor")
    assert data.task.metrics == ("accuracy", "f1_macro", "matthews_correlation")
    ids = {"fine": 0, "great": 1, "poor": 2}
    assert all_rows(data) == {((text,), ids[label]) for text, label in rows}
    assert data.fingerprint == load(save(tmp_path / "again.jsonl", rows)).fingerprint


def test_two_columns_of_text_and_any_names(tmp_path):
    rows = [(index, f"first {index}", "x", f"second {index}") for index in range(10)]
    path = save(tmp_path / "pairs.csv", [(*row, str(row[0] % 2)) for row in rows], ("id", "b", "junk", "a", "dup"))
    data = load(path, text=["a", "b"], label="dup")
    assert data.task.text == ("a", "b")
    assert data.task.metrics == ("accuracy", "f1", "matthews_correlation")
    assert data.splits["train"].dataset.column_names == ["a", "b", "dup"]
    assert all_rows(data) == {((f"second {index}", f"first {index}"), index % 2) for index in range(10)}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["b", "a", "10"], ("10", "a", "b")),
        ([" b", "b ", "a"], ("a", "b")),
        (["1", "2", "x1.5"], ("1", "2", "x1.5")),
        (["1.5", "2", "3"], None),
        (["1e3", "2", "-.5"], None),
        (["1.0", "0.0", "1.0"], None),
    ],
)
def test_what_labels_of_csv_mean(tmp_path, labels, classes):
    rows = [(f"text {index}", labels[index % 3]) for index in range(12)]
    data = load(save(tmp_path / "reviews.csv", rows))
    assert data.task.is_regression == (classes is None)
    if classes:
        assert data.task.labels == classes
        meant = {((text,), classes.index(label.strip())) for text, label in rows}
    else:
        assert data.task.metrics == ("pearson", "spearmanr", "mae")
        assert data.splits["train"].labels().dtype == np.float32
        meant = {((text,), float(label)) for text, label in rows}
    assert all_rows(data) == meant


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([True, False], ("false", "true")),
        ([10, 9], ("9", "10")),
        (["10", "9"], ("10", "9")),
        ([1.0, 0.0], None),
        ([0.25, -3.5], None),
    ],
)
def test_what_typed_labels_mean(tmp_path, kind, labels, classes):
    rows = [(f"text {index}", labels[index % 2]) for index in range(12)]
    data = load(save(tmp_path / f"reviews{kind}", rows))
    assert data.task.labels == (classes or ())
    expected = {((text,), label if classes is None else classes.index(str(label).lower())) for text, label in rows}
    assert all_rows(data) == expected


def test_integers_among_the_floats_of_json_are_floats(tmp_path):
    data = load(
        save(tmp_path / "reviews.jsonl", [(f"text {index}", index / 2 if index % 3 else 1) for index in range(12)])
    )
    assert data.task.is_regression


def test_the_held_out_part_is_seeded_and_stratified(tmp_path):
    rows = [(f"text {index}", "rare" if index % 10 == 0 else "common") for index in range(200)]
    path = save(tmp_path / "reviews.csv", rows)
    data = load(path)
    train, validation = data.splits["train"], data.splits["validation"]
    assert (len(train), len(validation)) == (180, 20)
    assert not set(train.texts()) & set(validation.texts())
    assert (validation.labels() == 1).sum() == 2
    order = [(text,) for text, _ in rows]
    assert train.texts() == sorted(train.texts(), key=order.index)
    assert load(path).fingerprint == data.fingerprint
    assert load(path, split_seed=1).splits["validation"].texts() != validation.texts()
    assert len(load(path, held_out=0.25).splits["validation"]) == 50


@given(
    counts=st.lists(st.integers(2, 9), min_size=2, max_size=8).filter(lambda counts: sum(counts) >= 10),
    held_out=st.floats(0.01, 0.5),
)
@settings(max_examples=40, deadline=None)
def test_every_class_stays_in_training_and_no_row_is_lost(tmp_path_factory, counts, held_out):
    rows = [(f"text {name} {n}", f"class {name}") for name, count in enumerate(counts) for n in range(count)]
    data = load(save(tmp_path_factory.mktemp("own") / "reviews.csv", rows), held_out=held_out)
    train, validation = data.splits["train"], data.splits["validation"]
    assert set(train.labels()) == set(range(len(counts)))
    assert sorted(train.texts() + validation.texts()) == sorted((text,) for text, _ in rows)
    assert len(validation) >= min(len(counts), len(rows) // 2)


def test_a_validation_file_of_another_kind(tmp_path):
    path = save(tmp_path / "train.csv", [(f"text {index}", str(index % 3)) for index in range(12)])
    other = save(tmp_path / "dev.jsonl", [("a", 2), ("b", 0)])
    data = load(path, validation=other)
    assert data.source == "train.csv and dev.jsonl"
    assert len(data.splits["train"]) == 12
    assert data.splits["validation"].texts() == [("a",), ("b",)]
    assert data.splits["validation"].labels().tolist() == [2, 0]


def test_a_validation_file_of_scores_may_have_whole_ones(tmp_path):
    path = save(tmp_path / "train.csv", [(f"text {index}", str(index / 2)) for index in range(12)])
    data = load(path, validation=save(tmp_path / "dev.csv", [("a", "2"), ("b", "0")]))
    assert data.splits["validation"].labels().tolist() == [2.0, 0.0]
    with pytest.raises(DataError, match=r"dev\.csv, line 2: the label 'high' is no score"):
        load(path, validation=save(tmp_path / "dev.csv", [("a", "high")]))


def test_unseen_labels_of_a_validation_file_are_listed(tmp_path):
    path = save(tmp_path / "train.csv", ROWS)
    other = save(tmp_path / "dev.csv", [("a", "fine"), ("b", "awful"), ("c", "superb"), ("d", "awful")])
    with pytest.raises(DataError, match=r"dev\.csv, line 3: 'awful', 'superb': not among .*known: fine, great, poor"):
        load(path, validation=other)
    with pytest.raises(DataError, match=r"dev\.csv has no column 'text'; it has: body, label"):
        load(path, validation=save(tmp_path / "dev.csv", [("a", "fine")], ("body", "label")))


def test_a_class_of_one_row_needs_a_validation_file(tmp_path):
    path = save(tmp_path / "train.csv", [*ROWS, ("a slip", "graet")])
    with pytest.raises(DataError, match=r"train\.csv, line 32: 1 of 4 classes have a single row.*'graet'"):
        load(path)
    assert load(path, validation=save(tmp_path / "dev.csv", ROWS)).task.num_labels == 4


def test_a_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes(b"\xef\xbb\xbf" + written(ROWS).replace("\n", "\r\n").replace("\r\r", "\r").encode())
    assert load(path).fingerprint == load(save(tmp_path / "plain.csv", ROWS)).fingerprint
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + save(tmp_path / "x.jsonl", ROWS).read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert load(path).fingerprint == load(tmp_path / "plain.csv").fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_200_000_characters(tmp_path, kind):
    long = "very " * 40_000 + "long"
    data = load(save(tmp_path / f"reviews{kind}", [(long, "fine"), *ROWS]))
    assert any(texts == (long,) for split in data.splits.values() for texts in split.texts())


def test_the_limit_of_the_csv_module_is_as_it_was(tmp_path):
    path = save(tmp_path / "reviews.csv", [("very " * 40_000, "fine"), *ROWS])
    limit = csv.field_size_limit()
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: load(path).fingerprint, range(8)))) == 1
    assert csv.field_size_limit() == limit
    path.write_text('text,label\n"open')
    with pytest.raises(DataError, match="never closes"):
        load(path)
    assert csv.field_size_limit() == limit


TEXT = "text,label\n"
ENOUGH = "".join(f"text {index},{index % 2}\n" for index in range(12))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; give a header"),
        (TEXT, "has no rows"),
        ("body,label\n" + ENOUGH, "no column 'text'; it has: body, label"),
        ("text,stars\n" + ENOUGH, "no column 'label'; it has: text, stars"),
        ("text,label,text\n", "'text' more than once"),
        (TEXT + "a,1\nb,0\n", "2 rows; at least 10 are needed"),
        (TEXT + ENOUGH.replace(",1", ",0"), "every label is '0'; there is nothing to learn from one class"),
        (TEXT + ENOUGH + ",1\n", r"line 14: the text 'text' is empty"),
        (TEXT + ENOUGH + '"a\n\nb",1\n  ,1\n', r"line 17: the text 'text' is empty"),
        (TEXT + ENOUGH + "late,\n", r"line 14: the label 'label' is missing"),
        (TEXT + ENOUGH + "late, \n", r"line 14: the label 'label' is missing"),
        (TEXT + ENOUGH + "late,nan\n", r"line 14: the score nan is not a finite number"),
        (TEXT + ENOUGH + "late,inf\n", r"line 14: the score inf is not a finite number"),
        (TEXT + ENOUGH + "late,1e300\n", r"line 14: the score 1e\+300 is not a finite number"),
        (TEXT + ENOUGH + "one,two,1\n", r"line 14: 3 fields where the header has 2"),
        (TEXT + ENOUGH + "one\n", r"line 14: 1 field where the header has 2"),
        (TEXT + ENOUGH + '"open,1\n', r"line 14: a quote opens here and never closes; put texts"),
        (TEXT + ENOUGH + '"a"b,1\n', r"line 14: text follows the quote that closes a field; put"),
    ],
)
def test_a_bad_csv_is_refused(tmp_path, content, message):
    path = tmp_path / "reviews.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        load(path)


GOOD = [json.dumps({"text": f"text {index}", "label": index % 2}) for index in range(12)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"}', "line 13: no key 'label'; it has: text"),
        ('{"text": "a", "label": null}', "line 13: the label 'label' is missing"),
        ('{"text": "a", "label": NaN}', "line 13: the score nan is not a finite number"),
        ('{"text": "a", "label": "x"}', "line 13: the label 'x' is of another kind than the first, 0"),
        ('{"text": "a", "label": true}', "line 13: the label True is of another kind"),
        ('{"text": "a", "label": [1]}', "line 13: a label is a string or a number"),
        ('{"text": "a", "label": %s.5}' % ("1" * 400), "line 13: the score inf is not a finite"),
        ('{"text": null, "label": 1}', "line 13: the text 'text' is empty"),
        ('{"text": "\\n", "label": 1}', "line 13: the text 'text' is empty"),
        ('{"text": 7, "label": 1}', "line 13: the text 'text' must be a string; found 7"),
        ('{"text": "\\ud800", "label": 1}', "line 13: the text 'text' is not Unicode"),
        ('{"text": "a", "label": "\\ud800"}', r"line 13: the label '\\ud800' is not Unicode: surrogates not allowed"),
        ('{"text": "a", "label": "b\\u0000"}', r"line 13: the label 'b\\x00' has a NUL"),
        ('["a", 1]', "line 13: not a JSON object"),
        ('{"text": "a", "label": 1', "line 13: not JSON"),
        ("[" * 100_000, "line 13: nested too deeply"),
    ],
)
def test_a_bad_line_of_json_is_refused(tmp_path, line, message):
    path = tmp_path / "reviews.jsonl"
    path.write_text("\n".join([*GOOD, line]))
    with pytest.raises(DataError, match=message):
        load(path)


def test_a_bad_parquet_file_is_refused(tmp_path):
    path = tmp_path / "reviews.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="no parquet file that can be read"):
        load(path)
    save(path, ROWS, ("body", "label"))
    with pytest.raises(DataError, match="no column 'text'; it has: body, label"):
        load(path)
    save(path, [*((f"text {index}", index % 2) for index in range(12)), ("late", None)])
    with pytest.raises(DataError, match=r"reviews\.parquet, row 13: the label 'label' is missing"):
        load(path)


def test_bytes_that_are_not_utf8(tmp_path):
    for kind in (".csv", ".tsv", ".jsonl"):
        path = tmp_path / f"reviews{kind}"
        rows = b'{"text": "caf\xe9", "label": 1}\n' if kind == ".jsonl" else b"text,label\ncaf\xe9,1\n"
        path.write_bytes(rows.replace(b",", b"\t") if kind == ".tsv" else rows)
        with pytest.raises(DataError, match="not UTF-8"):
            load(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"does not exist; give a file that ends in \.csv, \.tsv, \.jsonl"):
        load(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="is a directory"):
        load(tmp_path)
    (tmp_path / "reviews.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"of the kind '\.xlsx'; give a file that ends in"):
        load(tmp_path / "reviews.xlsx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": 0}, "held_out must be above 0"),
        ({"held_out": 0.6}, "at most 0.5; found 0.6"),
        ({"text": ["text", "label"]}, "both text and label"),
        ({"text": ["a", "b", "c"]}, "one or two columns"),
        ({"text": []}, "one or two columns"),
        ({"text": "text"}, "found the string 'text'"),
        ({"text": ["text", "text"]}, "names something twice"),
    ],
)
def test_settings_that_make_no_task(tmp_path, options, message):
    with pytest.raises(SettingsError, match=message):
        load(save(tmp_path / "reviews.csv", ROWS), **options)


anything = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).filter(str.strip)


@given(texts=st.lists(anything, min_size=10, max_size=16), kind=st.sampled_from([".csv", ".tsv", ".jsonl"]))
@settings(deadline=None)
def test_any_text_survives(tmp_path_factory, texts, kind):
    rows = [(text, string.ascii_lowercase[index % 2]) for index, text in enumerate(texts)]
    path = save(tmp_path_factory.mktemp("own") / f"reviews{kind}", rows)
    data = load(path, validation=path, reading=ReadSettings(quoting="auto" if kind == ".jsonl" else "csv"))
    assert data.splits["validation"].texts() == [(text,) for text in texts]
    assert data.splits["train"].labels().tolist() == [index % 2 for index in range(len(texts))]


def test_a_long_list_of_columns_says_that_it_goes_on(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{n}" for n in range(25)) + "\n" + ",".join("x" * 25) + "\n")
    with pytest.raises(DataError, match=r"no column 'text'; it has: c0, .*, c19, and 5 more$"):
        load(path)
