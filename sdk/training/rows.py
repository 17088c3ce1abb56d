"""The rows of a split as a training reads them: tokens and labels, and batches of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..data.splits import Split
from ..data.tokens import TokenRows, tokenise
from ..tasks import TargetScale


class Batch(NamedTuple):
    """The rows of one forward pass."""

    inputs: dict[str, Tensor]
    """The model's inputs by name, ``(rows, tokens)`` each."""
    labels: Tensor
    """``(rows,)``, int64 classes or float32 scores."""

    def to(self, device: torch.device) -> "Batch":
        """The same rows on a device."""
        return Batch({name: tensor.to(device) for name, tensor in self.inputs.items()}, self.labels.to(device))


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Tokenised rows with their labels.

    Examples:
        >>> rows = LabelledRows.of(split, tokenizer, max_length=128, cache=None)
        >>> rows.batch([0, 5, 7]).labels
    """

    tokens: TokenRows
    labels: Tensor
    """``(rows,)``, int64 classes or float32 scores, as the head learns them."""
    rounded_to: int | None = None
    """Pad to one of few lengths, at most this one; None: to the longest row of a batch."""

    @classmethod
    def of(
        cls,
        split: Split,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        cache: Path | None,
        rounded_to: int | None = None,
        target_scale: TargetScale | None = None,
    ) -> Self:
        """Tokenise a split.

        Args:
            split: The rows.
            tokenizer: The base's tokenizer.
            max_length: Truncate an input to this many tokens.
            cache: A directory that keeps the tokens for the next training.
            rounded_to: See the field.
            target_scale: Standardises the scores; None: the labels stay as they are.
        """
        tokens = tokenise(tokenizer, split.texts(), max_length=max_length, cache=cache, count_whole=True)
        labels = torch.tensor(split.labels())
        if target_scale is not None:
            labels = target_scale.standardise(labels)
        return cls(tokens=tokens, labels=labels, rounded_to=rounded_to)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The model inputs and labels of the rows with these numbers."""
        return Batch(self.tokens.batch(rows, rounded_to=self.rounded_to), self.labels[rows])
