"""Tokenised rows: packed without padding, and cached on disk."""

import hashlib
import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from pointsman.registry.storage.files import write_atomically

from .batches import round_length

CHUNK: Final = 4096
"""Rows that are tokenised in one call."""

_LONG_CHUNK: Final = 64
"""Rows that are tokenised whole in one call: they may be books."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenRows:
    """Tokenised rows, one after another in flat arrays without padding.

    Examples:
        >>> rows = tokenise(tokenizer, [("a gripping film",), ("two dull hours",)], max_length=128)
        >>> rows.batch([0, 1])["input_ids"].shape
        torch.Size([2, 5])
    """

    ids: torch.Tensor
    """``(tokens,)``, int32."""
    segments: torch.Tensor | None
    """``(tokens,)``, uint8: the text of a pair that a token belongs to; None where the base does not read it."""
    offsets: torch.Tensor
    """``(rows + 1,)``, int64: row ``i`` is ``ids[offsets[i]:offsets[i + 1]]``."""
    pad_id: int
    """The token id of padding."""
    padding_side: str
    """``left`` or ``right``."""
    whole: np.ndarray[Any, np.dtype[np.int64]] | None = None
    """``(rows,)``: the tokens that each row had before it was cut; None where they were not counted."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Tokens of each row, ``(rows,)``."""
        lengths: np.ndarray[Any, np.dtype[np.int64]] = np.diff(self.offsets.numpy())
        return lengths

    def take(self, rows: Sequence[int]) -> "TokenRows":
        """The rows of these numbers, in this order."""
        bounds = [(int(self.offsets[row]), int(self.offsets[row + 1])) for row in rows]
        return replace(
            self,
            ids=torch.cat([self.ids[slice(*bound)] for bound in bounds]),
            segments=None
            if self.segments is None
            else torch.cat([self.segments[start:stop] for start, stop in bounds]),
            offsets=torch.tensor([0, *itertools.accumulate(stop - start for start, stop in bounds)]),
            whole=None if self.whole is None else self.whole[list(rows)],
        )

    def batch(self, rows: Sequence[int], *, rounded_to: int | None = None) -> dict[str, torch.Tensor]:
        """Model inputs for some rows, ``(len(rows), tokens)`` each, padded to the longest of them.

        Args:
            rows: The numbers of the rows.
            rounded_to: Pad to one of few lengths, see ``round_length``, and at most to this one.

        Returns:
            ``input_ids``, ``attention_mask`` and, where the base reads them, ``token_type_ids``; int64.
        """
        if len(rows) == 1 and rounded_to is None:
            return self._alone(rows[0])
        chosen = torch.as_tensor(rows)
        starts, stops = self.offsets[chosen, None], self.offsets[chosen + 1, None]
        lengths = stops - starts
        longest = int(lengths.max())
        if rounded_to is not None:
            longest = min(round_length(longest), max(longest, rounded_to))
        columns = torch.arange(longest)
        if self.padding_side == "left":
            places, is_token = stops - longest + columns, columns >= longest - lengths
        else:
            places, is_token = starts + columns, columns < lengths
        places[~is_token] = 0
        inputs = {
            "input_ids": self.ids[places].long().masked_fill_(~is_token, self.pad_id),
            "attention_mask": is_token.long(),
        }
        if self.segments is not None:
            inputs["token_type_ids"] = self.segments[places].long().masked_fill_(~is_token, 0)
        return inputs

    def _alone(self, row: int) -> dict[str, torch.Tensor]:
        """Model inputs for one row, without padding: one sentence at a time is most of what a service answers."""
        start, stop = self.offsets[row : row + 2].tolist()
        ids = self.ids[None, start:stop].long()
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self.segments is not None:
            inputs["token_type_ids"] = self.segments[None, start:stop].long()
        return inputs


def joined(parts: Sequence[TokenRows]) -> TokenRows:
    """Concatenate rows of the same tokenizer."""
    segments = [part.segments for part in parts if part.segments is not None]
    lengths = np.concatenate([part.lengths for part in parts])
    return replace(
        parts[0],
        ids=torch.cat([part.ids for part in parts]),
        segments=torch.cat(segments) if segments else None,
        offsets=torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int64)),
        whole=None,
    )


