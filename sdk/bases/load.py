"""Load a base and its tokenizer."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from adapters import AutoAdapterModel
from transformers import CONFIG_MAPPING, PretrainedConfig, PreTrainedTokenizerFast

from pointsman.registry import Base
from pointsman.registry.errors import UnusableBaseError

from ..core.devices import torch_device
from ..core.forked import check_torch
from ..core.memory import is_out_of_memory
from ..patches import install
from .find import find_base
from .fingerprint import describe
from .guard import GuardedBase
from .tokenizer import load_tokenizer, tokenizer_digest


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
    tokenizer: PreTrainedTokenizerFast
    record: Base
    """Its description for the registry, with its fingerprint."""

    def sharing(self) -> Self:
        """The same base with another model: adapters of its own, on the same weights in memory.

        Examples:
            >>> base.sharing().model is base.model
            False
        """
        weights = {id(tensor): tensor for tensor in (*self.model.parameters(), *self.model.buffers())}
        return replace(self, model=deepcopy(self.model, weights))


def load_base(
    name: str,
    *,
    device: str = "cpu",
    attention: str | None = None,
    bf16: bool = False,
    known: Iterable[str] = (),
) -> LoadedBase:
    """Load a base in float32, with all patches that adapters on it need.

    Its files pass the guard first: nothing in them chooses code, another repository, or another file.

    Args:
        name: ``minilm``, a directory, or a name on the Hugging Face hub.
        device: The device for the model, as torch names it.
        attention: The implementation of attention, by transformers' name; None: transformers' default. It has no effect
            on a base for which only one implementation works with every method.
        bf16: Keep its matrices in bf16 as long as it is loaded; its fingerprint is that of the float32 weights.
        known: Names to suggest where the name is not found.

    Raises:
        BaseNotFoundError: Neither a directory with a model, nor cached, nor available from the hub.
        UnusableBaseError: Its files are damaged, incomplete, or name what is not allowed.
        SettingsError: This process was forked from one that has loaded a base, and torch would hang here.

    Examples:
        >>> load_base("bert-base-uncased", device="cuda")
    """
    check_torch()
    target = torch_device(device)
    found = find_base(name, known=known)
    files = found.files
    config = _config(files)
    tokenizer = load_tokenizer(files)
    if files.model_type == "modernbert":
        from ..patches import modernbert  # noqa: F401, PLC0415 - registers it with AutoAdapterModel; takes a second

        config.reference_compile = False  # it would compile parts of the model in which adapters are added and removed
    model, info = _load_model(files, config, attention)
    for head in list(model.heads):
        model.delete_head(head)
    model.eval().requires_grad_(False)
    _check_weights(files, model, absent=info["missing_keys"])
    _check_computes(files, model, tokenizer)
    record = replace(
        describe(model, name=found.name, absent=set(info["missing_keys"])),
        tokenizer=tokenizer_digest(tokenizer),
        revision=found.revision,
    )
    model = model.to(target)
    install(model, bf16=bf16)
    return LoadedBase(model=model, tokenizer=tokenizer, record=record)


def read_base(name: str, *, known: Iterable[str] = ()) -> tuple[PretrainedConfig, PreTrainedTokenizerFast]:
    """Read a base's configuration and tokenizer, without its weights.

    Raises:
        BaseNotFoundError, UnusableBaseError: As ``load_base``.
    """
    files = find_base(name, weights=False, known=known).files
    return _config(files), load_tokenizer(files)


def _config(files: GuardedBase) -> PretrainedConfig:
    """The configuration, made of the fields that passed the guard."""
    try:
        config: PretrainedConfig = CONFIG_MAPPING[files.model_type].from_dict(dict(files.fields))
    except Exception as error:  # a class of the library checks some of its fields itself, in its own way
        raise files.refuse(f"config.json is not one of a {files.model_type} model: {_first_line(error)}") from error
    return config


def _load_model(files: GuardedBase, config: PretrainedConfig, attention: str | None) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers says of the keys in its files."""
    try:
        loaded: tuple[Any, dict[str, Any]] = AutoAdapterModel.from_pretrained(
            files.directory,
            config=config,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, with their shapes
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation=_attention(files.model_type, attention),
        )
    except Exception as error:  # what a library raises for damaged files is not of one kind
        if is_out_of_memory(error):
            raise
        raise files.refuse(f"config.json and weights cannot be loaded: {_first_line(error)}") from error
    model, info = loaded
    if info["mismatched_keys"]:
        key = min(info["mismatched_keys"])
        raise files.refuse(
            f"by config.json, the weight '{key}' has the shape {tuple(model.get_parameter(key).shape)}, and its files "
            "have another"
        )
    # Checkpoints often lack the pooler, which no head of ours reads; any other missing weight would be random.
    missing = [key for key in info["missing_keys"] if ".pooler." not in f".{key}" and not key.startswith("heads.")]
    if missing:
        raise UnusableBaseError(
            f"the base '{files.name}' is incomplete: its checkpoint lacks {len(missing)} weights of a "
            f"{files.model_type} encoder as config.json describes it, among them {', '.join(missing[:3])}; save the "
            "whole model again"
        )
    return loaded


def _attention(model_type: str, requested: str | None) -> str | None:
    """The implementation of a base's attention, by transformers' name."""
    match model_type:
        case "distilbert":  # the adapters library's eager implementation fails at prompt tuning
            return "sdpa"
        case "modernbert":  # its default is flash attention where available, whose packed rows ReFT would misread
            return requested or "sdpa"
    return requested


def _check_weights(files: GuardedBase, model: Any, absent: Iterable[str]) -> None:
    """Refuse weights that are not finite numbers."""
    random = set(absent)
    for key, weight in model.named_parameters():
        # A sum is not finite if one of its numbers is not, and takes no memory.
        if key not in random and not weight.sum().isfinite() and not weight.isfinite().all():
            raise files.refuse(f"the weight '{key}' has numbers that are not finite (NaN or infinity)")


def _check_computes(files: GuardedBase, model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse a base that cannot compute a text."""
    try:
        with torch.inference_mode():
            states = model.base_model(**tokenizer(["a text"], return_tensors="pt")).last_hidden_state
        finite = bool(states.isfinite().all())
    except Exception as error:  # whatever a forward pass ends in, it is the configuration that led there
        if is_out_of_memory(error):
            raise
        raise files.refuse(f"a text cannot be computed by its config.json: {_first_line(error)}") from error
    if not finite:
        raise files.refuse("its outputs for a text are not finite numbers (config.json or weights)")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
