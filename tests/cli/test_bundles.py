"""registry export and import: versions move between registries whole, or not at all."""

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tars import read_members, write_members

from pointsman.registry import Registry


@pytest.fixture
def bundle(run: Any, ready: Path, tmp_path: Path) -> Path:
    """mix@1 with all that it was made from: every version there is."""
    path = tmp_path / "all.tar"
    result = run("export", "mix@1", path, home=ready)
    assert result.code == 0, result.err
    return path


def known(run: Any, home: Path | None = None) -> dict[str, Any]:
    """All that is known of every version, times of runs and points included."""
    refs = [version["ref"] for version in run("list", "--all", "--json", home=home).json]
    shown = {ref: run("show", ref, "--json", home=home).json for ref in refs}
    for ref, version in shown.items():
        if version["run"] is not None:
            version["points"] = {
                metric: run("history", ref, "--metric", metric, "--json", home=home).json
                for metric in ("train/loss", "eval/accuracy")
            }
    return shown


# export


def test_a_bundle_has_the_versions_and_what_they_were_made_from(run: Any, ready: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.tar"
    result = run("export", "sst2@production", "cola", path, home=ready)
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith(f"{path} (")
    assert result.err.endswith("): 3 versions: sst2@1, cola@1, sst2@2\n")
    assert sorted(name.partition("/")[0] for name in read_members(path)) == [
        "SHA256SUMS", "bundle.json", "history", "history", "history", "objects", "objects", "objects", "objects",
    ]  # fmt: skip


def test_the_same_versions_make_the_same_bundle(run: Any, ready: Path, bundle: Path, tmp_path: Path) -> None:
    assert run("export", "cola@1", "mix@1", "sst2@2", "mix", tmp_path / "again.tar", home=ready).code == 0
    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()


def test_other_programs_read_and_check_a_bundle(bundle: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", bundle, "-C", tmp_path], check=True)
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=True)
    assert checked.stdout.count(b": OK\n") == len(read_members(bundle)) - 1


def test_a_directory_has_the_files(run: Any, ready: Path, tmp_path: Path) -> None:
    result = run("export", "sst2@3", tmp_path / "files", home=ready)
    assert (result.code, result.out) == (0, "")
    written = {path.name: path.read_bytes() for path in (tmp_path / "files").iterdir()}
    assert written == {"adapter.safetensors": b"three", "adapter_config.json": b"{}"}


def test_a_damaged_file_is_never_exported(run: Any, mine: Path, tmp_path: Path) -> None:
    with Registry(mine) as registry:
        digest = registry.version("sst2@1").files[0].sha256
    path = mine / "objects" / digest[:2] / digest[2:]
    path.write_bytes(b"ome")
    run("export", "sst2@2", tmp_path / "x.tar").refused(digest, "damaged")
    path.unlink()
    run("export", "sst2@2", tmp_path / "x.tar").refused(digest, "missing")
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([], "Missing argument 'TARGET'", 2),
        (["sst2"], "where to write it", 2),
        (["sst2@1", "sst2@2", "files"], "ends in .tar", 2),
        (["sst2@1", "x.tar.gz"], "a bundle ends in .tar and is never compressed; found '.", 2),
        (["sst2@1", "x.tgz"], "a bundle ends in .tar and is never compressed; found '.", 2),
        (["sst2@1", "x.zip"], "a bundle ends in .tar and is never compressed; found '.", 2),
        (["sst2@1", "taken.tar"], "exists", 1),
        (["sst2@1", "."], "adapter.safetensors exists", 1),
        (["sst2@1", "letter"], "letter", 1),
        (["sst2@1", "letter/x.tar"], "letter/x.tar", 1),
        (["sst2@1", "nosuch/x.tar"], "nosuch/x.tar", 1),
        (["sst3", "x.tar"], "known: cola, mix, sst2", 1),
        (["sst2@1", "sst2@9", "x.tar"], "sst2@9", 1),
        (["sst2@", "x.tar"], "not valid", 1),
        (["run:0123456789ab", "x.tar"], "not valid", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_export_that_cannot_be(
    arguments: list[str],
    said: str,
    code: int,
    *,
    run: Any,
    ready: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {tmp_path / name: "mine" for name in ("taken.tar", "letter", "adapter.safetensors")}
    for path, text in before.items():
        path.write_text(text)
    result = run("export", *arguments, home=ready)
    result.refused(said, code=code)
    assert result.out == ""
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


# import


def test_everything_known_comes_along(run: Any, ready: Path, bundle: Path, home: Path) -> None:
    result = run("import", bundle)
    assert result.code == 0
    assert result.err == "new here: 5 of 5 versions\n"
    assert [row.split() for row in result.lines[2:]] == [
        ["sst2@1", "sst2@1", "new", "-"],
        ["cola@1", "cola@1", "new", "-"],
        ["sst2@2", "sst2@2", "new", "production"],
        ["sst2@3", "sst2@3", "new", "staging"],
        ["mix@1", "mix@1", "new", "-"],
    ]
    assert known(run) == known(run, ready)
    for tree in (["mix", "--tree", "--json"], ["sst2@1", "--tree", "--json"]):
        assert run("show", *tree).json == run("show", *tree, home=ready).json
    assert run("verify").code == 0
    assert {event["action"] for event in run("log", "--json").json} == {"import"}


def test_what_comes_back_is_the_same_bundle(run: Any, bundle: Path, tmp_path: Path) -> None:
    assert run("import", bundle).code == 0
    assert run("export", "mix@1", tmp_path / "back.tar").code == 0
    assert (tmp_path / "back.tar").read_bytes() == bundle.read_bytes()


def test_importing_twice_is_importing_once(run: Any, bundle: Path) -> None:
    assert run("import", bundle).code == 0
    before = known(run), run("log", "--json").out
    again = run("import", bundle, "--json")
    assert again.code == 0
    assert [(one["source"], one["ref"], one["new"], one["aliases"]) for one in again.json] == [
        (ref, ref, False, []) for ref in ("sst2@1", "cola@1", "sst2@2", "sst2@3", "mix@1")
    ]
    assert (known(run), run("log", "--json").out) == before
    assert run("import", bundle).err == "new here: 0 of 5 versions\n"


def test_nothing_that_is_here_changes(run: Any, bundle: Path, home: Path, add_version: Any) -> None:
    """A taken number makes way for the next; an alias that is taken stays where it is."""
    with Registry(home) as registry:
        for content in (b"a", b"b"):
            add_version(registry, files={"adapter.safetensors": content})
        registry.set_alias("sst2@1", "production")
    before = known(run)
    result = run("import", bundle, "--json")
    moved = {one["source"]: (one["ref"], one["aliases"]) for one in result.json}
    assert moved == {
        "sst2@1": ("sst2@3", []),
        "sst2@2": ("sst2@4", []),
        "sst2@3": ("sst2@5", ["staging"]),
        "cola@1": ("cola@1", []),
        "mix@1": ("mix@1", []),
    }
    after = known(run)
    assert {ref: after[ref] for ref in before} == before
    assert run("show", "sst2@4", "--tree", "--json").json["parents"]["sst2@4"][0]["ref"] == "sst2@3"
    assert run("verify").code == 0


def test_a_bundle_of_what_is_partly_here(run: Any, ready: Path, bundle: Path, tmp_path: Path) -> None:
    assert run("export", "sst2@2", tmp_path / "part.tar", home=ready).code == 0
    assert run("import", tmp_path / "part.tar").err == "new here: 2 of 2 versions\n"
    assert run("import", bundle).err == "new here: 3 of 5 versions\n"
    assert known(run) == known(run, ready)


def flipped(path: Path) -> None:
    """One byte of an object, which the tar itself does not notice."""
    content = path.read_bytes()
    at = content.index(b"two, longer")
    path.write_bytes(content[:at] + b"T" + content[at + 1 :])


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20_000])


def compressed(path: Path) -> None:
    with tarfile.open(path.with_suffix(".gz"), "w:gz") as tar:
        tar.add(path, "all.tar")
    path.with_suffix(".gz").replace(path)


def not_a_bundle(path: Path) -> None:
    path.write_bytes(b"a letter to my aunt\n" * 1_000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_tar(path: Path) -> None:
    write_members(path, {"photo.jpg": b"smile"}, sums=False)


def escaping(path: Path) -> None:
    write_members(path, read_members(path) | {"../../evil": b"evil"}, sums=False)


def a_link(path: Path) -> None:
    content = read_members(path)
    write_members(path, content, sums=False)
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(f"objects/{'0' * 64}")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)


def without_a_file(path: Path) -> None:
    content = read_members(path)
    del content[next(name for name in content if name.startswith("objects/"))]
    write_members(path, content)


def another_format(path: Path) -> None:
    content = read_members(path)
    write_members(path, content | {"bundle.json": content["bundle.json"].replace(b'"format": 1', b'"format": 2')})


def another_digest(path: Path) -> None:
    content = read_members(path)
    write_members(path, content | {"bundle.json": content["bundle.json"].replace(b'"seq_bn"', b'"seqbnx"')})


def hostile_name(path: Path) -> None:
    content = read_members(path)
    name = b'"name": "\\u001b[31msst2"'
    write_members(path, content | {"bundle.json": content["bundle.json"].replace(b'"name": "sst2"', name)})


def bad_history(path: Path) -> None:
    content = read_members(path)
    name = next(name for name in content if name.startswith("history/"))
    write_members(path, content | {name: b'["train/loss"]\n'})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (flipped, "damaged"),
        (cut_off, "all.tar"),
        (compressed, "not a bundle"),
        (not_a_bundle, "not a bundle"),
        (empty, "not a bundle"),
        (another_tar, "photo.jpg"),
        (escaping, "evil"),
        (a_link, "is not a regular file"),
        (without_a_file, "lacks the file"),
        (another_format, "another format"),
        (another_digest, "digest"),
        (hostile_name, "not valid"),
        (bad_history, "an invalid line"),
    ],
)
def test_a_bundle_that_cannot_be_trusted(
    spoil: Callable[[Path], None], said: str, *, run: Any, bundle: Path, home: Path
) -> None:
    """Nothing of it is listed, and no name in it is a path."""
    spoil(bundle)
    message = run("import", bundle).refused(said)
    assert "\x1b" not in message
    with Registry(home) as registry:
        assert (len(registry.versions()), list(registry.runs()), registry.events()) == (0, [], [])
    assert not [path for path in home.parent.rglob("evil*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([], "BUNDLE", 2),
        (["all.tar", "more.tar"], "more.tar", 2),
        (["."], "directory", 2),
        (["nosuch.tar"], "nosuch.tar", 1),
        (["all.tar/below"], "below", 1),
        (["\x1b[31m.tar"], "x1b", 1),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)
def test_an_import_that_cannot_be(
    arguments: list[str], said: str, code: int, *, run: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.parent)
    assert "\x1b" not in run("import", *arguments).refused(said, code=code)
