"""registry show: everything about one version."""

import json

import click

from pointsman.registry import Lineage, Registry

from .options import json_option
from .output import emit_json, version_json
from .runtime import open_registry
from .tables import pairs, print_tree, table
from .units import count, duration, local, number, share, size


@click.command("show", short_help="Everything about a version; --tree is its lineage.")
@click.argument("ref")
@click.option("--tree", is_flag=True, help="What it was made from and what was made from it, as far as it goes.")
@json_option
@click.pass_context
def command(context: click.Context, ref: str, tree: bool, as_json: bool) -> None:
    """Show a version: configuration, files, base, metrics, tags, run, data and environment."""
    registry = open_registry(context)
    if tree:
        _show_tree(registry, ref, as_json)
        return
    version = registry.version(ref)
    run = None if version.run is None else registry.run(version.run)
    if as_json:
        emit_json({**version_json(version), "run": run})
        return
    base = version.base
    pairs(
        [
            ("version", version.ref),
            ("aliases", ", ".join(version.aliases) or "-"),
            ("tags", ", ".join(f"{key}={value}" for key, value in version.tags.items()) or "-"),
            ("note", version.note or "-"),
            ("digest", version.digest),
            ("made", local(version.created_at)),
            ("made from", ", ".join(version.parents) or "-"),
            ("task", f"{version.task['name']}: {version.task['description']}"),
            ("text", ", ".join(version.task["text"])),
            ("labels", ", ".join(version.task["labels"]) or "a score"),
            ("method", version.method),
            ("config", json.dumps(version.config, sort_keys=True)),
            ("max length", f"{version.max_length} tokens"),
            ("parameters", f"{count(version.parameters)} ({share(version.parameters, base.parameters)} of the base's)"),
            ("size", f"{size(version.size)} ({share(version.size, base.size)} of the base's {size(base.size)})"),
            ("base", f"{base.name} ({base.model_type}, {base.layers} layers, hidden {base.hidden_size})"),
            ("base sha256", base.fingerprint),
        ]
    )
    if run is not None:
        settings = {key: value for key, value in run.settings.items() if key != "config"}
        seconds = ((run.ended_at or run.heartbeat_at) - run.started_at).total_seconds()
        click.echo()
        pairs(
            [
                ("run", f"{run.uid} ({run.status}, {duration(seconds)})"),
                ("seed", str(run.seed)),
                ("settings", json.dumps(settings, sort_keys=True)),
                ("data", json.dumps(run.data, sort_keys=True)),
                ("environment", json.dumps(run.environment, sort_keys=True)),
            ]
        )
    click.echo()
    table(["metric", "value"], [(key, number(value)) for key, value in version.metrics.items()], right=("value",))
    click.echo()
    table(
        ["file", "size", "sha256"],
        [(file.name, size(file.size), file.sha256) for file in version.files],
        right=("size",),
    )


def _show_tree(registry: Registry, ref: str, as_json: bool) -> None:
    lineage = registry.lineage(ref)
    if as_json:
        emit_json(lineage)
        return
    click.echo("made from")
    print_tree(_made_from(registry, lineage, lineage.ref, set()))
    click.echo("\nwhat was made from it")
    print_tree(_made_of(lineage, lineage.ref, set()) if lineage.children.get(lineage.ref) else ("nothing yet", []))


_Tree = tuple[str, list["_Tree"]]
_DEPTH = 50


def _made_from(registry: Registry, lineage: Lineage, ref: str, seen: set[str], depth: int = 0) -> _Tree:
    """A version with its base, run, data and parents; one that was drawn before is only named."""
    if ref in seen or depth > _DEPTH:
        return f"{ref} ({'see above' if ref in seen else 'and so on'})", []
    seen.add(ref)
    version = registry.version(ref)
    branches: list[_Tree] = [(f"base {version.base.name}, sha256 {version.base.fingerprint[:12]}", [])]
    if version.run is not None:
        run = registry.run(version.run)
        said = ", ".join(f"{key} {_short(value)}" for key, value in run.data.items() if isinstance(value, str | int))
        branches += [(f"run {run.uid}, seed {run.seed}", []), (f"data: {said}", [])]
    for parent in lineage.parents.get(ref, ()):
        if parent.present:
            label, below = _made_from(registry, lineage, parent.ref, seen, depth + 1)
            branches.append((f"{parent.role} of {label}", below))
        else:
            branches.append((f"{parent.role} of {parent.ref}, not here any more, digest {parent.digest[:12]}", []))
    return ref, branches


def _made_of(lineage: Lineage, ref: str, seen: set[str], depth: int = 0) -> _Tree:
    if ref in seen or depth > _DEPTH:
        return f"{ref} ({'see above' if ref in seen else 'and so on'})", []
    seen.add(ref)
    return ref, [_made_of(lineage, child, seen, depth + 1) for child in lineage.children.get(ref, ())]


def _short(value: str | int) -> str:
    """A fingerprint's first digits, anything else as it is."""
    text = str(value)
    return text[:12] if len(text) == 64 else text
