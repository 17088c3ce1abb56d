"""A composition as a version of its own: named once, and then a ref like any other."""

import json
from typing import Final

from pointsman.registry import Registry, Version, VersionKind
from pointsman.registry.errors import CompositionError

from ..core.composition import Block, parse, refs
from ..core.registries import open_registry
from .resolve.resolved_ref import resolve

COMPOSITION: Final = "composition.json"
"""The file of such a version: ``to_dict`` of what it is made of."""


def compose(name: str, composition: str | Block, *, registry: Registry | None = None) -> Version:
    """Register a composition as the next version of ``name``, made of the versions that its refs mean now.

    Nothing is trained and no weights are stored: wherever the version is used, its members are. Its method is
    ``stack``, ``average``, ``parallel`` or ``batchsplit``, its task that of the first head that answers, and its
    members are its parents.

    Args:
        name: The adapter that gets the version.
        composition: As text or as a value.
        registry: Where its members are, and where it goes; by default the default registry.

    Raises:
        CompositionError: It breaks a rule, is a single ref, or its members do not go together.
        NotFoundError: A member does not exist.
        BaseMismatchError: Its members were trained on different bases.
    """
    parsed = parse(composition)
    if not isinstance(parsed, Block):
        raise CompositionError(f"'{parsed}' is a single ref: set an alias, or compose it with others, stack(a, b)")
    with open_registry(registry) as opened:
        base = opened.version(refs(parsed)[0]).base
        meaning = resolve(parsed, opened, base)
        if not isinstance(meaning.composition, Block):
            raise CompositionError(
                f"{parsed} is {meaning.composition} already: set an alias, or compose it with others"
            )
        ways = list(meaning.tasks)
        content = meaning.composition.to_dict()
        return opened.add_version(
            name,
            files={COMPOSITION: (json.dumps(content, indent=2) + "\n").encode()},
            task=meaning.tasks[ways[0]].to_dict(),
            method=meaning.composition.name,
            config={"composition": content},
            base=base,
            max_length=max(meaning.max_length(way) for way in ways),
            parameters=0,
            kind=VersionKind.COMPOSITION,
            parents=[("member", ref) for ref in meaning.versions],
        )
