"""A server under load while its registry changes, at a size that fits here; ``make soak`` has the whole size."""

from pathlib import Path

import pytest

from soak import soak


@pytest.mark.slow
def test_every_answer_is_right_while_aliases_move_and_versions_come_and_go(tmp_path: Path) -> None:
    outcome = soak(tmp_path, clients=16, adapters=12, capacity=5, calls=600)
    assert outcome.wrong == []
    assert outcome.crossed == []
    assert outcome.unanswered == []
    assert outcome.answers >= 500
    assert min(outcome.hung_up, outcome.moved, outcome.arrived) >= 3
    assert outcome.waiting == 0
    assert outcome.exit_code == 0
