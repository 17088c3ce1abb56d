"""A forward context belongs to one forward pass of one thread."""

import threading

import pytest
import torch

from pointsman.sdk.patches.forward_context import ForwardContext, SharedLayers, current_context, forward_context


def test_it_is_the_thread_s_own() -> None:
    seen: list[ForwardContext | None] = []
    mine = ForwardContext(dropped=1, slots={"slot000000": 3})
    with forward_context(mine):
        assert current_context() is mine
        thread = threading.Thread(target=lambda: seen.append(current_context()))
        thread.start()
        thread.join()
        with forward_context(ForwardContext()) as _:
            assert current_context() is not mine
        assert current_context() is mine
    assert current_context() is None
    assert seen == [None]


def test_it_ends_with_the_block_also_by_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), forward_context(ForwardContext()):
        raise KeyboardInterrupt
    assert current_context() is None


def test_adapters_are_skipped_in_the_lowest_layers_and_not_at_the_embeddings() -> None:
    context = ForwardContext(dropped=2)
    skipped = []
    for layer in range(4):
        context.layer = layer
        skipped.append(context.skips_adapters)
    assert skipped == [False, True, True, False]


def test_texts_become_rows() -> None:
    states = torch.arange(6.0).view(3, 2)
    context = ForwardContext(text_of_row=torch.tensor([0, 0, 2, 1, 2]), texts=3, sharing=SharedLayers(layers=1))
    assert torch.equal(context.by_row(states), states[[0, 0, 2, 1, 2]])
    by_row = torch.zeros(5, 2)
    assert context.by_row(by_row) is by_row
    assert ForwardContext().by_row(states) is states
