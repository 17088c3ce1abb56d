"""Tokens: packed, cached, cut into batches of like length, and padded only to the longest beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pointsman.registry.errors import SettingsError
from pointsman.sdk.bases.load import LoadedBase
from pointsman.sdk.data.batches import LengthBuckets, cut, round_length
from pointsman.sdk.data.lengths import choose_max_length
from pointsman.sdk.data.tokens import tokenise

from helpers import PAIRS, TEXTS

ROWS = [(text,) for text in TEXTS]
lengths_of_rows = st.lists(st.integers(1, 40), min_size=1, max_size=200).map(np.array)


def test_batches_are_the_tokenizers_own(loaded: LoadedBase) -> None:
    for rows, columns in [(ROWS, [TEXTS]), (PAIRS, [list(column) for column in zip(*PAIRS, strict=True)])]:
        tokens = tokenise(loaded.tokenizer, rows, max_length=12)
        expected = loaded.tokenizer(*columns, padding=True, truncation=True, max_length=12, return_tensors="pt")
        batch = tokens.batch(range(len(rows)))
        assert set(batch) == set(expected) == {"input_ids", "attention_mask", "token_type_ids"}
        for name, tensor in batch.items():
            assert torch.equal(tensor, expected[name])


def test_a_batch_is_no_longer_than_its_longest_row(loaded: LoadedBase) -> None:
    tokens = tokenise(loaded.tokenizer, ROWS, max_length=32)
    for row in range(len(ROWS)):
        assert tokens.batch([row])["input_ids"].shape == (1, tokens.lengths[row])
        assert tokens.batch([row])["attention_mask"].all()


def test_padding_goes_where_the_tokenizer_puts_it(loaded: LoadedBase) -> None:
    loaded.tokenizer.padding_side = "left"
    batch = tokenise(loaded.tokenizer, ROWS, max_length=32).batch(range(len(ROWS)))
    expected = loaded.tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert torch.equal(batch["input_ids"], expected["input_ids"])


def test_the_cache_gives_the_same_tokens_and_survives_damage(loaded: LoadedBase, tmp_path: Path) -> None:
    first = tokenise(loaded.tokenizer, ROWS, max_length=32, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    again = tokenise(loaded.tokenizer, ROWS, max_length=32, cache=tmp_path)
    assert file.stat().st_mtime_ns == before
    file.write_bytes(file.read_bytes()[:-5])
    mended = tokenise(loaded.tokenizer, ROWS, max_length=32, cache=tmp_path)
    for other in (again, mended):
        assert torch.equal(other.ids, first.ids)
        assert torch.equal(other.offsets, first.offsets)
    tokenise(loaded.tokenizer, ROWS, max_length=16, cache=tmp_path)
    tokenise(loaded.tokenizer, ROWS[1:], max_length=32, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@given(lengths=lengths_of_rows, batch=st.integers(1, 20), seed=st.integers(0, 5), exact=st.booleans())
def test_every_epoch_has_every_row_once(lengths: np.ndarray, batch: int, seed: int, exact: bool) -> None:  # type: ignore[type-arg]
    buckets = LengthBuckets(lengths, batch_size=batch, seed=seed, exact_lengths=exact)
    first, second = buckets.epoch(0), buckets.epoch(1)
    for batches in (first, second):
        assert len(batches) == len(buckets)
        assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
        assert max(len(rows) for rows in batches) <= batch
        if exact:
            assert all(len(set(lengths[rows])) == 1 for rows in batches)
    assert first == LengthBuckets(lengths, batch_size=batch, seed=seed, exact_lengths=exact).epoch(0)


def test_buckets_pad_little_and_shuffle_much() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, size=4000)
    buckets = LengthBuckets(lengths, batch_size=32, seed=0)
    first, second = buckets.epoch(0), buckets.epoch(1)
    padded = sum(len(rows) * lengths[rows].max() for rows in first)
    assert padded / lengths.sum() < 1.05
    assert first != second
    assert {tuple(sorted(rows)) for rows in first}.isdisjoint(tuple(sorted(rows)) for rows in second)


@given(lengths=lengths_of_rows, batch=st.integers(1, 20), exact=st.booleans())
def test_cuts_are_whole(lengths: np.ndarray, batch: int, exact: bool) -> None:  # type: ignore[type-arg]
    ordered = np.sort(lengths)
    slices = list(cut(ordered, batch, exact_lengths=exact))
    assert [row for chosen in slices for row in range(len(ordered))[chosen]] == list(range(len(ordered)))


def test_lengths_that_the_base_cannot_take_are_refused(loaded: LoadedBase) -> None:
    assert choose_max_length(None, loaded.tokenizer, loaded.model.config) == 64
    assert choose_max_length(64, loaded.tokenizer, loaded.model.config) == 64
    for length in (7, 65):
        with pytest.raises(SettingsError, match="8 to 64 tokens"):
            choose_max_length(length, loaded.tokenizer, loaded.model.config)


def test_a_text_of_100000_characters_is_cut(loaded: LoadedBase) -> None:
    assert tokenise(loaded.tokenizer, [("film " * 20_000,)], max_length=64).lengths.tolist() == [64]


def test_a_cache_tells_apart_what_two_bases_read(loaded: LoadedBase, tmp_path: Path) -> None:
    """BERT and DistilBERT share a vocabulary; only one of them is told a pair's two texts apart."""
    rows = [("a film", "a story")]
    whole = tokenise(loaded.tokenizer, rows, max_length=32, cache=tmp_path)
    loaded.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    bare = tokenise(loaded.tokenizer, rows, max_length=32, cache=tmp_path)
    assert whole.segments is not None
    assert bare.segments is None


def test_a_cache_that_cannot_be_written_is_done_without(
    loaded: LoadedBase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    found = tokenise(loaded.tokenizer, [("a film",)], max_length=32, cache=tmp_path / "file")
    assert found.lengths.tolist() == [4]
    assert "cannot be cached" in caplog.text


@given(lengths=lengths_of_rows, batch=st.integers(1, 20), exact=st.booleans())
def test_no_batch_is_larger_than_the_largest(lengths: np.ndarray, batch: int, exact: bool) -> None:  # type: ignore[type-arg]
    buckets = LengthBuckets(lengths, batch_size=batch, seed=0, exact_lengths=exact)
    largest = buckets.largest()
    assert not exact or len(set(lengths[largest])) == 1
    most = len(largest) * lengths[largest].max()
    assert all(len(rows) * lengths[rows].max() <= most for epoch in (0, 1) for rows in buckets.epoch(epoch))


@given(st.integers(1, 4096))
def test_few_lengths_are_rounded_to(tokens: int) -> None:
    rounded = round_length(tokens)
    assert tokens <= rounded < tokens * 1.125 + 1
    assert round_length(rounded) == rounded
    assert len({round_length(length) for length in range(1, 129)}) == 40
