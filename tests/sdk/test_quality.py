"""A real pretrained base learns real tasks: the numbers that people judge by."""

from pathlib import Path

import pytest

from pointsman.registry import Registry
from pointsman.sdk import Switcher, train

pytestmark = [pytest.mark.slow, pytest.mark.quality]

GLUE_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "glue"


def test_minilm_learns_the_sample_and_switches(registry: Registry) -> None:
    for task, floor in (("sst2", 0.9), ("mrpc", 0.85)):
        version = train(task, base="minilm", data="sample", registry=registry, epochs=1)
        assert version.score is not None
        assert version.score >= floor
        assert version.parameters / version.base.parameters < 0.012
        assert version.size / version.base.size < 0.012
    with Switcher("minilm", registry=registry) as model:
        labels = [
            answer.label
            for answer in model.predict_mixed(
                [
                    ("sst2", "a wonderful film"),
                    ("mrpc", ("The dog slept.", "The bank raised its rates.")),
                    ("sst2", "a terrible film"),
                ]
            )
        ]
    assert labels == ["positive", "not_equivalent", "negative"]


@pytest.mark.skipif(not GLUE_DATA.is_dir(), reason="no real GLUE data in ../shared/glue")
@pytest.mark.parametrize("layout", ["hub", "official"])
def test_minilm_learns_real_glue(layout: str, registry: Registry) -> None:
    """A seventeenth of SST-2, which over the whole epoch reaches 0.87 and more."""
    version = train("sst2", base="minilm", data=GLUE_DATA / layout, registry=registry, epochs=1, max_train_rows=4000)
    assert version.score is not None
    assert version.score >= 0.78
