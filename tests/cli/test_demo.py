"""The demo is the first thing that people run: it does what it says, at the quality it promises."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.registry import Registry, RunStatus


@pytest.mark.slow
@pytest.mark.quality
def test_the_demo_trains_lists_draws_and_switches(home: Path, start: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = start("--home", home, "demo")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert "Traceback" not in out + err
    with Registry(home) as registry:
        versions = {version.ref: version for version in registry.versions()}
        assert set(versions) == {"reviews@1", "cola@1", "mrpc@1"}
        assert {run.status for run in registry.runs()} == {RunStatus.FINISHED}
        for ref, floor in (("reviews@1", 0.80), ("mrpc@1", 0.85)):
            score = versions[ref].score
            assert score is not None
            assert score >= floor
    single, mixed = out.split("One mixed batch")
    answers = re.findall(r"^(?:reviews|cola|mrpc) .*$", mixed, re.MULTILINE)
    assert len(answers) == 6
    assert all(f"{answer}\n" in single for answer in answers)
    labels = [answer.split()[:2] for answer in answers if not answer.startswith("cola")]
    assert labels == [
        ["reviews", "positive"],
        ["mrpc", "equivalent"],
        ["reviews", "negative"],
        ["mrpc", "not_equivalent"],
    ]
    assert re.search(r"a switch took \d+ µs", single)
    assert "train/loss" in single
    for version in versions.values():
        assert version.parameters / version.base.parameters < 0.012
        assert version.size / version.base.size < 0.012
        assert f"{100 * version.parameters / version.base.parameters:.2f} %" in single
