"""Files of rows that a bundle names are not opened unless the user names them."""

from pathlib import Path
from typing import Any

import pytest
from tars import change_index

from pointsman.registry import Registry
from pointsman.registry.errors import Action, BundleError, SettingsError
from pointsman.registry.upkeep import export_bundle, import_bundle
from pointsman.sdk import train, train_like

SMALL: dict[str, Any] = {"max_steps": 2, "batch_size": 8, "max_length": 16}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    lines = [f"a {'good' if row % 2 else 'bad'} film {row},{row % 2}" for row in range(40)]
    path.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    return path


def test_files_that_a_bundle_names_are_opened_with_the_users_word_only(
    registry: Registry, tiny_base: Path, rows: Path, tmp_path: Path
) -> None:
    base, other = str(tiny_base), tmp_path / "other.csv"
    other.write_bytes(rows.read_bytes())
    first = train("films", base=base, data=rows, validation=other, registry=registry, **SMALL)
    assert registry.recorded_here(str(first.run))
    assert train_like("films@1", registry=registry).digest == first.digest
    export_bundle(registry, ["films@1"], tmp_path / "films.tar")
    with Registry(tmp_path / "theirs") as theirs:
        import_bundle(theirs, tmp_path / "films.tar")
        assert not theirs.recorded_here(str(first.run))
        for given, named in (({}, {"data": rows, "validation": other}), ({"validation": other}, {"data": rows})):
            with pytest.raises(SettingsError, match=r"known only by '.*rows.csv'.* is not opened by itself") as refused:
                train_like("films@1", base=base, registry=theirs, **given)
            assert refused.value.advice is not None
            assert refused.value.advice.action is Action.TRAIN_LIKE
            assert refused.value.advice.arguments == {
                "ref": f"run:{first.run}", **{name: str(path) for name, path in named.items()}
            }  # fmt: skip
        assert len(theirs.runs()) == 1
        again = train_like("films@1", base=base, data=rows, validation=other, registry=theirs)
        assert (again.digest, again.ref) == (first.digest, "films@2")
        assert train_like("films@2", registry=theirs).ref == "films@3"


def test_rows_that_are_no_files_need_no_word(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    train("sst2", base=str(tiny_base), data="sample", registry=registry, max_train_rows=40, **SMALL)
    export_bundle(registry, ["sst2"], tmp_path / "sst2.tar")
    with Registry(tmp_path / "theirs") as theirs:
        import_bundle(theirs, tmp_path / "sst2.tar")
        assert train_like("sst2", base=str(tiny_base), registry=theirs).ref == "sst2@2"


def test_a_run_of_a_bundle_cannot_say_that_it_was_recorded_here(
    registry: Registry, tiny_base: Path, rows: Path, tmp_path: Path
) -> None:
    train("films", base=str(tiny_base), data=rows, registry=registry, **SMALL)
    export_bundle(registry, ["films"], tmp_path / "films.tar")

    def claim(index: dict[str, Any]) -> None:
        index["runs"][0]["environment"]["process"] = {"pid": 1}

    change_index(tmp_path / "films.tar", claim)
    with (
        Registry(tmp_path / "theirs") as theirs,
        pytest.raises(BundleError, match=r"runs\[0\]: its environment has the key 'process'"),
    ):
        import_bundle(theirs, tmp_path / "films.tar")
