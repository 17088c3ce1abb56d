"""What errors advise, as commands to type."""

import shlex

import pytest

from pointsman.cli.advice import render
from pointsman.registry import Action, Advice, Registry

EXAMPLES = {
    Action.ADOPT_STORE: ({}, "registry db adopt-store"),
    Action.BENCHMARK: ({}, "registry glue --base …"),
    Action.COLLECT_GARBAGE: ({}, "registry gc --apply"),
    Action.FUSE: ({"members": ["b@1", "a@1"]}, "registry fuse … --of b@1,a@1 --task …"),
    Action.INSTALL_EXTRA: ({"extra": "tune"}, "pip install 'pointsman[tune]'"),
    Action.LIST_RUNS: ({"adapter": "sst2"}, "registry runs sst2"),
    Action.LIST_VERSIONS: ({"adapter": "sst2"}, "registry list sst2"),
    Action.REMOVE_VERSION: ({"ref": "sst2@3", "force": True}, "registry rm sst2@3 --force"),
    Action.REPAIR: ({}, "registry verify --repair --from …"),
    Action.RESUME: ({"run": "3fa912bc04d1"}, "registry train --resume 3fa912bc04d1"),
    Action.SET_ARGUMENTS: ({"head_of": None, "force": True}, "--head-of … --force"),
    Action.SHOW_HISTORY: ({"run": "3fa912bc04d1"}, "registry history run:3fa912bc04d1"),
    Action.SHOW_VERSION: ({"ref": "sst2@3"}, "registry show sst2@3"),
    Action.TRAIN: ({}, "registry train TASK --base …"),
    Action.TRAIN_LIKE: (
        {"ref": "run:3fa912bc04d1", "learning_rate": 3.3333e-4},
        "registry train --like run:3fa912bc04d1 --lr 0.00033333",
    ),
    Action.UPGRADE_DATABASE: ({}, "registry db upgrade"),
    Action.VERIFY: ({}, "registry verify"),
}


def test_every_action_has_an_example() -> None:
    assert EXAMPLES.keys() == set(Action)
    assert len(EXAMPLES) >= 15


@pytest.mark.parametrize("action", EXAMPLES)
def test_advice_is_a_command(action: Action) -> None:
    arguments, command = EXAMPLES[action]
    assert render(Advice(action, arguments)) == command


@pytest.mark.parametrize("home", ["plain", "with a space", "with 'quotes'"])
def test_a_command_can_be_pasted(home: str) -> None:
    command = render(Advice(Action.UPGRADE_DATABASE, {"home": home}))
    assert shlex.split(command) == ["registry", "--home", home, "db", "upgrade"]


@pytest.mark.parametrize(
    ("action", "command"),
    [(Action.LIST_VERSIONS, "registry list --all"), (Action.LIST_RUNS, "registry runs")],
)
def test_advice_for_all_adapters(action: Action, command: str) -> None:
    assert render(Advice(action)) == command


def test_an_error_ends_with_what_to_try(run) -> None:  # type: ignore[no-untyped-def]
    result = run("show", "sst2")
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: unknown adapter 'sst2'; none exists yet\ntry: registry train TASK --base …\n"


def test_what_to_try_means_the_same_home(run, tmp_path) -> None:  # type: ignore[no-untyped-def]
    home = tmp_path / "a home"
    Registry(home).close()
    result = run("show", "sst2", home=home)
    assert result.err.splitlines()[-1] == f"try: registry --home '{home}' train TASK --base …"
    assert run("show", "sst2").err.splitlines()[-1] == "try: registry train TASK --base …"
