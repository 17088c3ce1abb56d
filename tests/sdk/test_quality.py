"""A real pretrained base learns real tasks: the numbers that people judge by."""

from pathlib import Path

import pytest

from pointsman.registry import Registry
from pointsman.sdk import Switcher, evaluate, train

pytestmark = [pytest.mark.slow, pytest.mark.quality]

GLUE_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "glue"


@pytest.mark.skipif(not GLUE_DATA.is_dir(), reason="no real GLUE data in ../shared/glue")
def test_minilm_learns_real_glue(registry: Registry) -> None:
    """A twenty-seventh of SST-2, all of which teach 0.87 and more; the other layout says the same."""
    version = train("sst2", base="minilm", data=GLUE_DATA / "hub", registry=registry, epochs=1, max_train_rows=2500)
    assert version.score is not None
    assert version.score >= 0.78
    with Switcher("minilm", registry=registry) as switcher:
        assert evaluate(switcher, "sst2", data=GLUE_DATA / "official")["accuracy"] == version.score
