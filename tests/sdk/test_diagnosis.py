"""What is said of a training that did not learn, from histories made up for it."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from pointsman.registry import Base, Registry, Version
from pointsman.registry.errors import Action, Advice
from pointsman.sdk.training.diagnosis import diagnose

BASE = Base(fingerprint="ab" * 32, name="t", model_type="bert", hidden_size=8, layers=2, parameters=1, size=4)
FALLING = [0.7 - 0.01 * step for step in range(40)]
HALF = {"majority": 0.5, "rows": {"eval": 100}}
FLAT = [0.69 + 0.001 * (step % 3) for step in range(40)]


def _like(**changes: float) -> Advice:
    return Advice(Action.TRAIN_LIKE, {"ref": "a@1", **changes})


def _version(
    registry: Registry,
    losses: Sequence[float],
    scores: Sequence[float],
    *,
    metric: str = "eval/accuracy",
    validation: float = 0.69,
    **data: Any,
) -> Version:
    settings = {"learning_rate": 1e-3, "epochs": 3.0, "max_steps": None}
    with registry.start_run(
        "a", task="t", method="seq_bn", base=BASE, settings=settings, data=data, environment={}, seed=0
    ) as recorder:
        for step, loss in enumerate(losses, 1):
            recorder.log({"train/loss": loss}, step=step)
        for step, score in enumerate(scores, 1):
            recorder.log({metric: score, "eval/loss": validation}, step=step)
        best = max((score for score in scores if not math.isnan(score)), default=math.nan)
        return registry.add_version(
            "a", files={"f": b"x"}, task={"name": "t"}, method="seq_bn", config={}, base=BASE, max_length=8,
            parameters=1, metrics={metric: best}, primary_metric=metric, run=recorder.uid,
        )  # fmt: skip


def test_what_is_not_learned_yet_is_not_learned_by_heart(registry: Registry) -> None:
    """A first epoch of CoLA: the loss falls to what the classes' shares alone give, the correlation is 0."""
    losses, data = [0.65 - 0.002 * step for step in range(40)], {"majority": 0.69, "rows": {"eval": 1043}}
    metric = "eval/matthews_correlation"
    nothing, further = diagnose(registry, _version(registry, losses, [0.0], metric=metric, validation=0.6, **data))
    assert "about 0" in nothing.text
    assert nothing.advice == ()
    assert further.advice == (_like(epochs=6.0), _like(learning_rate=0.003))


@pytest.mark.parametrize(
    ("losses", "scores", "metric", "data", "said", "advised"),
    [
        (FALLING, [0.8, 0.9, 0.9], "eval/accuracy", HALF, [], []),
        (FLAT, [0.5, 0.52], "eval/accuracy", HALF, ["most frequent class", "flat"], [{"learning_rate": 0.003}]),
        (FALLING, [0.54], "eval/accuracy", HALF, ["most frequent class", "memorised"], []),
        (FALLING, [0.54], "eval/accuracy", {"majority": 0.5, "rows": {"eval": 10_000}}, [], []),
        (FLAT, [0.9], "eval/accuracy", HALF, ["a higher learning rate"], [{"learning_rate": 0.003}]),
        (
            FALLING, [0.01], "eval/matthews_correlation", {"majority": 0.7, "rows": {"eval": 100}},
            ["about 0", "memorised"], [],
        ),
        (
            FALLING, [math.nan], "eval/pearson", {"majority": None, "rows": {"eval": 100}},
            ["not a number", "memorised"], [],
        ),
        (FALLING, [0.6, 0.7, 0.8, 0.9], "eval/accuracy", HALF, ["still rising"], [{"epochs": 6.0}]),
        ([0.7], [0.5], "eval/accuracy", HALF, ["most frequent class"], []),
        (FALLING, [0.6, 0.7, 0.9, 0.8], "eval/accuracy", HALF, [], []),
    ],
)  # fmt: skip
def test_each_way_not_to_learn(
    losses: list[float],
    scores: list[float],
    metric: str,
    data: dict[str, Any],
    said: list[str],
    *,
    advised: list[dict[str, float]],
    registry: Registry,
) -> None:
    findings = diagnose(registry, _version(registry, losses, scores, metric=metric, **data))
    assert len(findings) == len(said), findings
    for finding, words in zip(findings, said, strict=True):
        assert words in finding.text
    assert [advice for finding in findings for advice in finding.advice] == [_like(**changes) for changes in advised]
