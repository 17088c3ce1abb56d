"""Which methods run on which bases: what adapters 1.3 gets wrong or trips over is refused before it costs anything.

Everything that is not refused was tried: all methods on BERT, RoBERTa, DistilBERT, ALBERT, ELECTRA, DeBERTa-v2, XLM-R
and ModernBERT (tests/sdk/test_architectures.py).
"""

from collections.abc import Mapping
from typing import Any, Final

from pointsman.registry.errors import SettingsError

from .catalogue import METHODS
from .configure import configure, is_vera, parts_of

_SHORTEST_ROW: Final = 2
"""Tokens of an empty text: one special token before it, one after."""


def check_supported(base: Any, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that does not work on a base.

    Args:
        base: The base's configuration, as transformers has it.
        config: A method's full configuration.

    Raises:
        SettingsError: It does not; the message says why, and what does.
    """
    for part in parts_of(config):
        if part.get("dtype") not in (None, "float32"):
            raise SettingsError(f"dtype has to be float32, in which the base computes; found {part['dtype']!r}")
        places = [place for place in ("selfattn_lora", "intermediate_lora", "output_lora") if part.get(place)]
        if is_vera(part) and len(places) > 1:
            raise SettingsError(
                f"VeRA shares its matrices among all layers, so it can only be at places of one shape; found "
                f"{', '.join(places)}: leave one of them on"
            )
        reason = _reason(base, part)
        if reason is not None:
            fitting = [name for name in METHODS if all(_reason(base, p) is None for p in parts_of(configure(name)))]
            raise SettingsError(f"{reason}; these methods work on this base: {', '.join(fitting)}")


def reads_padding(config: Mapping[str, Any], base: Any) -> bool:
    """Whether a row's outputs depend on how far its batch is padded.

    Such an adapter only gets batches without padding, in training and after: rows of one length each.

    Args:
        config: A method's full configuration.
        base: The base's configuration, as transformers has it.
    """
    return any(_reads_padding(part, base) for part in parts_of(config))


def goes_by_token(config: Mapping[str, Any]) -> bool:
    """Whether a method, behind a layer's attention, does to each token what it would do to that token alone.

    ReFT goes by the places of tokens in a row, and a gate (UniPELT) is a mean over them.

    Args:
        config: A method's full configuration.
    """
    return not any(part.get("architecture") == "reft" or part.get("use_gating") for part in parts_of(config))


def _reason(base: Any, part: Mapping[str, Any]) -> str | None:
    """Why a method cannot be on a base, or None if it can."""
    kind = part.get("architecture")
    if base.model_type == "modernbert":
        if kind in ("prefix_tuning", "prompt_tuning"):
            return f"{kind} does not work on a modernbert base: the adapters library has no place for it there"
        # One layer makes queries, keys and values together, and the library's version of it only knows plain LoRA.
        if part.get("selfattn_lora") and (is_vera(part) or part.get("use_dora")):
            what = "VeRA" if is_vera(part) else "DoRA"
            return f"{what} does not work in the attention of a modernbert base"
    if base.model_type == "deberta-v2" and getattr(base, "conv_kernel_size", 0) and kind == "prompt_tuning":
        return "prompt_tuning does not work on a deberta-v2 base with a convolution, which takes no longer input"
    return None


def _reads_padding(part: Mapping[str, Any], base: Any) -> bool:
    match part.get("architecture"):
        case "prompt_tuning":  # the library's attention mask no longer fits the longer input
            return True
        case "prefix_tuning" if base.model_type == "distilbert":  # with a mask, the prefix's scores are 1 too high
            return True
        case "reft" if part["suffix_positions"] > _SHORTEST_ROW:  # it would look for them before the row's beginning
            return True
    # Each gate (UniPELT) is a mean over all tokens of the padded row.
    if part.get("use_gating"):
        return True
    # A convolution beside the first layer sees what an invertible adapter makes of the padding next to it.
    return bool(part.get("inv_adapter") and base.model_type == "deberta-v2" and getattr(base, "conv_kernel_size", 0))
