"""registry predict: texts as arguments and as lines, in every form that pairs can have."""

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry
from pointsman.sdk import Switcher

PAIRS = [("the dog ate", "the cat ate"), ("profit rose", "profit fell")]


def test_texts_as_arguments(run: Any, trained: Path) -> None:
    result = run("predict", "sst2@1", "a good film", "two dull hours", home=trained)
    assert result.err == ""
    rows = [line.split("\t") for line in result.lines]
    assert [row[2] for row in rows] == ["a good film", "two dull hours"]
    assert all(row[0] in ("negative", "positive") and 0.5 <= float(row[1]) <= 1 for row in rows)


def test_json_is_one_array(run: Any, trained: Path) -> None:
    answers = run("predict", "sst2@1", "a good film", "two dull hours", "--json", home=trained).json
    assert [answer["text"] for answer in answers] == [["a good film"], ["two dull hours"]]
    for answer in answers:
        assert answer["score"] == max(answer["probabilities"].values()) == answer["probabilities"][answer["label"]]
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
    plain = run("predict", "sst2@1", "a good film", "two dull hours", home=trained).lines
    assert [line.split("\t")[:2] for line in plain] == [[a["label"], f"{a['score']:.4f}"] for a in answers]


def test_lines_on_standard_input(run: Any, trained: Path) -> None:
    """Whatever ends the lines, and also where the last has no end; an empty line is a text as well."""
    expected = run("predict", "sst2", "a good film", "", "no", home=trained).out
    assert run("predict", "sst2", stdin="a good film\n\nno\n", home=trained).out == expected
    assert run("predict", "sst2", stdin="a good film\r\n\r\nno", home=trained).out == expected


def test_nothing_to_predict(run: Any, trained: Path) -> None:
    result = run("predict", "sst2", home=trained)
    assert (result.code, result.out) == (0, "")
    assert run("predict", "sst2", "--json", home=trained).json == []


def test_pairs_in_every_form(run: Any, trained: Path) -> None:
    expected = run("predict", "mrpc", *(text for pair in PAIRS for text in pair), home=trained)
    assert expected.code == 0
    assert [tuple(line.split("\t")[2:]) for line in expected.lines] == PAIRS
    forms = [
        "\n".join("\t".join(pair) for pair in PAIRS),
        "\n".join(json.dumps(pair) for pair in PAIRS),
        "\n".join(json.dumps({"sentence2": second, "idx": 1, "sentence1": first}) for first, second in PAIRS),
        "\t".join(PAIRS[0]) + "\n  " + json.dumps(PAIRS[1]),
    ]
    for lines in forms:
        assert run("predict", "mrpc", stdin=lines + "\n", home=trained).out == expected.out
    assert [answer["text"] for answer in run("predict", "mrpc", "--json", stdin=forms[0], home=trained).json] == [
        list(pair) for pair in PAIRS
    ]


def test_a_text_may_begin_with_a_bracket(run: Any, trained: Path) -> None:
    (line,) = run("predict", "mrpc", stdin="[1] the dog\t{2} the cat\n", home=trained).lines
    assert line.split("\t")[2:] == ["[1] the dog", "{2} the cat"]


@pytest.mark.parametrize(
    "line",
    [
        "no tab",
        "two\ttabs\there",
        "",
        '["one"]',
        '["one", 2]',
        '["one", "two", "three"]',
        '{"sentence1": "one"}',
        '{"sentence1": "one", "sentence2": null}',
    ],
)
def test_a_line_that_is_no_pair(line: str, run: Any, trained: Path) -> None:
    result = run("predict", "mrpc", stdin=f"a\tb\nc\td\n{line}\ne\tf\n", home=trained)
    result.refused("line 3", "sentence1, sentence2")


def test_half_a_pair_of_arguments(run: Any, trained: Path) -> None:
    run("predict", "mrpc", "one", "two", "three", home=trained).refused("two texts for each; found 3 texts", code=2)


