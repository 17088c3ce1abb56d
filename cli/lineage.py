"""The lineage of a version as two trees: its ancestors and its descendants."""

import click

from pointsman.registry import Lineage, Registry

from .output import emit_json
from .tables import print_tree

_Tree = tuple[str, list["_Tree"]]

_DEPTH = 50
"""Generations that are drawn; the JSON has all of them."""


def print_lineage(registry: Registry, ref: str, *, as_json: bool) -> None:
    """Print what a version was made from and what was made from it, in all generations."""
    lineage = registry.lineage(ref)
    if as_json:
        emit_json(lineage)
        return
    click.echo("made from")
    print_tree(_ancestors(registry, lineage, lineage.ref, set()))
    click.echo("\nwhat was made from it")
    has_children = bool(lineage.children.get(lineage.ref))
    print_tree(_descendants(lineage, lineage.ref, set()) if has_children else ("nothing yet", []))


def _ancestors(registry: Registry, lineage: Lineage, ref: str, seen: set[str], depth: int = 0) -> _Tree:
    """A version with its base, run, data and parents; a version that was drawn before is only named."""
    if ref in seen or depth > _DEPTH:
        return _named_again(ref, seen)
    seen.add(ref)
    version = registry.version(ref)
    branches: list[_Tree] = [(f"base {version.base.name}, sha256 {version.base.fingerprint[:12]}", [])]
    if version.run is not None:
        run = registry.run(version.run)
        fields = (f"{key} {_abbreviated(value)}" for key, value in run.data.items() if isinstance(value, str | int))
        branches += [(f"run {run.uid}, seed {run.seed}", []), (f"data: {', '.join(fields)}", [])]
    for parent in lineage.parents.get(ref, ()):
        if parent.present:
            label, below = _ancestors(registry, lineage, parent.ref, seen, depth + 1)
            branches.append((f"{parent.role} of {label}", below))
        else:
            branches.append((f"{parent.role} of {parent.ref}, not in this registry, digest {parent.digest[:12]}", []))
    return ref, branches


def _descendants(lineage: Lineage, ref: str, seen: set[str], depth: int = 0) -> _Tree:
    if ref in seen or depth > _DEPTH:
        return _named_again(ref, seen)
    seen.add(ref)
    return ref, [_descendants(lineage, child, seen, depth + 1) for child in lineage.children.get(ref, ())]


def _named_again(ref: str, seen: set[str]) -> _Tree:
    return f"{ref} ({'see above' if ref in seen else 'and so on'})", []


def _abbreviated(value: str | int) -> str:
    """The first digits of a fingerprint; any other value in full."""
    text = str(value)
    return text[:12] if len(text) == 64 else text
