"""A composition as a version: named once, and from then on a ref like any other."""

import json
from typing import Final

from pointsman.registry import Registry, Version, VersionKind
from pointsman.registry.errors import CompositionError

from ..core.composition import Block, parse, refs
from ..core.registries import open_registry
from .resolve.lookup import resolve

COMPOSITION: Final = "composition.json"
"""The file of such a version: the composition, as ``to_dict`` writes it."""


def compose(name: str, composition: str | Block, *, registry: Registry | None = None) -> Version:
    """Register a composition as the next version of ``name``, made of the versions that its refs mean now.

    Nothing is trained and no weights are stored: where the version is used, its members are. Its method is ``stack``,
    ``average``, ``parallel`` or ``batchsplit``, its task that of the first head that answers, and its members are its
    parents.

    Args:
        name: The adapter that gets the version.
        composition: As text or as a value.
        registry: Where its members are, and where the version is registered; by default the default registry.

    Raises:
        CompositionError: It breaks a rule, is a single ref, or its members do not work together.
        NotFoundError: A member does not exist.
        BaseMismatchError: Its members were trained on different bases.

    Examples:
        >>> compose("both", "average(sst2, imdb)").ref
        'both@1'
    """
    parsed = parse(composition)
    if not isinstance(parsed, Block):
        raise CompositionError(f"'{parsed}' is a single ref: set an alias, or compose it with others, stack(a, b)")
    with open_registry(registry) as opened:
        base = opened.version(refs(parsed)[0]).base
        resolved = resolve(parsed, opened, base)
        if not isinstance(resolved.composition, Block):
            raise CompositionError(
                f"{parsed} is {resolved.composition} already: set an alias, or compose it with others"
            )
        routes = list(resolved.routes.values())
        content = resolved.composition.to_dict()
        return opened.add_version(
            name,
            files={COMPOSITION: (json.dumps(content, indent=2) + "\n").encode()},
            task=routes[0].task.to_dict(),
            method=resolved.composition.name,
            config={"composition": content},
            base=base,
            max_length=max(route.max_length for route in routes),
            parameters=0,
            kind=VersionKind.COMPOSITION,
            parents=[("member", ref) for ref in resolved.versions],
        )
