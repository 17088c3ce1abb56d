"""Options of reading: how data files are read is said, recorded, and the same when a run is resumed or repeated."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry
from pointsman.sdk import Progress, ReadSettings, resume, train, train_like, tune

STEPS = ("--max-steps", "2", "--batch-size", "8", "--max-length", "16")
LINES = [f'"{word}" film {index};{index % 3}' for index, word in enumerate(["good", "dull", "no"] * 10)]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Semicolons, quotes that are text, CP1252, and a bad row."""
    path = tmp_path / "odd.csv"
    path.write_bytes("\n".join(["text;label", *LINES, "too short", "caf\xe9 film;1", ""]).encode("cp1252"))
    return path


OPTIONS = ("--delimiter", ";", "--quoting", "none", "--encoding", "cp1252", "--skip-bad-rows", "1")
READING = ReadSettings(delimiter=";", quoting="none", encoding="cp1252", skip_bad_rows=1)


def test_each_refusal_names_the_option_that_helps(run: Any, tiny_base: Path, odd: Path) -> None:
    """Until the file is read, and what was left out and guessed is printed."""
    call = ("train", "odd", "--base", tiny_base, "--data", odd, *STEPS)
    run(*call).refused("no column 'text'; it has: text;label", "try: --delimiter ';'")
    call = (*call, *OPTIONS[:2])
    run(*call).refused("line 2: text follows the quote that closes a field", "try: --quoting none")
    call = (*call, *OPTIONS[2:4])
    run(*call).refused("line 32: 1 field where the header has 2; 2 of 32 rows are bad", "try: --skip-bad-rows 2")
    call = (*call, *OPTIONS[4:])
    done = run(*call)
    assert done.code == 0, done.err
    assert f"left out: {odd}, line 32: 1 field where the header has 2\n" in done.err
    assert "odd.csv: 31 rows, 1 bad left out, quotes are text\nlabel: 3 classes from integers (0, 1, 2)" in done.err
    assert "odd.csv: 31 rows, 1 bad left out, quotes are text" in run("show", "odd").out
    again = run("train", "--like", "odd")
    assert "the weights are those of odd@1, bit for bit" in again.out
    other = run("train", "--like", "odd", "--kind", "score")
    assert "label: a score from integers\n" in other.err
    assert "1 bad left out, quotes are text\n" in other.err
    given = run("show", "odd", "--json").json["run"]["data"]["given"]
    assert given["reading"] == {**READING.to_dict(), "kind": "score"}


def test_a_run_is_resumed_and_repeated_with_its_own_reading(registry: Registry, tiny_base: Path, odd: Path) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    options: dict[str, Any] = {"base": str(tiny_base), "data": odd, "max_steps": 2, "batch_size": 8, "max_length": 16}
    with pytest.raises(KeyboardInterrupt):
        train("odd", registry=registry, report=interrupt, reading=READING, **options)
    version = resume(registry.runs()[0].uid, registry=registry)
    assert version.task["labels"] == ["0", "1", "2"]
    assert train_like(version.ref, registry=registry).digest == version.digest
    changed = train_like(version.ref, registry=registry, reading={"kind": "score"})
    assert changed.task["labels"] == []


def test_a_search_and_the_command_that_it_advises_read_alike(
    run: Any, registry: Registry, tiny_base: Path, odd: Path
) -> None:
    options = ("--base", tiny_base, "--data", odd, *OPTIONS)
    result = run("tune", "odd", "--trials", "1", "--space", "batch_size=8,4", "--max-steps", "2", *options, "--json")
    words = shlex.split(result.json["command"])
    for name, value in zip(OPTIONS[::2], OPTIONS[1::2], strict=True):
        assert words[words.index(name) + 1] == value
    assert run(*words[1:]).code == 0
    found = tune(
        "odd",
        base=str(tiny_base),
        data=odd,
        trials=1,
        space={"batch_size": "8,4"},
        registry=registry,
        reading=READING,
        max_steps=2,
    )
    assert found.best is not None


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--quoting", "some", "auto"),
        ("--kind", "number", "score"),
        ("--skip-bad-rows", "-1", "--skip-bad-rows"),
    ],
)
def test_values_that_no_option_takes(option: str, value: str, said: str, run: Any) -> None:
    run("train", "x", "--base", "x", "--data", "x.csv", option, value).refused(said, code=2)


def test_reading_is_for_files_of_ones_own(run: Any, tiny_base: Path, odd: Path) -> None:
    run("train", "sst2", "--base", tiny_base, "--data", "sample", "--quoting", "none").refused("files of your own")
    run("train", "odd", "--base", tiny_base, "--data", odd, "--encoding", "klingon").refused("utf-8", "'klingon'")
    run("train", "odd", "--base", tiny_base, "--data", odd, "--delimiter", "ab").refused("one character", "'ab'")


def test_no_progress_bar_in_a_file(run: Any, tiny_base: Path, odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever colours are asked for, a file gets lines."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    done = run("train", "odd", "--base", tiny_base, "--data", odd, *OPTIONS, *STEPS)
    assert done.code == 0, done.err
    assert "step 2/2" in done.err
    assert "\x1b" not in done.err