def tokenise(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[tuple[str, ...]],
    *,
    max_length: int,
    cache: Path | None = None,
    count_whole: bool = False,
) -> TokenRows:
    """Tokenise rows of one text or two, each cut to ``max_length`` tokens (of a pair, the longer text is cut).

    Args:
        tokenizer: The base's.
        rows: All with one text, or all with two.
        max_length: Tokens, special ones included.
        cache: A directory of results, by the content of rows and tokenizer; None: no cache.
        count_whole: Also count the tokens before the cut, which tokenises the rows that may be cut a second time.
    """
    kind = "whole." if count_whole else ""
    path = None if cache is None else cache / f"{_key(tokenizer, rows, max_length)}.{kind}safetensors"
    tensors = _read_cached(path)
    if tensors is None:
        tensors = _tokenise(tokenizer, rows, max_length)
        if count_whole:
            tensors["whole"] = _whole_lengths(tokenizer, rows, tensors["offsets"].diff(), max_length)
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, [safetensors.torch.save(tensors)])
            except OSError as error:
                _log.warning("tokens cannot be cached in %s (%s): the next training tokenises again", cache, error)
    return TokenRows(
        ids=tensors["ids"],
        segments=tensors.get("segments"),
        offsets=tensors["offsets"],
        pad_id=int(tokenizer.pad_token_id or 0),
        padding_side=str(tokenizer.padding_side),
        whole=tensors["whole"].numpy() if count_whole else None,
    )


def _whole_lengths(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[tuple[str, ...]], lengths: torch.Tensor, max_length: int
) -> torch.Tensor:
    """The tokens of each row without a limit, ``(rows,)`` in int64."""
    whole = lengths.clone()
    longest = torch.nonzero(lengths >= max_length)[:, 0].tolist()
    for start in range(0, len(longest), _LONG_CHUNK):
        numbers = longest[start : start + _LONG_CHUNK]
        columns = [list(column) for column in zip(*(rows[number] for number in numbers), strict=True)]
        encoded = tokenizer(
            *columns,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # no warning of what the base could not read
        )
        whole[numbers] = torch.tensor([len(row) for row in encoded["input_ids"]])
    return whole


def _tokenise(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[tuple[str, ...]], max_length: int
) -> dict[str, torch.Tensor]:
    ids: list[np.ndarray[Any, Any]] = []
    segments: list[np.ndarray[Any, Any]] = []
    lengths: list[int] = []
    for start in range(0, len(rows), CHUNK):
        columns = [list(column) for column in zip(*rows[start : start + CHUNK], strict=True)]
        encoded = tokenizer(*columns, truncation=True, max_length=max_length, return_attention_mask=False)
        lengths += [len(row) for row in encoded["input_ids"]]
        ids.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in encoded["input_ids"]]))
        if "token_type_ids" in encoded:
            segments.append(np.concatenate([np.asarray(row, dtype=np.uint8) for row in encoded["token_type_ids"]]))
    tensors = {
        "ids": torch.from_numpy(np.concatenate(ids)),
        "offsets": torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int64)),
    }
    if segments:
        tensors["segments"] = torch.from_numpy(np.concatenate(segments))
    return tensors


def _read_cached(path: Path | None) -> dict[str, torch.Tensor] | None:
    if path is None:
        return None
    try:
        return safetensors.torch.load(path.read_bytes())
    except OSError:
        return None  # not cached, or deleted a moment ago
    except SafetensorError as error:
        _log.warning("cached tokens %s are damaged (%s): tokenising again", path.name, error)
        return None


def _key(tokenizer: PreTrainedTokenizerBase, rows: Sequence[tuple[str, ...]], max_length: int) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    # A fast tokenizer as JSON, without the fields that a call with truncation sets in it.
    description = json.loads(backend.to_str()) if backend is not None else {"vocabulary": tokenizer.get_vocab()}
    description.pop("truncation", None)
    description.pop("padding", None)
    # The JSON does not have which outputs the base reads, nor which end is cut.
    inputs = [description, max_length, tokenizer.model_input_names, tokenizer.truncation_side]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
