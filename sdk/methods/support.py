"""Which methods run on which bases: combinations that adapters 1.3 computes wrongly or fails at are refused early.

All others are tested: every method on BERT, RoBERTa, DistilBERT, ALBERT, ELECTRA, DeBERTa-v2, XLM-R and ModernBERT
(tests/sdk/test_architectures.py).
"""

from collections.abc import Mapping
from typing import Any, Final

from pointsman.registry.errors import SettingsError

from .catalogue import METHODS
from .configure import configure, is_vera, parts_of
from .fields import check_fields

_SHORTEST_ROW: Final = 2
"""Tokens of an empty text: one special token before it and one behind."""


def check_supported(base: Any, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that does not work on a base.

    Args:
        base: The base's configuration, as transformers has it.
        config: A method's full configuration.

    Raises:
        SettingsError: A field is of a wrong type or out of range, or the method does not work on this base; the message
            names the field, or says why and which methods do.
    """
    for part in parts_of(config):
        check_fields(base, part)
        if part.get("dtype") not in (None, "float32"):
            raise SettingsError(f"dtype must be float32, in which the base computes; found {part['dtype']!r}")
        places = [place for place in ("selfattn_lora", "intermediate_lora", "output_lora") if part.get(place)]
        if is_vera(part) and len(places) > 1:
            raise SettingsError(
                f"VeRA shares its matrices among all layers, so its places must have one shape; found "
                f"{', '.join(places)}: enable one of them"
            )
        if part.get("architecture") is None:
            _check_bottleneck(base, part)
        reason = _reason(base, part)
        if reason is not None:
            fitting = [name for name in METHODS if all(_reason(base, p) is None for p in parts_of(configure(name)))]
            raise SettingsError(f"{reason}; these methods work on this base: {', '.join(fitting)}")


def reads_padding(config: Mapping[str, Any], base: Any) -> bool:
    """Whether a row's outputs depend on the padding of its batch.

    Such an adapter gets batches without padding only, in training and prediction: rows of one length.

    Args:
        config: A method's full configuration.
        base: The base's configuration, as transformers has it.
    """
    return any(_reads_padding(part, base) for part in parts_of(config))


def is_tokenwise(config: Mapping[str, Any]) -> bool:
    """Whether a method, behind a layer's attention, changes each token independently of the others.

    ReFT depends on the positions of tokens in a row, and a gate (UniPELT) is a mean over all tokens.

    Args:
        config: A method's full configuration.
    """
    return not any(part.get("architecture") == "reft" or part.get("use_gating") for part in parts_of(config))


def _check_bottleneck(base: Any, part: Mapping[str, Any]) -> None:
    """Refuse fields of a bottleneck that do not fit together, or not to a base."""
    if part.get("inv_adapter") and part.get("inv_adapter_reduction_factor") is None:
        raise SettingsError(f"inv_adapter '{part['inv_adapter']}' needs inv_adapter_reduction_factor: a number above 0")
    # In the library the residual would have no value then. A parallel bottleneck does not read the field.
    if part.get("residual_before_ln") == "post_add" and not part.get("is_parallel"):
        if not part.get("original_ln_before"):
            raise SettingsError(
                "residual_before_ln 'post_add' is the sum that is normalised before the bottleneck: set "
                "original_ln_before to true, or residual_before_ln to true or false"
            )
        if base.model_type == "modernbert":
            raise SettingsError(
                "residual_before_ln 'post_add' does not work on a modernbert base, which has no normalisation behind "
                "its blocks: set it to true or false"
            )


def _reason(base: Any, part: Mapping[str, Any]) -> str | None:
    """Why a method does not work on a base; None if it does."""
    kind = part.get("architecture")
    if base.model_type == "modernbert":
        if kind in ("prefix_tuning", "prompt_tuning"):
            return f"{kind} does not work on a modernbert base: the adapters library does not implement it there"
        # One layer computes queries, keys and values together, and the library's replacement supports plain LoRA only.
        if part.get("selfattn_lora") and (is_vera(part) or part.get("use_dora")):
            what = "VeRA" if is_vera(part) else "DoRA"
            return f"{what} does not work in the attention of a modernbert base"
    if base.model_type == "deberta-v2" and getattr(base, "conv_kernel_size", 0) and kind == "prompt_tuning":
        return "prompt_tuning does not work on a deberta-v2 base with a convolution: the input would grow"
    return None


def _reads_padding(part: Mapping[str, Any], base: Any) -> bool:
    match part.get("architecture"):
        case "prompt_tuning":  # the library's attention mask no longer fits the longer input
            return True
        case "prefix_tuning" if base.model_type == "distilbert":  # with a mask, the prefix's scores are 1 too high
            return True
        # Their positions would be before the row's start.
        case "reft" if part.get("suffix_positions", 0) > _SHORTEST_ROW:
            return True
    # A gate (UniPELT) is a mean over all tokens of the padded row.
    if part.get("use_gating"):
        return True
    # A convolution beside the first layer reads the padding as an invertible adapter has changed it.
    return bool(part.get("inv_adapter") and base.model_type == "deberta-v2" and getattr(base, "conv_kernel_size", 0))
