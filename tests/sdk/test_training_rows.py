"""The rows of a training: every class on each side, and what is cut, repeated or absent is counted and said."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.registry import Registry
from pointsman.registry.errors import Action, DataError, SettingsError
from pointsman.sdk import train
from pointsman.sdk.bases.load import LoadedBase
from pointsman.sdk.data import Split, load_table_data
from pointsman.sdk.data.draws import hold_out, sample
from pointsman.sdk.data.lengths import length_for
from pointsman.sdk.data.tokens import tokenise
from pointsman.sdk.tasks import custom_task
from pointsman.sdk.training.diagnosis import diagnose

from helpers import PAIRS, TEXTS, WORDS

SMALL: dict[str, Any] = {"max_steps": 2, "batch_size": 8, "max_length": 32}


def _write(path: Path, rows: Sequence[tuple[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows), encoding="utf-8")
    return path


def _rare(path: Path, *, common: int = 300, rare: int = 2) -> Path:
    """A file with a class of a few rows among hundreds."""
    return _write(path, [(f"film {n}", "rare" if n < rare else ("no", "yes")[n % 2]) for n in range(common + rare)])


@given(
    counts=st.lists(st.integers(2, 400), min_size=2, max_size=6).filter(lambda counts: sum(counts) >= 10),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 3),
)
@settings(deadline=None)
def test_both_parts_have_every_class(counts: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    kept, out = hold_out(labels, share=share, seed=seed, stratified=True)
    assert sorted([*kept, *out]) == list(range(len(labels)))
    assert set(labels[kept]) == set(labels[out]) == set(range(len(counts)))
    assert len(out) == min(max(int(np.ceil(len(labels) * share)), len(counts)), len(labels) // 2)
    for number, count in enumerate(counts):  # in proportion, as far as whole rows go
        assert abs((labels[out] == number).sum() - count * len(out) / len(labels)) <= len(counts)


@given(counts=st.lists(st.integers(1, 300), min_size=2, max_size=6), seed=st.integers(0, 3), data=st.data())
@settings(deadline=None)
def test_a_sample_has_every_class(counts: list[int], seed: int, data: st.DataObject) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = data.draw(st.integers(len(counts), len(labels)))
    drawn = sample(labels, rows=rows, seed=seed, every_class=True)
    assert len(set(drawn.tolist())) == rows
    assert set(labels[drawn]) == set(range(len(counts)))
    plain = sample(labels, rows=rows, seed=seed, every_class=False)
    if set(labels[plain]) == set(labels):  # nothing to mend: the draw of every release
        assert drawn.tolist() == plain.tolist() == np.random.default_rng(seed).permutation(len(labels))[:rows].tolist()
    else:
        assert len(set(drawn.tolist()) - set(plain.tolist())) == len(set(labels) - set(labels[plain]))


def test_a_rare_class_is_learned_and_scored(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    """Two rows of 302, of which the held-out tenth, or forty rows that are drawn, may have none."""
    path = _rare(tmp_path / "r.jsonl")
    for seed in range(5):
        data = load_table_data("rare", path, text=["text"], label="label", split_seed=seed)
        assert [split.class_counts()["rare"] for split in data.splits.values()] == [1, 1]
        assert data.splits["train"].sample(40, seed=seed).class_counts()["rare"] == 1
    version = train("rare", base=str(tiny_base), data=path, registry=registry, max_train_rows=40, **SMALL)
    recorded = registry.run(str(version.run)).data
    assert (recorded["rows"], recorded.get("absent")) == ({"train": 40, "eval": 31}, None)


def test_fewer_rows_than_classes_are_refused_with_counts(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        train(
            "rare", base=str(tiny_base), data=_rare(tmp_path / "r.jsonl"), registry=registry, max_train_rows=2,
            max_steps=2, batch_size=1,
        )  # fmt: skip
    assert str(refused.value) == (
        "2 rows cannot have one of each of the 3 classes of 'rare' (no has 135, rare has 1, yes has 135); give at "
        "least 3 (max_train_rows)"
    )
    assert list(registry.runs()) == []


@pytest.mark.parametrize("limit", [None, 5])
def test_an_evaluation_on_one_class_is_refused(
    registry: Registry, tiny_base: Path, tmp_path: Path, limit: int | None
) -> None:
    """By its file, or by the rows that a limit leaves of it: an accuracy of 1.0000 would say nothing."""
    path = _rare(tmp_path / "r.jsonl", rare=0)
    others = [("film", "yes")] * (0 if limit is None else 5)
    validation = _write(tmp_path / "v.jsonl", [*((f"story {n}", "no") for n in range(5)), *others])
    with pytest.raises(DataError, match=r"every label is 'no' in the 5 validation rows \(eval\); always giving that"):
        train(
            "one", base=str(tiny_base), data=path, validation=validation, registry=registry, max_eval_rows=limit,
            **SMALL,
        )  # fmt: skip
    assert list(registry.runs()) == []


def _glue(directory: Path, task: str, train: Sequence[str], dev: Sequence[str]) -> Path:
    for name, lines in (("train", train), ("dev", dev)):
        path = directory / task / f"{name}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines), encoding="utf-8")
    return directory


def test_a_training_on_one_label_is_refused(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    """A class or a score, in GLUE's files or the user's own: always giving that answer would be learned."""
    cola = _glue(tmp_path, "CoLA", ["x\t1\t\tfine", "x\t1\t\tfine too"], ["x\t1\t\ta", "x\t0\t\tb"])
    header = "sentence1\tsentence2\tscore"
    _glue(tmp_path, "STS-B", [header, "a\tb\t3.0", "c\td\t3.0"], [header, "a\tb\t1.0", "c\td\t3.0"])
    scores = _write(tmp_path / "s.jsonl", [(f"film {n}", 0.5) for n in range(12)])
    for task, data, message in [
        ("cola", cola, "every label is 'acceptable' in the 2 training rows of 'cola'; there is nothing to learn"),
        ("stsb", cola, "every score is 3 in the 2 training rows of 'stsb'; there is nothing to learn"),
        ("mine", scores, "every score is 0.5 in the 10 training rows of 'mine'; there is nothing to learn"),
    ]:
        with pytest.raises(DataError, match=message):
            train(task, base=str(tiny_base), data=data, registry=registry, max_steps=2, batch_size=2)
    assert list(registry.runs()) == []


def test_rows_on_both_sides_are_counted_and_said(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    """Under whatever label; and so is a class that the validation rows lack."""
    path = _rare(tmp_path / "r.jsonl")
    validation = _write(
        tmp_path / "v.jsonl", [(f"film {n}" if n < 12 else f"story {n}", ("no", "yes")[n % 2]) for n in range(50)]
    )
    version = train("both", base=str(tiny_base), data=path, validation=validation, registry=registry, **SMALL)
    recorded = registry.run(str(version.run)).data
    assert (recorded["repeated"], recorded["absent"]) == ({"eval": 12}, {"eval": ["rare"]})
    said = [finding.text for finding in diagnose(registry, version)]
    assert said[0].startswith("12 of 50 validation rows also stand in the training rows")
    assert said[1] == "the 50 validation rows have none of 'rare', which is never scored"


def test_pairs_are_the_same_by_both_texts() -> None:
    task = custom_task("pairs", text=["a", "b"], label="label", labels=["no", "yes"])

    def split(*rows: tuple[str, str]) -> Split:
        one, other = zip(*rows, strict=True)
        table = pa.table({"a": list(one), "b": list(other), "label": [0] * len(rows)})
        return Split.from_table(task, table)

    known = split(("x", "y"), ("x", "z"), ("q", "y"), ("x", "y"))
    assert split(("x", "y"), ("q", "z"), ("y", "x"), ("x", "z"), ("x", "y")).rows_in(known) == 3
    assert split(("n", "n")).rows_in(known) == 0


@pytest.mark.parametrize("rows", [[(text,) for text in TEXTS], PAIRS, [("film " * 500,), ("a film",)]])
def test_tokens_before_the_cut_are_counted(rows: list[tuple[str, ...]], loaded: LoadedBase, tmp_path: Path) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    expected = [len(ids) for ids in loaded.tokenizer(*columns, verbose=False)["input_ids"]]
    for _ in range(2):  # the second time from the cache
        tokens = tokenise(loaded.tokenizer, rows, max_length=9, cache=tmp_path, count_whole=True)
        assert tokens.whole is not None
        assert tokens.whole.tolist() == expected
        assert tokens.lengths.tolist() == [min(length, 9) for length in expected]
        assert tokens.take([1, 0]).whole.tolist() == [expected[1], expected[0]]  # type: ignore[union-attr]
    plain = tokenise(loaded.tokenizer, rows, max_length=9, cache=tmp_path)
    assert plain.whole is None
    assert plain.ids.tolist() == tokens.ids.tolist()


def test_a_length_holds_most_rows_within_what_the_base_takes() -> None:
    lengths = np.arange(1, 101)
    assert length_for(lengths, longest=512) == 96
    assert length_for(np.where(lengths > 90, 900, 20), longest=512) == 512
    assert length_for(np.full(7, 3), longest=512) == 8


def test_what_is_cut_is_said_and_a_length_is_advised(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    """The word that decides stands at the end of each text: cut, nothing is learned; whole, everything."""
    filler, ends, labels = " ".join(WORDS[:6] * 4), ("awful", "great"), ("no", "yes")
    names = [f"{WORDS[n % 10]} {WORDS[n // 10]}" for n in range(60)]
    rows = [(f"{filler} {name} {end}", label) for name in names for end, label in zip(ends, labels, strict=True)]
    path = _write(tmp_path / "r.jsonl", rows)
    options: dict[str, Any] = {"base": str(tiny_base), "data": path, "registry": registry, "learning_rate": 0.01}
    version = train("long", max_length=16, max_steps=30, **options)
    cut = registry.run(str(version.run)).data["cut"]
    assert cut == {"rows": {"train": 108, "eval": 12}, "tokens": {"train": 108 * 13, "eval": 12 * 13}, "max_length": 32,
                   "held": 1.0}  # fmt: skip
    found = diagnose(registry, version)
    assert found[0].text == (
        "108 of 108 training rows and 12 of 12 validation rows are cut at 16 tokens, which leaves out 1560 tokens; "
        "32 tokens hold 100 % of the rows"
    )
    advised = [advice for finding in found for advice in finding.advice]
    assert [(advice.action, advice.arguments) for advice in advised] == [
        (Action.TRAIN_LIKE, {"ref": "long@1", "max_length": 32})
    ]
    assert version.score == 0.5
    whole = train("long", max_length=32, max_steps=60, **options)
    assert whole.score == 1.0
    assert registry.run(str(whole.run)).data["cut"]["rows"] == {"train": 0, "eval": 0}
    assert diagnose(registry, whole) == []


def test_a_rate_that_is_far_too_high_is_not_raised(registry: Registry, tiny_base: Path) -> None:
    version = train(
        "sst2", base=str(tiny_base), data="sample", registry=registry, max_train_rows=96, max_eval_rows=40, epochs=4,
        batch_size=8, max_length=24, learning_rate=10,
    )  # fmt: skip
    *_, finding = diagnose(registry, version)
    assert "at a learning rate of 10" in finding.text
    assert [advice.arguments for advice in finding.advice] == [{"ref": "sst2@1", "learning_rate": 0.001}]
