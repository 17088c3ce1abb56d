"""Scores are the same whichever engine computes them."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from pointsman.sdk.bases.load import load_base
from pointsman.sdk.data import load_task_data
from pointsman.sdk.data.tokens import tokenise
from pointsman.sdk.engines.encoder import Encoder
from pointsman.sdk.engines.scoring import Scorer
from pointsman.sdk.engines.slots import add_head, add_slot, slot_name
from pointsman.sdk.methods.configure import configure
from pointsman.sdk.tasks import GLUE

from helpers import scramble

SLOT = slot_name(0)


@pytest.mark.parametrize("base", ["bert", "distilbert"])
@pytest.mark.parametrize("method", ["seq_bn", "double_seq_bn_inv", "par_bn", "lora", "ia3", "compacter"])
def test_both_engines_give_the_same_scores(
    bases: dict[str, Path], base: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, data = GLUE["sst2"], load_task_data("sst2", "sample")
    loaded = load_base(str(bases[base]))
    add_slot(loaded.model, SLOT, configure(method))
    add_head(loaded.model, SLOT, labels=task.labels)
    torch.manual_seed(0)
    scramble(loaded.model, SLOT)
    loaded.model.train_adapter(SLOT)  # it is active in a model in training
    rows = data.splits["validation"].head(100)
    tokens = tokenise(loaded.tokenizer, rows.texts(), max_length=32)
    batches = 0
    compute: Callable[..., Any] = Encoder.__call__

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal batches
        batches += 1
        return compute(*arguments, **options)

    monkeypatch.setattr(Encoder, "__call__", counted)
    scores = []
    for written_out in (False, True):
        scorer = Scorer(
            loaded.model,
            SLOT,
            task,
            {"eval": (rows, tokens)},
            exact_lengths=False,
            exactly=nullcontext,
            written_out=written_out,
        )
        scores.append(scorer.scores())
        assert bool(batches) is written_out
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)
    assert loaded.model.training