def test_a_regression_prints_the_score(run: Any, trained: Path) -> None:
    (line,) = run("predict", "stsb", *PAIRS[0], home=trained).lines
    score, *texts = line.split("\t")
    assert tuple(texts) == PAIRS[0]
    (answer,) = run("predict", "stsb", *PAIRS[0], "--json", home=trained).json
    assert (answer["label"], answer["probabilities"]) == (None, None)
    assert score == f"{answer['score']:.4f}"


HOSTILE = "\x1b]0;owned\x07 \x1b[2J \x9b31m \u202egnp.exe \x7f é 漢 \u200b"


def test_hostile_text_is_printed_harmless(run: Any, trained: Path) -> None:
    result = run("predict", "sst2", HOSTILE, home=trained)
    assert result.code == 0
    assert result.out.replace("\t", "").replace("\n", "").isprintable()
    assert "\\x1b]0;owned\\x07" in result.out
    assert "é 漢" in result.out
    answers = run("predict", "sst2", HOSTILE, "--json", home=trained)
    assert answers.json[0]["text"] == [HOSTILE]
    assert answers.out.replace("\n", "").isprintable()


def test_a_text_with_line_breaks_and_tabs_stays_on_its_line(run: Any, trained: Path) -> None:
    result = run("predict", "sst2", "one\ntwo\tthree", home=trained)
    (line,) = result.lines
    assert line.split("\t")[2] == "one\\ntwo\\tthree"
    (line,) = run("predict", "mrpc", stdin=json.dumps(["one\ntwo", "three"]) + "\n", home=trained).lines
    assert line.split("\t")[2:] == ["one\\ntwo", "three"]


@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_bytes_that_are_no_text(flag: list[str], run: Any, trained: Path) -> None:
    run("predict", "sst2", *flag, stdin=b"a good film\na \xff film\n", home=trained).refused("line 2", "not UTF-8")
    run("predict", "mrpc", *flag, stdin='["\\ud800", "b"]\n', home=trained).refused("line 1", "Unicode")
    run("predict", "sst2", *flag, "a film", "a \udcff film", home=trained).refused("text 2", "Unicode")


def test_a_text_of_a_hundred_thousand_characters(run: Any, trained: Path) -> None:
    long = "x" * 100_000
    (answer,) = run("predict", "sst2", long, "--json", home=trained).json
    assert answer["text"] == [long]


def test_bf16(run: Any, trained: Path) -> None:
    exact, fast = (
        run("predict", "sst2@1", "a good film", "--json", "--precision", precision, home=trained).json[0]["score"]
        for precision in ("fp32", "bf16")
    )
    assert fast == pytest.approx(exact, abs=0.02)


def test_lower_layers_without_adapters(run: Any, trained: Path, tiny_base: Path) -> None:
    texts = ["a good film", "two dull hours"]
    with Registry(trained) as registry, Switcher(str(tiny_base), registry=registry) as switcher:
        expected = [switcher.predict("sst2@1", texts, drop_layers=dropped) for dropped in range(3)]
    assert len({answers[0].score for answers in expected}) == 3
    for dropped, answers in enumerate(expected):
        found = run("predict", "sst2@1", *texts, "--json", "--drop-layers", dropped, home=trained).json
        assert [answer["score"] for answer in found] == pytest.approx([answer.score for answer in answers])
    run("predict", "sst2@1", *texts, "--drop-layers", 3, home=trained).refused("drop_layers", "from 0 to 2", "found 3")
    for wrong in ("-1", "0-2"):
        run("predict", "sst2@1", *texts, "--drop-layers", wrong, home=trained).refused(wrong, code=2)


def test_the_base_has_to_be_the_right_one(
    run: Any, trained: Path, tiny_base: Path, other_base: Path, tmp_path: Path
) -> None:
    run("predict", "sst2", "a film", "--base", other_base, home=trained).refused("trained on the base")
    run("predict", "sst2", "a film", "--base", tmp_path, home=trained).refused(str(tmp_path))
    shutil.copytree(tiny_base, tmp_path / "moved")
    expected = run("predict", "sst2", "a film", home=trained)
    assert run("predict", "sst2", "a film", "--base", tmp_path / "moved", home=trained).out == expected.out


