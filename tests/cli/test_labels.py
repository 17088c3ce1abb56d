"""registry alias, tag and note: what people say of versions."""

import threading
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("mine")


def aliases(run: Any) -> dict[str, int]:
    """The number that each alias of sst2 points to."""
    versions = run("list", "sst2", "--json").json
    return {alias: version["number"] for version in versions for alias in version["aliases"]}


def tags(run: Any, ref: str = "sst2@2") -> Any:
    return run("show", ref, "--json").json["tags"]


@pytest.mark.parametrize("ref", ["sst2@1", "sst2@best", "sst2@production", "sst2"])
def test_an_alias_stays_with_the_version_that_was_meant(ref: str, run: Any) -> None:
    number = run("show", ref, "--json").json["number"]
    result = run("alias", ref, "stable")
    assert (result.code, result.out, result.err) == (0, "", f"sst2@stable is sst2@{number}\n")
    run("alias", "sst2@3", "production")
    assert aliases(run)["stable"] == number


def test_an_alias_moves_only_if_currently(run: Any) -> None:
    message = run("alias", "sst2@1", "production", "--if-currently", 3).refused("sst2@2", "sst2@3", "not moved")
    assert "Usage" not in message
    assert run("alias", "sst2@1", "production", "--if-currently", 2).code == 0
    run("alias", "sst2@3", "production", "--if-currently", 2).refused("points to sst2@1")
    assert aliases(run)["production"] == 1


def test_an_alias_is_made_only_if_it_does_not_exist(run: Any) -> None:
    run("alias", "sst2@1", "production", "--if-currently", 0).refused("points to sst2@2")
    run("alias", "sst2@1", "canary", "--if-currently", 1).refused("does not exist")
    assert run("alias", "sst2@1", "canary", "--if-currently", 0).code == 0
    run("alias", "sst2@3", "canary", "--if-currently", 0).refused("points to sst2@1")
    assert aliases(run) == {"production": 2, "staging": 3, "canary": 1}


def test_of_several_moves_at_once_one_succeeds(run: Any, mine: Path, execute: Any) -> None:
    codes: list[int] = []

    def move(number: int) -> None:
        codes.append(execute("--home", mine, "alias", f"sst2@{number}", "production", "--if-currently", 2).code)

    threads = [threading.Thread(target=move, args=(number,)) for number in (1, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [0, 1]
    assert aliases(run)["production"] in (1, 3)


def test_an_alias_is_removed(run: Any) -> None:
    result = run("alias", "sst2@production", "--remove", "--if-currently", 2)
    assert (result.code, result.out, result.err) == (0, "", "alias sst2@production removed\n")
    assert aliases(run) == {"staging": 3}
    assert run("show", "sst2@2").code == 0
    run("alias", "sst2@production", "--remove").refused("known: sst2@staging")
    run("show", "sst2@production").refused("production")


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([], "REF", 2),
        (["sst2@1"], "name the alias", 2),
        (["sst2@1", "a", "b"], "b", 2),
        (["sst2@1", "a", "--if-currently", "-1"], "--if-currently", 2),
        (["sst2@1", "a", "--if-currently", "sst2@1"], "--if-currently", 2),
        (["sst2", "--remove"], "sst2@production", 2),
        (["sst2@production", "production", "--remove"], "one argument", 2),
        (["sst2@production", "--remove", "--if-currently", "1"], "points to sst2@2, expected was sst2@1", 1),
        (["sst2@latest", "--remove"], "known: sst2@production, sst2@staging", 1),
        (["sst2@2", "--remove"], "known: sst2@production, sst2@staging", 1),
        (["sst3@production", "--remove"], "sst3", 1),
        (["sst3@1", "a"], "known: cola, mix, sst2", 1),
        (["sst2@9", "a"], "sst2@9", 1),
        (["sst2@1", "latest"], "reserved", 1),
        (["sst2@1", "best"], "reserved", 1),
        (["sst2@1", "7"], "reserved", 1),
        (["sst2@1", "v7"], "reserved", 1),
        (["sst2@1", "Prod"], "not valid", 1),
        (["sst2@1", "a" * 65], "not valid", 1),
        (["sst2@1", "\x1b[31m"], "not valid", 1),
    ],
)
def test_an_alias_that_cannot_be(arguments: list[str], said: str, code: int, run: Any) -> None:
    result = run("alias", *arguments)
    assert "\x1b" not in result.refused(said, code=code)
    assert result.out == ""
    assert aliases(run) == {"production": 2, "staging": 3}


