"""Load the tokenizer of a base, and compute what identifies it."""

import hashlib
import json
from itertools import groupby
from typing import Any, Final

from transformers import PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

from pointsman.registry.errors import UnusableBaseError

from ..core.arguments import short_repr
from .architecture import FIELDS
from .guard import GuardedBase

_SCHEME: Final = "pointsman tokenizer 1"
"""Stands at the head of what is hashed; a change to it, or to ``_identity``, orphans every version."""

_GENERAL: Final = ("PreTrainedTokenizer", "TokenizersBackend")
"""Names of the class that reads any ``tokenizer.json``; the second is that of transformers 5."""

_TEXT_NUMBERS: Final = "token_type_ids"
_TYPES: Final = "type_vocab_size"

_PROBE: Final = ("a Film, and 2 more!", "naïve — 映画 \U0001f600")
"""Texts that every tokenizer must be able to read."""


def load_tokenizer(base: GuardedBase) -> PreTrainedTokenizerFast:
    """Load the tokenizer from a base's files; only fast ones, which run no code of Python's.

    Raises:
        UnusableBaseError: There is none, it is damaged, or it gives ids that the base has no embedding for.
    """
    kind = _class_of(base)
    try:
        tokenizer: PreTrainedTokenizerFast = kind.from_pretrained(
            base.directory, local_files_only=True, trust_remote_code=False
        )
        if not _tells_texts_apart(base):
            names = [name for name in tokenizer.model_input_names if name != _TEXT_NUMBERS]
            tokenizer.model_input_names = names
        _check_ids(base, tokenizer)
        tokenizer(*_PROBE, truncation=True, max_length=16, padding="max_length")
    except UnusableBaseError:
        raise
    except BaseException as error:  # the library raises anything for a damaged file, and Rust's panics are no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        files = [file for file in ("tokenizer.json", "vocab.txt") if (base.directory / file).exists()]
        raise base.refuse(
            f"it has no tokenizer that can be loaded from {' or '.join(files) or 'tokenizer.json'} and "
            f"tokenizer_config.json ({lines[0][:200]}): save it beside the weights with "
            "tokenizer.save_pretrained(DIRECTORY)"
        ) from error
    return tokenizer


def _class_of(base: GuardedBase) -> Any:
    """The class that reads the tokenizer: the one its files name, else the architecture's."""
    named = base.tokenizer_fields.get("tokenizer_class") or base.fields.get("tokenizer_class")
    if named is None:
        named = next(name for name in TOKENIZER_MAPPING_NAMES[base.model_type] if name is not None)
    if not isinstance(named, str):
        raise base.refuse(f"the field 'tokenizer_class' must be a name; found {short_repr(named)}")
    plain = named.removesuffix("Fast")
    kind = PreTrainedTokenizerFast if plain in _GENERAL else tokenizer_class_from_name(f"{plain}Fast")
    if not (isinstance(kind, type) and issubclass(kind, PreTrainedTokenizerFast)):
        raise base.refuse(
            f"its tokenizer is of the class {named[:80]!a} (field 'tokenizer_class'), and only fast tokenizers are "
            "read: save it as a tokenizer.json"
        )
    return kind


def _tells_texts_apart(base: GuardedBase) -> bool:
    """Whether the base reads the number of each token's text; the general class of tokenizers gives it to any."""
    fields = FIELDS.get(base.model_type)
    default = 2 if fields is None else fields.get(_TYPES, 0)
    return int(base.fields.get(_TYPES, default)) > 1


def _check_ids(base: GuardedBase, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse a tokenizer that does not fit the base's embedding, or cannot pad."""
    size = base.vocabulary_size
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if highest >= size:
        raise base.refuse(
            f"its tokenizer (tokenizer.json, tokenizer_config.json) has ids up to {highest:,}, that of {token[:40]!a}, "
            f"and its embedding has {size:,} rows ('vocab_size' of config.json): save the tokenizer that the weights "
            "were trained with"
        )
    if tokenizer.pad_token_id is None:
        raise base.refuse("its tokenizer has no padding token ('pad_token' of tokenizer_config.json)")
    length = tokenizer.model_max_length
    if type(length) not in (int, float) or not length >= 1:
        raise base.refuse(
            f"the field 'model_max_length' of tokenizer_config.json must be a number from 1; found {short_repr(length)}"
        )
    ids = [number for text in _PROBE for number in tokenizer(text, text)["input_ids"]]
    if not ids or not all(0 <= number < size for number in ids):
        raise base.refuse(f"its tokenizer gives ids outside of its embedding's {size:,} rows")


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """The sha256 of what determines the ids of a text.

    These are the vocabulary, merges, normaliser, pre-tokeniser, added and special tokens, what stands around and
    between texts, and the sides that are padded and cut. How a release writes the same to files is no part of it.

    Args:
        tokenizer: A fast tokenizer.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(
        f"{_SCHEME}\n{json.dumps(_identity(tokenizer), sort_keys=True, separators=(',', ':'))}".encode()
    ).hexdigest()


def _identity(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    tokenizer.backend_tokenizer.no_truncation()  # every call sets both again
    tokenizer.backend_tokenizer.no_padding()
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    added = [
        {key: token[key] for key in ("id", "content", "single_word", "lstrip", "rstrip", "normalized")}
        for token in whole["added_tokens"]
    ]
    if whole["model"].get("type") == "BPE":  # no prefix is written as either
        for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
            whole["model"][affix] = whole["model"].get(affix) or None
    return {
        "model": whole["model"],
        "normalizer": whole["normalizer"],
        "pre_tokenizer": whole["pre_tokenizer"],
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        # As ids around texts: several classes of post-processors put the same around them.
        "single": _around(tokenizer, _PROBE[0]),
        "pair": _around(tokenizer, *_PROBE),
        "padding": [tokenizer.pad_token_id, tokenizer.padding_side],
        "truncation_side": tokenizer.truncation_side,
    }


def _around(tokenizer: PreTrainedTokenizerFast, *texts: str) -> list[list[Any]]:
    """What stands around texts: each special token's id and type, and each text's type."""
    backend = tokenizer.backend_tokenizer
    encoded = [backend.encode(text, add_special_tokens=False) for text in texts]
    whole = backend.post_process(*encoded)
    pieces: list[list[Any]] = [
        ["token", token, kind] if special else ["text", kind]
        for token, kind, special in zip(whole.ids, whole.type_ids, whole.special_tokens_mask, strict=True)
    ]
    # A text is one piece, however many tokens it has.
    return [piece for piece, run in groupby(pieces) for piece in ([piece] if piece[0] == "text" else run)]
