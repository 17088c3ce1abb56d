"""Scores of any unit are learned alike, and come back in their unit: from a version, its export, a fusion, a merge."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from pointsman.registry import Registry
from pointsman.registry.errors import DataError
from pointsman.sdk import Switcher, fuse, merge, resume, train, train_like
from pointsman.sdk.tasks import TargetScale
from pointsman.sdk.tasks.kinds import Regression
from pointsman.sdk.training.diagnosis import diagnose

from helpers import PlainAdapters

SMALL: dict[str, Any] = {"max_length": 16, "batch_size": 16, "max_steps": 30, "eval_every": 10.0, "learning_rate": 0.01}
UNITS = {
    "as published": (1.0, 0.0),
    "twentyfold": (20.0, 0.0),
    "shifted": (1.0, 50.0),
    "prices": (24_000.0, 200_000.0),
    "timestamps": (2e5, 1.7e9),
}


def _rows(split: str, count: int) -> list[tuple[str, float]]:
    """Texts of eight words, and their score: how many of the words are good, less what the others take."""
    random, worth = Random(split), {"great": 0.8, "good": 0.6, "film": 0.4, "dull": 0.1, "awful": 0.0}
    texts = [random.choices(list(worth), k=8) for _ in range(count)]
    return [(" ".join(words), sum(worth[word] for word in words)) for words in texts]


ROWS = {"train": _rows("train", 160), "validation": _rows("validation", 40)}


def _write(path: Path, split: str, factor: float, shift: float) -> Path:
    rows = [{"text": text, "label": score * factor + shift} for text, score in ROWS[split]]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def _arguments(folder: Path, base: Path, unit: str) -> dict[str, Any]:
    factor, shift = UNITS[unit]
    stem = unit.replace(" ", "-")
    return {
        "base": str(base),
        "data": _write(folder / f"{stem}.jsonl", "train", factor, shift),
        "validation": _write(folder / f"{stem}-validation.jsonl", "validation", factor, shift),
        **SMALL,
    }


def _scores(switcher: Switcher, ref: str) -> "np.ndarray[Any, Any]":
    return np.array([answer.score for answer in switcher.predict(ref, [text for text, _ in ROWS["validation"]])])


def _truth(unit: str) -> "np.ndarray[Any, Any]":
    factor, shift = UNITS[unit]
    return np.array([score for _, score in ROWS["validation"]]) * factor + shift


def _error(answers: "np.ndarray[Any, Any]", truth: "np.ndarray[Any, Any]") -> float:
    return float(np.mean(np.abs(answers - truth)))


def test_every_unit_is_learned_alike(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    """The correlations are the same, and errors, losses and answers differ by the unit only."""
    names = {unit: unit.replace(" ", "-") for unit in UNITS}
    versions = {
        unit: train(name, registry=registry, **_arguments(tmp_path, tiny_base, unit)) for unit, name in names.items()
    }
    plain = versions["as published"].metrics
    assert plain["eval/pearson"] > 0.5
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for unit, version in versions.items():
            factor, _ = UNITS[unit]
            metrics, answers, truth = version.metrics, _scores(switcher, version.ref), _truth(unit)
            assert metrics["eval/pearson"] == pytest.approx(plain["eval/pearson"], abs=1e-3)
            assert metrics["eval/mae"] == pytest.approx(factor * plain["eval/mae"], rel=0.01)
            # What is recorded is what the stored files answer, the loss included.
            assert metrics["eval/mae"] == pytest.approx(_error(answers, truth), rel=1e-3)
            assert metrics["eval/loss"] == pytest.approx(float(np.mean((answers - truth) ** 2)), rel=1e-3)
            losses = registry.history(f"run:{version.run}", "train/loss")
            deviation = factor * float(np.std([score for _, score in ROWS["train"]]))
            assert 0.1 < losses[0].value / deviation**2 < 10
            assert diagnose(registry, version) == []


def test_the_loss_and_the_mean_error_are_recorded_at_every_evaluation(
    registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    version = train("p", registry=registry, **_arguments(tmp_path, tiny_base, "prices"))
    assert [point.step for point in registry.history(f"run:{version.run}", "eval/mae")] == [10, 20, 30]
    recorded = registry.run(str(version.run)).data["target"]
    scores = np.float32([score * 24_000 + 200_000 for _, score in ROWS["train"]]).astype(np.float64)
    assert recorded == {"mean": scores.mean(), "deviation": scores.std()}


def test_exports_fusions_and_merges_answer_in_the_unit(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    arguments = _arguments(tmp_path, tiny_base, "prices")
    first = train("p", registry=registry, **arguments)
    second = train_like(first.ref, registry=registry, seed=1)
    source = {name: arguments[name] for name in ("base", "data", "validation")}
    fused = fuse("f", [first.ref, second.ref], "p", registry=registry, **source, **SMALL | {"max_steps": 10})
    merged = merge("m", [first.ref, second.ref], registry=registry)
    truth, spread = _truth("prices"), float(np.std(_truth("prices")))
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for ref in (first.ref, second.ref, fused.ref, merged.ref, f"average({first.ref}, {second.ref})"):
            assert _error(_scores(switcher, ref), truth) < 1.2 * spread, ref
        registry.export(first.ref, tmp_path / "files")
        texts = [text for text, _ in ROWS["validation"][:4]]
        outputs = PlainAdapters(tiny_base).logits(tmp_path / "files", texts)[:, 0].tolist()
        assert outputs == pytest.approx(_scores(switcher, first.ref)[:4].tolist(), rel=1e-5)


def test_in_bf16_a_score_is_not_rounded_to_thousands(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    version = train("p", registry=registry, **_arguments(tmp_path, tiny_base, "prices"))
    found = []
    for precision in ("fp32", "bf16"):
        with Switcher(str(tiny_base), registry=registry, precision=precision) as switcher:
            found.append(_scores(switcher, version.ref))
    assert len(set(found[1].tolist())) > 30
    assert _error(*found) < 0.05 * float(np.std(_truth("prices")))


def test_a_resumed_run_ends_in_the_same_bits(
    registry: Registry, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that began in a release which learned scores as they are: it goes on so."""

    class Stopped(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.step >= 17:
            raise Stopped

    arguments = {**_arguments(tmp_path, tiny_base, "prices"), "registry": registry, "checkpoint_every": 5}
    digests = []
    for older in (False, True):
        with monkeypatch.context() as patch:
            if older:
                patch.setattr(Regression, "target_scale", lambda self, labels: None)
            digests.append(train("p", **arguments).digest)
            with pytest.raises(Stopped):
                train("p", report=stop, **arguments)
        run = registry.runs()[0]
        assert ("target" in run.data) is not older
        assert resume(run.uid, registry=registry).digest == digests[-1]
    assert len(set(digests)) == 2


def test_a_constant_score_is_refused(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    arguments = _arguments(tmp_path, tiny_base, "prices")
    lines = [json.loads(line) for line in arguments["data"].read_text().splitlines()]
    for number, line in enumerate(lines):
        line["label"] = 3.5 if number else 4.5
    arguments["data"].write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match=r"every score is 3\.5 in the 20 training rows"):
        train("p", registry=registry, max_train_rows=20, **arguments)
    assert list(registry.runs()) == []


def test_scores_that_float32_rounds_together_are_refused(
    registry: Registry, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(UNITS, "minutes", (1_000.0, 1.7e9))
    expected = r"differ by 8\d\d \(standard deviation\) around 170000\d{4}, where float32 has steps of 128, .*1\.7e\+09"
    with pytest.raises(DataError, match=expected):
        train("p", registry=registry, **_arguments(tmp_path, tiny_base, "minutes"))
    assert list(registry.runs()) == []


@pytest.mark.parametrize("scores", [[1.0, 3.0], [-1e30, 2e30, 5e30], [1e-30, 3e-30], [250_000.0, 250_001.0]])
def test_what_is_standardised_is_restored(scores: Sequence[float]) -> None:
    import torch

    values = torch.tensor(scores)
    scale = TargetScale.of(values.numpy())
    learned = scale.standardise(values)
    assert learned.double().mean().item() == pytest.approx(0, abs=1e-6)
    assert learned.double().std(correction=0).item() == pytest.approx(1)
    assert scale.restore(learned).tolist() == pytest.approx(values.double().tolist(), rel=1e-6)
    assert TargetScale.from_dict(json.loads(json.dumps(scale.to_dict()))) == scale