def test_tags_are_set_changed_and_removed(run: Any) -> None:
    result = run("tag", "sst2@2", "owner=bob", "ticket=AB-1", "empty=", "query=a=b", "--remove", "stage")
    assert result.code == 0
    expected = {"owner": "bob", "ticket": "AB-1", "empty": "", "query": "a=b"}
    assert tags(run) == expected == run("tag", "sst2@2", "--json").json
    assert result.out == "empty   \nowner   bob\nquery   a=b\nticket  AB-1\n"


def test_tags_are_printed(run: Any) -> None:
    assert run("tag", "sst2@production").out == "owner  ann\nstage  canary\n"
    none = run("tag", "sst2@1")
    assert (none.code, none.out, none.err) == (0, "", "sst2@1 has no tags\n")
    assert run("tag", "sst2@1", "--json").json == {}
    assert run("log", "sst2@1", "--json").json[0]["action"] == "add"


def test_tags_are_of_one_version(run: Any) -> None:
    run("tag", "sst2", "owner=eve")
    assert [tags(run, ref).get("owner") for ref in ("sst2@1", "sst2@2", "sst2@3")] == [None, "ann", "eve"]


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([], "REF", 2),
        (["sst2@2", "owner"], "KEY=VALUE", 2),
        (["sst2@2", "a=1", "a=2"], "named twice", 2),
        (["sst2@2", "a=1", "--remove", "a"], "named twice", 2),
        (["sst2@2", "--remove"], "--remove", 2),
        (["sst2@2", "=x"], "not valid", 1),
        (["sst2@2", "a b=x"], "not valid", 1),
        (["sst2@2", "good=1", "a b=x"], "not valid", 1),
        (["sst2@2", f"a={'x' * 5_001}"], "5,000", 1),
        (["sst2@2", "a=\x1b[31mred"], "x1b", 1),
        (["sst2@2", "a=\udcff"], "udcff", 1),
        (["sst3", "a=1"], "known: cola, mix, sst2", 1),
        (["sst2@9", "a=1"], "sst2@9", 1),
    ],
    ids=lambda value: ascii(" ".join(value))[:30] if isinstance(value, list) else "",
)
def test_tags_that_cannot_be_change_nothing(arguments: list[str], said: str, code: int, run: Any) -> None:
    result = run("tag", *arguments)
    assert "\x1b" not in result.refused(said, code=code)
    assert result.out == ""
    assert tags(run) == {"owner": "ann", "stage": "canary"}


def test_a_note_is_written_printed_and_removed(run: Any) -> None:
    assert run("note", "sst2@3").out == "the average\n"
    written = run("note", "sst2@3", "better on long texts")
    assert (written.code, written.out, written.err) == (0, "", "note of sst2@3 written\n")
    assert run("note", "sst2@3").out == "better on long texts\n"
    assert run("show", "sst2@3", "--json").json["note"] == "better on long texts"
    assert run("note", "sst2@3", "--remove").err == "note of sst2@3 removed\n"
    none = run("note", "sst2@3")
    assert (none.code, none.out, none.err) == (0, "", "sst2@3 has no note\n")


def test_a_note_from_standard_input(run: Any) -> None:
    """What was written on Windows, and tabs, come out as lines and tabs."""
    assert run("note", "sst2", "-", stdin=b"first\r\n\tsecond\n\n").code == 0
    assert run("show", "sst2", "--json").json["note"] == "first\n\tsecond"
    assert run("note", "sst2").out == "first\n\tsecond\n"


def test_lines_of_a_note_pass_for_nothing_else(run: Any) -> None:
    run("note", "sst2", "good\ndigest  0000")
    assert "\ndigest  0000" not in run("show", "sst2").out
    assert next(line for line in run("show", "sst2").lines if line.endswith("digest  0000")).startswith("   ")


@pytest.mark.parametrize(
    ("arguments", "stdin", "said", "code"),
    [
        ([], b"", "REF", 2),
        (["sst2", "a", "b"], b"", "b", 2),
        (["sst2", "a", "--remove"], b"", "--remove takes no text", 2),
        (["sst3", "a"], b"", "known: cola, mix, sst2", 1),
        (["sst2@9"], b"", "sst2@9", 1),
        (["sst2", "\x1b]0;title\x07"], b"", "x1b", 1),
        (["sst2", "-"], b"\xff\xfe", "udcff", 1),
        (["sst2", "-"], b"a\x00b", "x00", 1),
        (["sst2", "-"], b"x" * 65_537, "65,536", 1),
    ],
)
def test_a_note_that_cannot_be_changes_nothing(
    arguments: list[str], stdin: bytes, said: str, code: int, *, run: Any
) -> None:
    assert "\x1b" not in run("note", *arguments, stdin=stdin).refused(said, code=code)
    assert run("note", "sst2").out == "the average\n"
