"""The guard of bases: what a directory may say, checked before any library reads it.

transformers 4.57 hands fields of a ``config.json`` on to other repositories, kernels and code. So the file is parsed
here as JSON, and the library gets the object that was checked. ``SECURITY.md`` says what is promised.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pointsman.registry.errors import BaseNotFoundError, UnusableBaseError, unknown

from .architecture import FIELDS, architecture
from .field_rules import check_fields
from .former import NOT_ENCODED
from .plain_files import MEGABYTE, plain_file, read_object
from .weight_files import check_weights

VOCABULARIES: Final = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
)
"""The files that have a vocabulary; a tokenizer has one of them."""

TOKENIZER_FILES: Final = (
    *VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""The files that a tokenizer of a supported architecture is read from."""

NOT_READ: Final = ("adapter_config.json", "chat_template.jinja", "additional_chat_templates")
"""Names that a base must not have: with the first, PEFT loads other weights; the others are for generation."""

_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("auto_map", "trust_remote_code", "custom_pipelines", "code_revision", "_auto_class"), "code"),
    **dict.fromkeys(("use_kernels", "kernel_config", "kernels", "_use_kernels"), "a kernel"),
    **dict.fromkeys(
        (
            "attn_implementation",
            "_attn_implementation",
            "_attn_implementation_internal",
            "attn_implementation_internal",
            "experts_implementation",
            "_experts_implementation",
        ),
        "an implementation of attention",
    ),
    **dict.fromkeys(
        ("quantization_config", "compression_config", "load_in_8bit", "load_in_4bit", "quantization"), "a quantiser"
    ),
    **dict.fromkeys(
        (
            "transformers_weights",
            "gguf_file",
            "base_model_name_or_path",
            "subfolder",
            "variant",
            "backbone",
            "use_timm_backbone",
            "use_pretrained_backbone",
            "_commit_hash",
        ),
        "other weights",
    ),
}
"""By field: what it would choose. None of them describes an encoder, at any depth of a ``config.json``."""

_LEFT_OUT: Final = NOT_ENCODED | {
    "_attn_implementation_autoset",
    "adapter_fusion",
    "adapter_fusion_models",
    "name_or_path",
    "num_labels",
}
"""Fields about where a base was saved, about heads and about adapters: the library does not get them."""

_REFUSED_FOR_TOKENIZERS: Final = frozenset(
    {
        "auto_map",
        "trust_remote_code",
        "from_slow",
        "gguf_file",
        "init_inputs",
        "slow_tokenizer",
        "tokenizer_object",
        "tokenizer_type",
    }
)

_UNUSED_FILE: Final = "special_tokens_map_file"
"""A field that old releases wrote; the library reads no file by it."""


class GuardedBase:
    """A base's directory that passed the guard.

    Args:
        directory: The directory.
        name: The base's name, for messages.
        weights: Check the files of the weights, too.

    Raises:
        BaseNotFoundError: It has no ``config.json``.
        UnusableBaseError: It names code, other files or what is not supported; the message names the file or field.

    Examples:
        >>> GuardedBase(Path("my-bert"), name="my-bert").model_type
        'bert'
    """

    def __init__(self, directory: Path, *, name: str, weights: bool = True) -> None:
        self.directory = directory.resolve()
        self.name = name
        refuse = self.refuse
        for file in NOT_READ:
            if (directory / file).exists() or (directory / file).is_symlink():
                hint = " (an adapter is not a base)" if file == "adapter_config.json" else ""
                raise refuse(f"its directory has '{file}', which no base may have{hint}: remove it from a copy")
        config = read_object(directory, "config.json", MEGABYTE, refuse)
        if config is None:
            raise BaseNotFoundError(f"the directory '{name}' has no model: config.json not found")
        kept = {field: value for field, value in config.items() if field not in _LEFT_OUT}
        for field, found in _named(kept):
            if field in _REFUSED and found is not None:
                raise refuse(f"the field '{field}' of config.json would choose {_REFUSED[field]}: no base may name it")
        kept = {field: value for field, value in kept.items() if field not in _REFUSED}  # those that are null
        model_type = kept.pop("model_type", None)
        if not isinstance(model_type, str) or model_type not in FIELDS:
            raise self._unsupported(model_type)
        check_fields(model_type, kept, refuse)
        self.model_type: str = model_type
        self.fields: Mapping[str, Any] = kept
        """``config.json`` without its model type and without what says nothing of the encoder."""
        self.tokenizer_fields = self._check_tokenizer()
        if weights:
            check_weights(self.directory, model_type, kept, refuse)

    @property
    def vocabulary_size(self) -> int:
        """The rows of its embedding."""
        return int(architecture(self.model_type, self.fields)["vocab_size"])

    def refuse(self, reason: str) -> UnusableBaseError:
        """The error that refuses this base."""
        return UnusableBaseError(f"the base '{self.name}' cannot be used: {reason}")

    def _unsupported(self, model_type: object) -> UnusableBaseError:
        if not isinstance(model_type, str):
            return self.refuse(f"config.json must name its architecture in 'model_type'; known: {', '.join(FIELDS)}")
        cause = unknown(UnusableBaseError, "architecture", model_type, FIELDS)
        return self.refuse(f"its config.json names an {cause} (field 'model_type')")

    def _check_tokenizer(self) -> Mapping[str, Any]:
        """The fields of ``tokenizer_config.json``; checks all files of the tokenizer."""
        for file in TOKENIZER_FILES:
            plain_file(self.directory, file, 128 * MEGABYTE, self.refuse)
        for file in ("special_tokens_map.json", "added_tokens.json"):
            read_object(self.directory, file, 16 * MEGABYTE, self.refuse)
        fields = read_object(self.directory, "tokenizer_config.json", 16 * MEGABYTE, self.refuse) or {}
        for field, value in fields.items():
            other_file = field.endswith(("_file", "_files")) and field != _UNUSED_FILE
            if value not in (None, [], False) and (
                field in _REFUSED_FOR_TOKENIZERS or field.startswith("_") or other_file
            ):
                raise self.refuse(f"the field '{field}' of tokenizer_config.json would choose other files or code")
        return fields


def _named(value: object) -> Iterator[tuple[str, object]]:
    """Every field at any depth, and its value."""
    if isinstance(value, dict):
        yield from value.items()
        for child in value.values():
            yield from _named(child)
    elif isinstance(value, list):
        for child in value:
            yield from _named(child)
