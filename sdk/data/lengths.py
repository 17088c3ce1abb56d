"""The number of tokens to which inputs are cut."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from pointsman.registry.errors import SettingsError

DEFAULT_LENGTH: Final = 128

HELD: Final = 0.95
"""The share of rows that a length should hold whole."""

SHORTEST: Final = 8
"""Tokens that inputs can be cut to at least."""


def longest_input(tokenizer: PreTrainedTokenizerBase, config: Any) -> int:
    """The most tokens that a base accepts: its positions, or fewer where the tokenizer says so."""
    return int(min(positions(config), tokenizer.model_max_length))


def positions(config: Any) -> int:
    """The positions of a base for tokens: all, less those that RoBERTa-like models reserve for padding."""
    number = int(getattr(config, "max_position_embeddings", 0)) or 512
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "xmod"):
        number -= int(config.pad_token_id) + 1
    return number


def check_stored_length(ref: str, max_length: int, config: Any) -> None:
    """Refuse a version whose inputs would be cut to fewer or more tokens than its base takes.

    Args:
        ref: The version, for the message.
        max_length: The tokens that it cuts inputs to.
        config: The base's configuration, as transformers has it.

    Raises:
        SettingsError: They are.
    """
    limit = positions(config)
    if not SHORTEST <= max_length <= limit:
        raise SettingsError(
            f"max_length of {ref} must be {SHORTEST} to {limit} tokens on this base; found {max_length}"
        )


def choose_max_length(max_length: int | None, tokenizer: PreTrainedTokenizerBase, config: Any) -> int:
    """Check the length to cut inputs to, or choose it.

    Args:
        max_length: In tokens; None: 128, or fewer where the base accepts fewer.
        tokenizer: The base's.
        config: The base's configuration, as transformers has it.

    Raises:
        SettingsError: It is below 8 or above what the base accepts.
    """
    limit = longest_input(tokenizer, config)
    if max_length is None:
        return min(DEFAULT_LENGTH, limit)
    if not SHORTEST <= max_length <= limit:
        raise SettingsError(f"max_length must be {SHORTEST} to {limit} tokens on this base; found {max_length}")
    return max_length


def length_for(lengths: NDArray[np.int64], *, longest: int) -> int:
    """The length, a multiple of 8, that holds ``HELD`` of the rows whole, or what the base takes if that is less.

    Args:
        lengths: The tokens of each row, ``(rows,)``.
        longest: The most tokens that the base takes, as ``longest_input`` gives it.
    """
    needed = int(np.quantile(lengths, HELD, method="higher"))
    return min(-(-needed // 8) * 8, longest)
