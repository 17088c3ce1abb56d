"""A tiny random base of each architecture, with the kind of tokenizer that the architecture comes with.

Two layers, hidden size 128, four heads; beside the weights a tokenizer over the words of ``helpers.WORDS``, whose
special tokens have the numbers that they have in the real checkpoints. What an architecture is known for is there:
RoBERTa's offset positions, ALBERT's and ELECTRA's smaller embeddings, DeBERTa's disentangled attention as of version 3,
ModernBERT's sliding window.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import WORDS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LENGTH = 64
_LETTERS = list("abcdefghijklmnopqrstuvwxyz0123456789.,?!'\"-")
_SIZES = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 192}
# Weights as small as the real ones' beginnings make every output of two layers look the same.
_SPREAD = {"initializer_range": 0.1}


def _bert_like(directory: Path, *, kind: str) -> dict[str, int]:
    """A WordPiece tokenizer of that class, and what the configuration has to say of it."""
    import transformers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = list(dict.fromkeys([*special, *WORDS, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]))
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = getattr(transformers, kind)(vocab_file=str(directory / "vocab.txt"), model_max_length=_LENGTH)
    tokenizer.save_pretrained(directory)
    return {"vocab_size": len(vocabulary), "pad_token_id": 0}


def _unigram(special: list[str], *, unknown: str, first: str, last: str, second: str) -> "Tokenizer":
    """SentencePiece's unigram model: ALBERT, XLM-R, DeBERTa; ``second`` is what stands between a pair's texts."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = list(dict.fromkeys([*(f"▁{word}" for word in WORDS), "▁", *_LETTERS]))
    scored = [(piece, 0.0) for piece in special] + [(piece, -float(len(piece) < 3) - 1) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=special.index(unknown)))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {second} $B:1 {last}:1",
        special_tokens=[(token, special.index(token)) for token in {first, last, *second.split()}],
    )
    return tokenizer


def _byte_bpe(special: list[str]) -> "Tokenizer":
    """Byte-level BPE that knows every word of ours: RoBERTa, ModernBERT."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = dict.fromkeys((f"Ġ{word}"[:end], f"Ġ{word}"[end]) for word in WORDS for end in range(1, len(word) + 1))
    pieces = list(dict.fromkeys([*special, *alphabet, *("".join(pair) for pair in merges)]))
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _bert(directory: Path) -> Any:
    from transformers import BertConfig, BertForMaskedLM

    about = _bert_like(directory, kind="BertTokenizerFast")
    return BertForMaskedLM(BertConfig(**_SIZES, **_SPREAD, **about, max_position_embeddings=_LENGTH))


def _distilbert(directory: Path) -> Any:
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    about = _bert_like(directory, kind="DistilBertTokenizerFast")
    config = DistilBertConfig(
        dim=128, n_layers=2, n_heads=4, hidden_dim=192, **_SPREAD, **about, max_position_embeddings=_LENGTH
    )
    return DistilBertForMaskedLM(config)


def _electra(directory: Path) -> Any:
    from transformers import ElectraConfig, ElectraForPreTraining

    about = _bert_like(directory, kind="ElectraTokenizerFast")
    config = ElectraConfig(**_SIZES, **_SPREAD, **about, embedding_size=32, max_position_embeddings=_LENGTH)
    return ElectraForPreTraining(config)


def _albert(directory: Path) -> Any:
    from transformers import AlbertConfig, AlbertForMaskedLM, AlbertTokenizerFast

    special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = _unigram(special, unknown="<unk>", first="[CLS]", last="[SEP]", second="[SEP]")
    AlbertTokenizerFast(tokenizer_object=tokenizer, model_max_length=_LENGTH).save_pretrained(directory)
    config = AlbertConfig(
        **_SIZES,
        **_SPREAD,
        vocab_size=tokenizer.get_vocab_size(),
        embedding_size=32,
        max_position_embeddings=_LENGTH,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    return AlbertForMaskedLM(config)


def _roberta(directory: Path) -> Any:
    from tokenizers import processors
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizerFast

    tokenizer = _byte_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    RobertaTokenizerFast(tokenizer_object=tokenizer, model_max_length=_LENGTH, add_prefix_space=True).save_pretrained(
        directory
    )
    return RobertaForMaskedLM(RobertaConfig(**_SIZES, **_SPREAD, **_roberta_tokens(tokenizer)))


def _xlm_roberta(directory: Path) -> Any:
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = _unigram(special, unknown="<unk>", first="<s>", last="</s>", second="</s> </s>")
    XLMRobertaTokenizerFast(tokenizer_object=tokenizer, model_max_length=_LENGTH).save_pretrained(directory)
    return XLMRobertaForMaskedLM(XLMRobertaConfig(**_SIZES, **_SPREAD, **_roberta_tokens(tokenizer)))


def _roberta_tokens(tokenizer: "Tokenizer") -> dict[str, Any]:
    """Positions count from behind the padding's number, so that there are two more of them than tokens."""
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": _LENGTH + 2,
        "type_vocab_size": 1,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }


def _deberta_v2(directory: Path) -> Any:
    from transformers import DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2TokenizerFast

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    tokenizer = _unigram(special, unknown="[UNK]", first="[CLS]", last="[SEP]", second="[SEP]")
    DebertaV2TokenizerFast(tokenizer_object=tokenizer, model_max_length=_LENGTH).save_pretrained(directory)
    config = DebertaV2Config(
        **_SIZES,
        **_SPREAD,
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=_LENGTH,
        pad_token_id=0,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        max_relative_positions=-1,
        position_biased_input=False,
    )
    return DebertaV2ForMaskedLM(config)


def _modernbert(directory: Path) -> Any:
    from tokenizers import processors
    from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = _byte_bpe(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")},
    ).save_pretrained(directory)
    config = ModernBertConfig(
        **_SIZES,
        **_SPREAD,
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=_LENGTH,
        cls_token_id=1,
        bos_token_id=1,
        sep_token_id=2,
        eos_token_id=2,
        pad_token_id=3,
        global_attn_every_n_layers=2,
        local_attention=8,
    )
    return ModernBertForMaskedLM(config)


ARCHITECTURES: dict[str, Callable[[Path], Any]] = {
    "bert": _bert,
    "roberta": _roberta,
    "distilbert": _distilbert,
    "albert": _albert,
    "electra": _electra,
    "deberta-v2": _deberta_v2,
    "xlm-roberta": _xlm_roberta,
    "modernbert": _modernbert,
}
"""By transformers' name: saves a tokenizer into a directory, and gives a model with the head of its pretraining."""


def make_base(directory: Path, architecture: str, *, head: bool = False, **changes: Any) -> Path:
    """A base of an architecture in a directory.

    Args:
        directory: Where; it is made.
        architecture: One of ``ARCHITECTURES``.
        head: Keep the head of its pretraining, as most checkpoints of the hub do.
        **changes: Fields of the configuration to set otherwise.
    """
    import torch

    directory.mkdir(parents=True)
    torch.manual_seed(0)
    model = ARCHITECTURES[architecture](directory)
    if changes:
        model.config.update(changes)
        model = type(model)(model.config)
    (model if head else model.base_model).save_pretrained(directory)
    return directory
