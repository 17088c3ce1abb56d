"""One base for all: refuse versions that were trained on another base."""

from pointsman.registry import Base, Version
from pointsman.registry.errors import BaseMismatchError


def check_base(version: Version, base: Base) -> None:
    """Refuse a version that was trained on another base.

    Raises:
        BaseMismatchError: It was.
    """
    if version.base.has_same_weights(base) and not version.base.has_same_tokenizer(base):
        raise BaseMismatchError(
            f"{version.ref} was trained with another tokenizer than that of {describe_base(base)}: the weights are the "
            f"same, the tokenizer differs (sha256 {str(version.base.tokenizer)[:12]} then, "
            f"{str(base.tokenizer)[:12]} now); use the base with the tokenizer it was trained with"
        )
    if not version.base.is_same(base):
        raise BaseMismatchError(
            f"{version.ref} was trained on the base {describe_base(version.base)}, not on {describe_base(base)}: "
            "an adapter runs on its own base only"
        )


def check_same_base(first: Version, other: Version, action: str) -> None:
    """Refuse two versions that were trained on different bases.

    Args:
        first: A version.
        other: Another version.
        action: What cannot be done with both, as a participle: ``merged``.

    Raises:
        BaseMismatchError: Their bases differ.
    """
    if not first.base.is_same(other.base):
        raise BaseMismatchError(
            f"{first.ref} and {other.ref} cannot be {action}: they were trained on different bases, "
            f"{describe_base(first.base)} and {describe_base(other.base)}"
            + (", which have the same weights and another tokenizer" if first.base.has_same_weights(other.base) else "")
        )


def describe_base(base: Base) -> str:
    """A base in a message: its name, and the start of its fingerprint, since two bases can have one name."""
    return f"'{base.name}' ({base.fingerprint[:12]})"
