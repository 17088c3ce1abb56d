"""A training that was killed goes on, and nobody could tell: the same weights, the same history."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry, RunStatus, Version
from pointsman.registry.errors import ConflictError, RunNotFoundError, SettingsError, StoreError, TrainingError
from pointsman.sdk import Progress, resume, train, train_like
from pointsman.sdk.training.request import TrainRequest

OPTIONS: dict[str, Any] = {
    "data": "sample",
    "epochs": 2,
    "max_train_rows": 90,
    "max_eval_rows": 20,
    "max_length": 16,
    "batch_size": 8,
    "eval_every": 5,
    "checkpoint_every": 4,
    "learning_rate": 0.01,
}
STEPS = 24
VARIANTS: dict[str, dict[str, Any]] = {
    "fused in bf16": {"method": "seq_bn", "precision": "bf16"},
    "modules in fp32": {"method": "lora", "precision": "fp32", "schedule": "cosine", "weight_decay": 0.1},
    "accumulated, to an early end": {"method": "compacter", "gradient_accumulation": 3, "patience": 2, "epochs": 9},
}

# Imports take seconds: one process makes them, and forks for every training that is killed. What kills it is SIGKILL,
# right before a step's report, or before a file of a checkpoint is synced to the disk.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from pointsman.registry import Registry
from pointsman.registry.storage import objects as store
from pointsman.sdk import train

torch.set_num_threads(1)
home, base, cases, options = Path(sys.argv[1]), sys.argv[2], eval(sys.argv[3]), eval(sys.argv[4])
# What the first training of a process sets up is set up before it forks.
train("sst2", base=base, registry=Registry(home / "first"), **options)
for name, (what, number) in cases.items():
    if os.fork() == 0:
        def kill():
            os.kill(os.getpid(), signal.SIGKILL)
        registry = Registry(home / name)
        left = [number]
        def report(progress):
            if what == "step" and progress.step >= number:
                kill()
        def sync(descriptor, really=os.fsync):
            if "/runs/" in os.readlink(f"/proc/self/fd/{descriptor}"):
                left[0] -= 1
                if left[0] == 0:
                    kill()
            really(descriptor)
        if what == "sync":
            os.fsync = sync
        train("sst2", base=base, registry=registry, report=report, **options)
        os._exit(7)
    assert os.WTERMSIG(os.wait()[1]) == signal.SIGKILL, name
"""

CASES = {
    "before-any-checkpoint": ("step", 2),
    "right-after-a-checkpoint": ("step", 5),
    "between": ("step", 19),
    "at-the-last-step": ("step", STEPS),
    "first-checkpoint-unsynced": ("sync", 1),
    "index-unsynced": ("sync", 3),
    "second-checkpoint-unsynced": ("sync", 5),
    "folder-unsynced": ("sync", 8),
}


def _values(registry: Registry, run: str | None) -> dict[str, list[tuple[int, float]]]:
    """Every metric's points but for speed, which no two runs share."""
    return {
        summary.key: [(point.step, point.value) for point in registry.history(f"run:{run}", summary.key)]
        for summary in registry.summaries(f"run:{run}")
        if summary.key != "train/samples_per_second"
    }


def _contents(version: Version) -> list[tuple[str, str]]:
    return [(file.name, file.sha256) for file in version.files]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_anywhere_it_ends_as_if_it_had_not_been(variant: str, tiny_base: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, **VARIANTS[variant]}
    early = variant.endswith("early end")
    cases = {name: case for name, case in CASES.items() if not early or case[1] < 10}
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(tiny_base), repr(cases), repr(options)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    with Registry(tmp_path / "whole") as registry:
        whole = train("sst2", base=str(tiny_base), registry=registry, **options)
        expected = _values(registry, whole.run)
    if early:
        assert len(expected["eval/accuracy"]) < 7  # of its 36 steps
    else:
        assert [step for step, _ in expected["train/loss"]] == list(range(1, STEPS + 1))
    for name in cases:
        with Registry(tmp_path / name) as registry:
            (run,) = registry.runs()
            assert run.status is RunStatus.INTERRUPTED, name
            version = resume(run.uid, registry=registry)
            assert version.run == run.uid
            assert _contents(version) == _contents(whole), name
            assert version.metrics == whole.metrics
            assert _values(registry, run.uid) == expected, name
            assert registry.run(run.uid).status is RunStatus.FINISHED
            assert not registry.run_directory(run.uid).exists()