def test_a_device_that_is_not_there(run: Any, trained: Path) -> None:
    run("predict", "sst2", "a film", "--device", "nonsense", home=trained).refused("nonsense", "cpu")


MEASURED = """
import re, sys
from pointsman.cli.main import main

for path in sys.argv[1:]:
    sys.argv = ["registry", "predict", "sst2"]
    sys.stdin = open(path, encoding="utf-8")
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 0, ended.code
    status = open("/proc/self/status").read()
    print(re.search(r"VmHWM:\\s+([0-9]+) kB", status)[1], file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process' memory is read from /proc")
def test_memory_does_not_grow_with_the_lines(trained: Path, tmp_path: Path) -> None:
    """6,000 lines after 2,000, in one process: its peak of memory grows by no more than a part of what they take."""
    for name, lines in (("few", 2_000), ("many", 6_000)):
        (tmp_path / name).write_text("".join(f"{number} {'x' * 3_000}\n" for number in range(lines)), encoding="utf-8")
    with (tmp_path / "out").open("w") as out:
        result = subprocess.run(
            [sys.executable, "-c", MEASURED, tmp_path / "few", tmp_path / "many"],
            env={**os.environ, "POINTSMAN_HOME": str(trained)},
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    with (tmp_path / "out").open() as out:
        assert sum(1 for _ in out) == 8_000
    few, many = (int(line) * 1024 for line in result.stderr.split())
    assert many - few < (tmp_path / "many").stat().st_size / 2


def test_a_reader_that_has_seen_enough(start: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    """As with '| head -1'."""
    (tmp_path / "lines.txt").write_text("a good film\n" * 20_000, encoding="utf-8")
    with (tmp_path / "lines.txt").open() as lines:
        process = start("--home", trained, "predict", "sst2", stdin=lines)
    assert process.stdout.readline().endswith("a good film\n")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 1


def test_json_lines_keep_line_breaks(run: Any, trained: Path) -> None:
    """Each a text, a list or an object; blank lines at the end are none."""
    texts = ["one\ntwo", "a\u2028b", "[1] c", "\r"]
    expected = run("predict", "sst2", *texts, "--json", home=trained).json
    lines = [
        json.dumps(texts[0]),
        f'{{"idx": 3, "sentence": "{texts[1]}"}}',
        f'  ["{texts[2]}"]',
        json.dumps(texts[3]),
        "",
        "  ",
    ]
    found = run("predict", "sst2", "--jsonl", "--json", stdin="\n".join(lines), home=trained).json
    assert [answer["text"] for answer in found] == [[text] for text in texts] == [answer["text"] for answer in expected]
    assert [answer["score"] for answer in found] == pytest.approx([answer["score"] for answer in expected])
    (line,) = run("predict", "sst2", "--jsonl", stdin='"one\\ntwo"\n', home=trained).lines
    assert line.split("\t")[2] == "one\\ntwo"
    (answer,) = run("predict", "mrpc", "--jsonl", "--json", stdin='["a\\nb", "c"]', home=trained).json
    assert answer["text"] == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("ref", "line", "said"),
    [
        ("sst2", "a film", ["line 2 is not JSON", "one JSON value a line"]),
        ("sst2", "[" * 100_000, ["line 2 is nested too deeply"]),
        ("sst2", '["a", "b"]', ["line 2 is no row", "a string, a list of one, or an object with sentence"]),
        ("sst2", '{"text": "a"}', ["line 2 is no row", "an object with sentence", "found '{"]),
        ("sst2", '{"sentence": 1}', ["line 2 is no row"]),
        ("sst2", "3", ["line 2 is no row"]),
        ("sst2", '"\\ud800"', ["line 2", "Unicode"]),
        ("mrpc", "a\tb", ["line 2 is not JSON"]),
        ("mrpc", '"a"', ["line 2 is no row", "a list of 2 strings, or an object with sentence1, sentence2"]),
    ],
)
def test_a_line_of_json_that_is_no_row(ref: str, line: str, said: list[str], run: Any, trained: Path) -> None:
    first = '["a", "b"]' if ref == "mrpc" else '"a"'
    run("predict", ref, "--jsonl", stdin=f"{first}\n{line}\n", home=trained).refused(*said)


@pytest.mark.parametrize("flag", [[], ["--json"]])
@pytest.mark.parametrize(
    ("bad", "said"), [("a film", "line 3 is not JSON"), ("", "line 3 is blank"), ('"\\ud800"', "line 3 is not valid")]
)
def test_the_lines_before_a_bad_one_have_their_answers(
    bad: str, said: str, flag: list[str], run: Any, trained: Path
) -> None:
    """A number of answers that is smaller than that of the lines, and no answer to another line than its own."""
    expected = run("predict", "sst2", "a", "b", *flag, home=trained)
    found = run("predict", "sst2", "--jsonl", *flag, stdin=f'"a"\n"b"\n{bad}\n"c"\n', home=trained)
    found.refused(said)
    assert found.out == expected.out


def test_a_bad_line_of_a_split_batch_is_named(run: Any, trained: Path) -> None:
    split = "batchsplit(sst2@1: 2, sst2@2: 1)"
    run("predict", split, "--jsonl", stdin='"a"\n"b"\nc\n', home=trained).refused("line 3 is not JSON")
    run("predict", split, "--jsonl", stdin='"a"\n"b"\n', home=trained).refused("add up to 3")


@pytest.mark.parametrize("jsonl", [False, True])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8"])
def test_input_in_another_encoding(encoding: str, jsonl: bool, run: Any, trained: Path) -> None:
    lines = "".join(f'"{text}"\n' if jsonl else f"{text}\n" for text in ("café", "naïve"))
    flags = ["--jsonl"] if jsonl else []
    stdin = (b"\xef\xbb\xbf" if encoding == "utf-8" else b"") + lines.encode(encoding)
    result = run("predict", "sst2", *flags, "--encoding", encoding, stdin=stdin, home=trained)
    assert [line.split("\t")[2] for line in result.lines] == ["café", "naïve"]
    if encoding != "utf-8":
        refused = run("predict", "sst2", *flags, stdin=stdin, home=trained)
        refused.refused("line 1 is not UTF-8", "name its encoding, such as cp1252", "try: --encoding …")


def test_options_of_standard_input(run: Any, trained: Path) -> None:
    run("predict", "sst2", "--encoding", "klingon", stdin="a\n", home=trained).refused("encoding", "'klingon'")
    run("predict", "sst2", "a", "--jsonl", home=trained).refused("--jsonl is for standard input", code=2)
    run("predict", "sst2", "a", "--encoding", "utf-16", home=trained).refused("--encoding is for standard", code=2)
    run("predict", "sst2", "--encoding", "utf-16", stdin=b"\xff\xfea", home=trained).refused("line 1 is not UTF-16")


@pytest.mark.parametrize("text", ["-1 star", "-1", "- bad", "--- no ---", "-x"])
def test_a_text_that_begins_with_a_dash(text: str, run: Any, trained: Path) -> None:
    said = run("predict", "sst2", text, home=trained).refused("goes after '--'", code=2)
    command = shlex.split(said.rpartition("try: ")[2])
    assert command == ["registry", "--home", str(trained), "predict", "sst2", "--", text]
    assert run(*command[1:]).lines[0].endswith(f"\t{text}")


def test_a_mistyped_option_gets_no_such_hint(run: Any, trained: Path) -> None:
    assert "--'" not in run("predict", "sst2", "a", "--jsno", home=trained).refused("--json", code=2)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_letters_that_the_output_lacks_are_replaced(
    flag: list[str], encoding: str, run: Any, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In what is printed for people, and in JSON, which stays JSON."""
    text, written = "é 漢 \U0001f600", io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding))
    assert run("predict", "sst2", text, *flag, home=trained).code == 0
    printed = written.getvalue().decode(encoding)
    if flag:
        assert json.loads(printed)[0]["text"] == [text]
    else:
        replaced = text.encode(encoding, "backslashreplace").decode(encoding)
        assert printed.rstrip("\n").split("\t")[2] == replaced
