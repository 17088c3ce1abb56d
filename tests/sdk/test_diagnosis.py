"""What is said of a training that did not learn, from histories made up for it."""

import math
from collections.abc import Mapping, Sequence
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
    settings: Mapping[str, Any] | None = None,
    labels: Sequence[str] = ("no", "yes"),
    metrics: Mapping[str, float] | None = None,
    **data: Any,
) -> Version:
    settings = {"learning_rate": 1e-3, "epochs": 3.0, "max_steps": None, "max_length": 128, **(settings or {})}
    with registry.start_run(
        "a", task="t", method="seq_bn", base=BASE, settings=settings, data=data, environment={}, seed=0
    ) as recorder:
        for step, loss in enumerate(losses, 1):
            recorder.log({"train/loss": loss}, step=step)
        for step, score in enumerate(scores, 1):
            recorder.log({metric: score, "eval/loss": validation}, step=step)
        best = max((score for score in scores if not math.isnan(score)), default=math.nan)
        return registry.add_version(
            "a", files={"f": b"x"}, task={"name": "t", "labels": list(labels)}, method="seq_bn", config={}, base=BASE,
            max_length=8, parameters=1, metrics={metric: best, **(metrics or {})}, primary_metric=metric,
            run=recorder.uid,
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


WILD = [21.0 + 8 * step for step in range(40)]
CUT = {"rows": {"train": 400, "eval": 40}, "tokens": {"train": 51_000, "eval": 5_000}, "max_length": 248, "held": 0.97}
MANY_CUT = {"majority": 0.5, "rows": {"train": 400, "eval": 40}, "cut": CUT}


@pytest.mark.parametrize(
    ("losses", "rate", "validation", "said", "tried"),
    [
        (WILD, 10.0, 300.0, "diverged: its loss rose from 33.000 to 321.000 at a learning rate of 10", 0.001),
        (WILD, 0.005, 300.0, "diverged: its loss rose", 0.002),
        ([0.69 + 0.002 * step for step in range(40)], 0.001, 0.8, "diverged: its loss rose", 0.0003),
        ([40.0 - step for step in range(30)], 0.01, 9.0, "where that of always giving the same answer is 0.693", 0.003),
        (FLAT, 1.0, 0.69, "the training loss is flat, 0.691 at the start and 0.691 at the end, at a learning rate of 1",
         0.001),
    ],
)  # fmt: skip
def test_a_training_that_diverged_is_slowed_down(
    losses: list[float], rate: float, validation: float, said: str, *, tried: float, registry: Registry
) -> None:
    version = _version(
        registry, losses, [0.5], validation=validation, settings={"learning_rate": rate}, metrics={}, **HALF
    )
    findings = diagnose(registry, version)
    assert said in findings[-1].text
    assert [advice for finding in findings for advice in finding.advice] == [_like(learning_rate=tried)]


def test_a_rise_by_chance_is_no_divergence(registry: Registry) -> None:
    """Of few batches the last one may be harder than the first."""
    losses = [0.69, 0.66, 0.75, 0.63, 0.80]
    _, finding = diagnose(registry, _version(registry, losses, [0.5], settings={"learning_rate": 1e-9}, **HALF))
    assert finding.text.startswith("the training loss is flat")


def test_weights_of_classes_make_any_loss_possible(registry: Registry) -> None:
    settings = {"class_weights": {"yes": 50.0}}
    losses = [40.0 - step for step in range(30)]
    version = _version(registry, losses, [0.9], validation=9.0, settings=settings, **HALF)
    assert diagnose(registry, version) == []


def test_the_losses_of_scores_are_compared_with_their_variance(registry: Registry) -> None:
    losses, target = [3e9 - 1e7 * step for step in range(40)], {"mean": 250_000.0, "deviation": 30_000.0}
    of = {"metric": "eval/pearson", "labels": (), "rows": {"train": 90, "eval": 10}}
    fine = _version(registry, losses, [0.9], validation=5e8, target=target, **of)
    assert diagnose(registry, fine) == []
    far = _version(registry, losses, [0.9], validation=3e9, target=target, **of)
    (finding,) = diagnose(registry, far)
    assert "its loss is 2.6" in finding.text
    assert "is 9e+08" in finding.text


@pytest.mark.parametrize("losses", [FLAT, FALLING])
def test_rows_that_are_cut_come_before_the_learning_rate(losses: list[float], registry: Registry) -> None:
    cut, nothing, loss = diagnose(registry, _version(registry, losses, [0.55], **MANY_CUT))
    assert cut.text == (
        "400 of 400 training rows and 40 of 40 validation rows are cut at 128 tokens, which leaves out 56000 tokens; "
        "248 tokens hold 97 % of the rows"
    )
    assert cut.advice == (_like(max_length=248),)
    assert "most frequent class" in nothing.text
    assert "what was cut may hold the answer, so try a greater length first" in loss.text
    assert loss.advice == ()


def test_a_few_rows_that_are_cut_are_said_and_no_reason_to_train_again(registry: Registry) -> None:
    cut = {**CUT, "rows": {"train": 3, "eval": 0}, "tokens": {"train": 90, "eval": 0}, "max_length": 136, "held": 0.99}
    (finding,) = diagnose(registry, _version(registry, FALLING, [0.9], **{**MANY_CUT, "cut": cut}))
    assert finding.text == (
        "3 of 400 training rows and 0 of 40 validation rows are cut at 128 tokens, which leaves out 90 tokens; "
        "136 tokens hold 99 % of the rows"
    )
    assert finding.advice == ()
    for held, end in ((0.9, "leaves out 90 tokens; the base takes no more"), (0.99, "leaves out 90 tokens")):
        shorter = {**MANY_CUT, "cut": {**cut, "max_length": 128, "held": held}}
        (finding,) = diagnose(registry, _version(registry, FALLING, [0.9], **shorter))
        assert finding.text.endswith(end)


def test_rows_on_both_sides_and_classes_without_rows_are_said(registry: Registry) -> None:
    data = {
        "majority": 0.5,
        "rows": {"train": 400, "eval": 200, "eval_mismatched": 100},
        "repeated": {"eval": 12, "eval_mismatched": 0},
        "absent": {"eval_mismatched": ["yes"], "train": ["no", "perhaps"]},
    }
    found = [finding.text for finding in diagnose(registry, _version(registry, FALLING, [0.9], **data))]
    assert found == [
        "12 of 200 validation rows (eval) also stand in the training rows, so their scores are better than those of "
        "new texts",
        "the 100 validation rows (eval_mismatched) have none of 'yes', which is never scored",
        "the 400 training rows have none of 'no', 'perhaps', which is never learned",
    ]


def test_answers_that_are_all_the_same_are_said_to_be(registry: Registry) -> None:
    metrics = {"eval/matthews_correlation": 0.0}
    most = {**HALF, "majority": 0.6}
    nothing, _ = diagnose(registry, _version(registry, FALLING, [0.6], metrics=metrics, **most))
    assert nothing.text == "eval/accuracy is 0.600, since every answer is the most frequent class; nothing was learned"
    # Of two classes of one size, answers by chance may have these scores, too.
    chance, _ = diagnose(registry, _version(registry, FALLING, [0.5], metrics=metrics, **HALF))
    assert chance.text == (
        "eval/accuracy 0.500 is no better than always answering the most frequent class, 0.500; nothing useful was "
        "learned"
    )


CONSTANT = "always answering the most frequent class"
FEW = "validation rows are too few to tell whether anything was learned"


@pytest.mark.parametrize(
    ("score", "metric", "majority", "rows", "said"),
    [
        (0.667, "eval/accuracy", 0.667, 3, f"0.667 is no better than {CONSTANT}, 0.667; 3 {FEW}"),
        (
            0.75, "eval/accuracy", 0.5, 4,
            f"within a standard error, 0.250 in 4 validation rows, of {CONSTANT}, 0.500; 4 {FEW}",
        ),
        (
            0.6, "eval/accuracy", 0.5, 16,
            f"a standard error, 0.125 in 16 validation rows, of {CONSTANT}, 0.500; nothing useful was learned",
        ),
        (0.6, "eval/accuracy", 0.5, 15, f"15 {FEW}: a guess's score differs by 0.13 by chance (one standard error)"),
        (-0.2, "eval/pearson", None, 3, f"a guess; 3 {FEW}: a guess's score differs by 0.71"),
        (0.01, "eval/pearson", None, 65, "about 0, the score of a guess; nothing useful was learned"),
        (0.01, "eval/pearson", None, 64, f"64 {FEW}"),
        (0.8, "eval/f1", 0.6, 20, f"eval/matthews_correlation 0.000 is about that of a guess; 20 {FEW}"),
    ],
)  # fmt: skip
def test_few_validation_rows_tell_nothing(
    score: float, metric: str, majority: float | None, rows: int, *, said: str, registry: Registry
) -> None:
    data = {"majority": majority, "rows": {"train": 100, "eval": rows}}
    metrics = {"eval/matthews_correlation": 0.0} if metric == "eval/f1" else {}
    nothing, *_ = diagnose(registry, _version(registry, FALLING, [score], metric=metric, metrics=metrics, **data))
    assert said in nothing.text
