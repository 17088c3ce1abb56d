"""What is said of @best: which versions it was not compared with; and marks on scores that cannot be compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pointsman.cli.best import pinned
from pointsman.cli.predict import _resolve
from pointsman.cli.submit import _best
from pointsman.registry import Best, Evaluation, Ref, Registry, Version
from pointsman.sdk.tasks import GLUE

FULL = Evaluation(fingerprint="f" * 64, rows=872)
OTHER = Evaluation(fingerprint="0" * 64, rows=872)
FEW = Evaluation(fingerprint="3" * 64, rows=3)
SAMPLE = Evaluation(fingerprint="5" * 64, rows=300)


@pytest.fixture
def scored(home: Path, add_version: Callable[..., Version], add_run: Callable[..., str]) -> Callable[..., None]:
    """Add versions of sst2 with these scores, each on its rows."""

    def add(*scores: tuple[float, Evaluation | None], metric: str = "eval/accuracy", source: str = "hub") -> None:
        with Registry(home) as registry:
            for value, evaluation in scores:
                run = add_run(registry, data={"source": source})
                fields = {"metrics": {metric: value}, "primary_metric": metric, "evaluation": evaluation, "run": run}
                add_version(registry, **fields)

    return add


def test_what_was_left_out_is_said_in_one_line(run: Any, scored: Any) -> None:
    scored((1.0, SAMPLE), source="sample (synthetic)")
    scored((0.99, FULL), metric="eval/pearson")
    scored((1.0, FEW), (0.5, OTHER), (0.4, None), (0.8268, FULL), (0.8, FULL))
    shown = run("show", "sst2@best")
    assert shown.lines[0].split() == ["version", "sst2@6"]
    assert shown.err == (
        "sst2@best is sst2@6, the best of 2 scored by eval/accuracy on its 872 rows; not compared: sst2@5 (unknown "
        "rows), sst2@4 (other 872 rows), sst2@3 (3 rows), sst2@2 (eval/pearson), sst2@1 (300 rows of sample "
        "(synthetic)); sst2@best@N takes the rows of version N, sst2@best@any takes all\n"
    )
    assert "scored on 872 rows, ffffffffffff" in shown.lines
    other = run("show", "sst2@best@3", "--json")
    assert other.json["ref"] == "sst2@3"
    assert other.json["evaluation"] == {"fingerprint": FEW.fingerprint, "rows": 3}
    assert "sst2@best@3 is sst2@3, the only one scored by eval/accuracy on its 3 rows" in other.err
    assert "and 1 more; sst2@best@N" in other.err
    everything = run("show", "sst2@best@any", "--json")
    assert (everything.json["ref"], everything.err) == ("sst2@3", "")
    scored((0.3, FEW), (0.2, FEW))
    assert "sst2@best is sst2@3, the best of 3 scored" in run("show", "sst2@best").err


def test_commands_that_take_a_ref_say_it(run: Any, scored: Any, tmp_path: Path) -> None:
    scored((1.0, FEW), (0.5, FULL))
    said = "sst2@best is sst2@2, the only one scored by eval/accuracy on its 872 rows; not compared: sst2@1 (3 rows); "
    for arguments in (
        ("alias", "sst2@best", "chosen"),
        ("export", "sst2@best", tmp_path / "files"),
        ("export", "sst2@best", tmp_path / "sst2.tar"),
    ):
        result = run(*arguments)
        assert (result.code, said in result.err) == (0, True), result.err
    assert run("show", "sst2@chosen", "--json").json["ref"] == "sst2@2"


def test_nothing_is_said_where_nothing_was_left_out(run: Any, scored: Any) -> None:
    scored((0.5, FULL), (0.4, FULL))
    assert run("show", "sst2@best").err == ""


def test_an_unknown_version_to_be_scored_as(run: Any, scored: Any) -> None:
    scored((0.5, FULL))
    run("show", "sst2@best@7").refused("unknown version 'sst2@7'")
    run("show", "sst2@3@best").refused("a second '@' follows 'best' only, and names a version or 'any'")


def test_a_list_by_score_says_which_compare(run: Any, scored: Any) -> None:
    scored((1.0, FEW), (0.9, OTHER), (0.7, FULL), (0.8, FULL))
    listed = run("list", "sst2", "--sort", "score")
    assert listed.lines[0].split()[4:7] == ["metric", "score", "rows"]
    found = [(line.split()[0], *line.split()[5:8][: 3 if "(" in line else 2]) for line in listed.lines[2:]]
    assert found == [
        ("sst2@4", "0.8000", "872", "(ffffff)"),
        ("sst2@3", "0.7000", "872", "(ffffff)"),
        ("sst2@2", "0.9000", "872", "(000000)"),
        ("sst2@1", "1.0000", "3"),
    ]
    assert listed.err == "scores can be compared where the metric and the rows are the same\n"
    assert "rows" in run("list", "sst2", "--sort", "eval/accuracy").lines[0].split()
    assert "rows" not in run("list", "sst2").lines[0].split()
    table = run("list", "sst2", "--sort", "score", "--csv").lines
    assert table[0].endswith(",rows,evaluation")
    assert table[-1].endswith(f",3,{FEW.fingerprint}")


def test_a_comparison_says_which_scores_do_not_compare(run: Any, scored: Any) -> None:
    scored((1.0, FEW), (0.9, OTHER), (0.7, FULL), (0.8, FULL), (0.6, None))
    compared = run("compare", "sst2@3", "sst2@4", "sst2@2", "sst2@1", "sst2@5", "--diff")
    assert compared.err == (
        "scored on other rows than sst2@3: sst2@2 (872 rows), sst2@1 (3 rows), sst2@5 (unknown rows); their scores "
        "cannot be compared with its\n"
    )
    assert ["scored", "on.rows", "872", "872", "872", "3", "-"] in [line.split() for line in compared.lines]
    assert run("compare", "sst2@3", "sst2@4").err == ""


def test_a_comparison_says_nothing_of_what_has_no_score(
    run: Any, scored: Any, home: Path, add_version: Callable[..., Version]
) -> None:
    with Registry(home) as registry:
        add_version(registry, "none")
    scored((0.7, FULL), (0.8, FULL), (0.6, FEW))
    assert run("compare", "none", "sst2@1", "sst2@2").err == ""
    compared = run("compare", "none", "sst2@1", "sst2@3", "--diff")
    assert compared.err == (
        "scored on other rows than sst2@1: sst2@3 (3 rows); their scores cannot be compared with its\n"
    )


def test_a_submission_prefers_what_learned_glue(scored: Any, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored((0.6, FULL), (0.7, FULL))
    scored((1.0, SAMPLE), source="sample (synthetic)")
    with Registry(home) as registry:
        assert [version.ref for version in _best(registry, synthetic=False)] == ["sst2@2"]
        assert capsys.readouterr().err.startswith("sst2@best@2 is sst2@2, the best of 2 scored by eval/accuracy")
        assert [version.ref for version in _best(registry, synthetic=True)] == ["sst2@3"]


class Overtaken(Registry):
    """A registry to which a better version is added right after each look-up of the best one."""

    def best(self, ref: str | Ref, *, limit: int = 5) -> Best:
        found = super().best(ref, limit=limit)
        score = found.version.score
        assert score is not None
        self.add_version(
            found.version.name,
            files={"adapter.safetensors": b"%f" % score},
            task=found.version.task,
            method=found.version.method,
            config={},
            base=found.version.base,
            max_length=128,
            parameters=1,
            metrics={"eval/accuracy": score + 0.01},
            primary_metric="eval/accuracy",
        )
        return found


def test_a_ref_is_looked_up_once(home: Path, add_version: Callable[..., Version]) -> None:
    """Twice, what is said of the best version and what is used would be two."""
    with Overtaken(home) as registry:
        add_version(
            registry,
            task=GLUE["sst2"].to_dict(),
            metrics={"eval/accuracy": 0.5},
            primary_metric="eval/accuracy",
        )
        assert str(pinned(registry, "average(sst2@best, sst2@1, sst2@best)")) == "average(sst2@1, sst2@1, sst2@1)"
        assert list(_resolve(registry, "sst2@best").versions) == ["sst2@2"]
        assert registry.version("sst2@best").ref == "sst2@3"
