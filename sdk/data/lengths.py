"""How many tokens an input is cut to."""

from typing import Any, Final

from transformers import PreTrainedTokenizerBase

from pointsman.registry.errors import SettingsError

DEFAULT_LENGTH: Final = 128


def longest_input(tokenizer: PreTrainedTokenizerBase, config: Any) -> int:
    """The most tokens that a base takes: its positions, less those that RoBERTa-like models keep for padding."""
    positions = int(getattr(config, "max_position_embeddings", 0)) or 512
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "xmod"):
        positions -= int(config.pad_token_id) + 1
    return int(min(positions, tokenizer.model_max_length))


def choose_max_length(max_length: int | None, tokenizer: PreTrainedTokenizerBase, config: Any) -> int:
    """Return ``max_length`` if the base takes so many tokens; for None, 128 or as many as it takes.

    Raises:
        SettingsError: It is under 8 or over the base's positions.
    """
    most = longest_input(tokenizer, config)
    if max_length is None:
        return min(DEFAULT_LENGTH, most)
    if not 8 <= max_length <= most:
        raise SettingsError(f"max_length {max_length} cannot work: this base takes 8 to {most} tokens")
    return max_length
