"""An error's advice as a command to type."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from pointsman.registry.errors import Action, Advice

from .output import note, printable

HOME: Final[ContextVar[Path | None]] = ContextVar("home", default=None)
"""The ``--home`` of this call."""

_OPTIONS: Final = {"learning_rate": "lr", "max_epochs": "epochs"}
"""Arguments whose option has another name."""


def render(advice: Advice) -> str:
    """The command, or the options of the same command, that carry out an advice.

    Examples:
        >>> render(Advice(Action.RESUME, {"run": "3fa912bc04d1"}))
        'registry train --resume 3fa912bc04d1'
    """
    return at_home(_COMMANDS[advice.action](advice.arguments))


def at_home(command: str) -> str:
    """A command of the program with this call's ``--home``, so that it means the same registry."""
    home, options = HOME.get(), command.removeprefix("registry ")
    if home is None or options == command or options.startswith("--home "):
        return command
    return f"{_join('registry', '--home', str(home))} {options}"


def hint(advice: Advice) -> str:
    """The line below an error that says what to try."""
    return f"try: {printable(render(advice))}"


def tell_damaged(damaged: Sequence[str]) -> None:
    """Say on standard error which rows a list leaves out, and what tells of all of them."""
    for text in damaged[:3]:
        note(f"left out: {text}")
    if len(damaged) > 3:
        note(f"left out: {len(damaged) - 3} more damaged rows")
    if damaged:
        note(hint(Advice(Action.VERIFY)))


def _options(arguments: Mapping[str, Any]) -> list[str]:
    words = []
    for name, value in arguments.items():
        option = f"--{_OPTIONS.get(name, name.replace('_', '-'))}"
        if value is True:
            words.append(option)
        elif value is None:
            words += [option, "…"]
        else:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def _join(*words: str) -> str:
    # The ellipsis stands for a value that the caller chooses; shlex would quote it.
    return " ".join(word if word == "…" else shlex.quote(word) for word in words)


def _train_like(arguments: Mapping[str, Any]) -> str:
    changes = {name: value for name, value in arguments.items() if name != "ref"}
    return _join("registry", "train", "--like", arguments["ref"], *_options(changes))


def _remove(arguments: Mapping[str, Any]) -> str:
    return _join("registry", "rm", arguments["ref"], *(["--force"] if arguments.get("force") else []))


def _upgrade(arguments: Mapping[str, Any]) -> str:
    home = arguments.get("home")
    return _join("registry", *([] if home is None else ["--home", str(home)]), "db", "upgrade")


_COMMANDS: Final[Mapping[Action, Callable[[Mapping[str, Any]], str]]] = {
    Action.ADOPT_STORE: lambda _: "registry db adopt-store",
    Action.BENCHMARK: lambda _: "registry glue --base …",
    Action.COLLECT_GARBAGE: lambda _: "registry gc --apply",
    Action.FUSE: lambda given: _join("registry", "fuse", "…", "--of", ",".join(given["members"]), "--task", "…"),
    Action.INSTALL_EXTRA: lambda given: _join("pip", "install", f"pointsman[{given['extra']}]"),
    Action.LIST_RUNS: lambda given: _join("registry", "runs", *given.values()),
    Action.LIST_VERSIONS: lambda given: _join("registry", "list", *(given.values() or ["--all"])),
    Action.REMOVE_VERSION: _remove,
    Action.REPAIR: lambda _: "registry verify --repair --from …",
    Action.RESUME: lambda given: _join("registry", "train", "--resume", given["run"]),
    Action.SET_ARGUMENTS: lambda given: _join(*_options(given)),
    Action.SHOW_HISTORY: lambda given: _join("registry", "history", f"run:{given['run']}"),
    Action.SHOW_VERSION: lambda given: _join("registry", "show", given["ref"]),
    Action.TRAIN: lambda _: "registry train TASK --base …",
    Action.TRAIN_LIKE: _train_like,
    Action.UPGRADE_DATABASE: _upgrade,
    Action.VERIFY: lambda _: "registry verify",
}