def _interrupted(registry: Registry, base: Path, step: int, **options: Any) -> str:
    """The uid of a run that Ctrl-C has ended at a step."""

    def interrupt(progress: Progress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("sst2", base=str(base), registry=registry, report=interrupt, **OPTIONS | options)
    return registry.runs()[0].uid


def test_a_checkpoint_holds_what_is_trained_and_nothing_else(registry: Registry, tiny_base: Path) -> None:
    uid = _interrupted(registry, tiny_base, 9)
    files = sorted(registry.run_directory(uid).iterdir())
    assert [path.name for path in files] == ["checkpoint.json", "step-000000008.safetensors"]
    size = sum(path.stat().st_size for path in files)
    version = resume(uid, registry=registry)
    # Weights, two moments, the mean and the best weights; and the states of three random generators.
    assert 20 * version.parameters < size < 20 * version.parameters + 40_000


def test_what_cannot_be_resumed_is_refused(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    version = train("sst2", base=str(tiny_base), registry=registry, **OPTIONS | {"epochs": 0.1})
    with pytest.raises(ConflictError, match=f"has made {version.ref}"):
        resume(str(version.run), registry=registry)
    with pytest.raises(RunNotFoundError, match="123"):
        resume("123", registry=registry)
    uid = _interrupted(registry, tiny_base, 9)
    checkpoint = registry.run_directory(uid) / "step-000000008.safetensors"
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        resume(uid, registry=registry)
    assert registry.run(uid).status is RunStatus.INTERRUPTED


def test_other_data_or_another_base_end_it(
    registry: Registry, tiny_base: Path, other_base: Path, tmp_path: Path
) -> None:
    import shutil

    base, rows = tmp_path / "base", tmp_path / "rows.csv"
    shutil.copytree(tiny_base, base)
    lines = [f"a {'good' if row % 2 else 'bad'} film {row},{row % 2}" for row in range(60)]
    rows.write_text("\n".join(["text,label", *lines]))

    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("films", base=str(base), data=rows, registry=registry, report=interrupt, max_steps=3, batch_size=8)
    (run,) = registry.runs()
    rows.write_text("\n".join(["text,label", *reversed(lines)]))
    with pytest.raises(SettingsError, match="have changed since"):
        resume(run.uid, registry=registry)
    rows.write_text("\n".join(["text,label", *lines]))
    shutil.copytree(other_base, base, dirs_exist_ok=True)
    with pytest.raises(SettingsError, match="has changed since"):
        resume(run.uid, registry=registry)
    shutil.copytree(tiny_base, base, dirs_exist_ok=True)
    assert resume(run.uid, registry=registry).ref == "films@1"


def test_a_run_is_repeated_to_the_last_bit(registry: Registry, tiny_base: Path) -> None:
    first = train("sst2", base=str(tiny_base), registry=registry, overrides={"reduction_factor": 8}, **OPTIONS)
    again = train_like("sst2@1", registry=registry)
    assert _contents(again) == _contents(first)
    assert (again.digest, again.ref) == (first.digest, "sst2@2")
    other = train_like(f"run:{first.run}", registry=registry, seed=1, name="other")
    assert other.ref == "other@1"
    assert _contents(other) != _contents(first)
    runs = [registry.run(str(version.run)) for version in (first, again, other)]
    assert runs[0].settings == runs[1].settings
    assert runs[2].settings == {**runs[0].settings, "seed": 1, "asked": sorted({*runs[0].settings["asked"], "seed"})}
    unasked = TrainRequest.of_run(replace(runs[0], settings={**runs[0].settings, "asked": []}), base=runs[0].base.name)
    longer, another = unasked.changed(epochs=50), unasked.changed(method="lora")
    assert (longer.settings.epochs, longer.settings.learning_rate) == (50, 0.01)
    assert another.settings.learning_rate is None  # what suits the other method


def test_a_base_that_goes_by_two_names_is_found_again(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    """The registry knows every place that a base was loaded from, and takes the latest that is still there."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_base, copy)
    uid = _interrupted(registry, tiny_base, 9)
    train("sst2", base=str(copy), registry=registry, **OPTIONS | {"epochs": 0.1})
    assert registry.base_places(registry.run(uid).base) == [str(copy), str(tiny_base)]
    assert registry.run(uid).base.name == str(copy)
    shutil.rmtree(copy)
    assert resume(uid, registry=registry).ref == "sst2@2"


def test_a_diverging_run_keeps_its_last_good_checkpoint(registry: Registry, tiny_base: Path) -> None:
    options = OPTIONS | {"checkpoint_every": 1}
    reported = []

    from transformers import TrainerCallback

    class Spoil(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **about: Any) -> None:
            if state.global_step == 6:
                for parameter in about["model"].parameters():
                    if parameter.requires_grad:
                        parameter.data.fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"loss became nan at step 7 of 24; the checkpoint of step 6 is kept"):
        train(
            "sst2",
            base=str(tiny_base),
            registry=registry,
            report=lambda progress: reported.append(progress.step),
            callbacks=[Spoil()],
            **options,
        )
    (run,) = registry.runs()
    assert run.status is RunStatus.FAILED
    assert reported == [1, 2, 3, 4, 5, 6]
    assert (registry.run_directory(run.uid) / "step-000000006.safetensors").exists()
