"""Training on SST-2: ours against the tutorial's recipe (padding to 80 tokens, batches of 16, plain AdapterTrainer).

The same rows, the same base. ``train-sst2`` is one epoch of 3,000 rows: each side takes the best of three learning
rates on the first seed, and its accuracy is the mean over three seeds at that rate: one seed alone is good to a point
or two. The speed is that of the training steps alone, evaluations and loading left out on both sides.
``train-memory`` is the peak of the resident memory of a process that makes one such run. ``train-sst2-full`` is the
time of a whole run of three epochs over all rows, loading, tokenising and evaluating included; the recipe's steps all
take the same time, so its run is timed for 3,000 rows and drawn out to three epochs of all.
"""

import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from pointsman.registry import Registry
from pointsman.sdk import train
from pointsman.sdk.bases.find import find_base
from pointsman.sdk.data import load_task_data

ROWS = 3000
EPOCHS = 3
LEARNING_RATES = {"ours": (5e-4, 1e-3, 2e-3), "recipe": (1e-4, 5e-4, 1e-3)}
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Outcome:
    """What one training came to."""

    speed: float
    """Samples a second, of the steps."""
    accuracy: float
    seconds: float
    """Of everything."""
    training: float
    """Seconds of the steps."""
    rows: int
    memory: int
    """Peak of the process, in bytes."""


def run(bench: str, data: str) -> dict[str, Any]:
    """The figure of one bench."""
    kind = {"data": "sst2" if data != "sample" else "sample"}
    if bench == "train-memory":
        ours, peer = (_apart(side, data, rate, 0) for side, rate in ((_ours, 1e-3), (_recipe, 5e-4)))
        megabytes = {"ours": ours.memory / 1e6, "peer": peer.memory / 1e6}
        return {**megabytes, "ratio": peer.memory / ours.memory, "unit": "MB", **kind}
    if bench == "train-sst2-full":
        return {**_full(data), **kind}
    ours_of_all, recipe_of_all = _measure(data)
    return {
        "ours": ours_of_all["speed"],
        "peer": recipe_of_all["speed"],
        "ratio": ours_of_all["speed"] / recipe_of_all["speed"],
        "unit": "samples/s",
        "accuracy": statistics.mean(ours_of_all["accuracies"]),
        "peer_accuracy": statistics.mean(recipe_of_all["accuracies"]),
        "accuracies": ours_of_all["accuracies"],
        "peer_accuracies": recipe_of_all["accuracies"],
        "learning_rate": ours_of_all["learning_rate"],
        "peer_learning_rate": recipe_of_all["learning_rate"],
        "rows": ROWS,
        **kind,
    }


def _full(data: str) -> dict[str, Any]:
    ours = _apart(_ours, data, None, 0, rows=None, epochs=EPOCHS)
    peer = _apart(_recipe, data, 5e-4, 0)
    whole = ours.rows * EPOCHS
    drawn_out = peer.seconds - peer.training + peer.training * whole / peer.rows
    return {
        "ours": ours.seconds,
        "peer": drawn_out,
        "ratio": drawn_out / ours.seconds,
        "unit": "s",
        "accuracy": ours.accuracy,
        "rows": whole,
        "peer_drawn_out_from_rows": peer.rows,
    }


def _measure(data: str) -> list[dict[str, Any]]:
    """Of each side, the median speed of all runs, the best learning rate, and the accuracies at it, one a seed.

    The sides take turns: a machine that is slower for some minutes is so for both.
    """
    sides = {"ours": _ours, "recipe": _recipe}
    first, *others = SEEDS
    tried: dict[str, dict[float, Outcome]] = {name: {} for name in sides}
    for rates in zip(*(LEARNING_RATES[name] for name in sides), strict=True):
        for (name, side), rate in zip(sides.items(), rates, strict=True):
            tried[name][rate] = side(data, rate, first)
    best = {name: max(of, key=lambda rate, of=of: of[rate].accuracy) for name, of in tried.items()}
    repeated: dict[str, list[Outcome]] = {name: [] for name in sides}
    for seed in others:
        for name, side in sides.items():
            repeated[name].append(side(data, best[name], seed))
    return [
        {
            "speed": statistics.median(outcome.speed for outcome in (*tried[name].values(), *repeated[name])),
            "learning_rate": best[name],
            "accuracies": [round(outcome.accuracy, 4) for outcome in (tried[name][best[name]], *repeated[name])],
        }
        for name in sides
    ]


def _apart(side: Callable[..., Outcome], *arguments: Any, **options: Any) -> Outcome:
    """In a new process, so that its peak is this training's."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(side, *arguments, **options).result()


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _ours(data: str, learning_rate: float | None, seed: int, *, rows: int | None = ROWS, epochs: float = 1) -> Outcome:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        version = train(
            "sst2",
            base="minilm",
            data=data,
            registry=registry,
            epochs=epochs,
            learning_rate=learning_rate,
            max_train_rows=rows,
            seed=seed,
        )
        speed = speed_of(registry, "sst2")
        trained = registry.run(str(version.run)).data["rows"]["train"]
    return Outcome(
        speed=speed,
        accuracy=version.metrics["eval/accuracy"],
        seconds=time.monotonic() - began,
        training=epochs * trained / speed,
        rows=trained,
        memory=_memory(),
    )


def speed_of(registry: Registry, ref: str) -> float:
    """Samples a second of a training's steps: its history has each stretch's, all but the last of as many rows."""
    points = registry.history(ref, "train/samples_per_second")
    return len(points) / sum(1 / point.value for point in points)


def _recipe(data: str, learning_rate: float, seed: int) -> Outcome:
    import numpy as np
    from adapters import AdapterTrainer, AutoAdapterModel
    from transformers import AutoTokenizer, TrainingArguments, set_seed

    began = time.monotonic()
    set_seed(seed)
    base = str(find_base("minilm").files.directory)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoAdapterModel.from_pretrained(base)
    model.add_adapter("sst2", config="pfeiffer")
    model.add_classification_head("sst2", num_labels=2)
    model.train_adapter("sst2")
    splits = load_task_data("sst2", data).splits
    encoded = [
        split.dataset.map(
            lambda rows: tokenizer(rows["sentence"], max_length=80, truncation=True, padding="max_length"), batched=True
        )
        .rename_column("label", "labels")
        .with_format("torch", columns=["input_ids", "attention_mask", "labels"])
        for split in (splits["train"].sample(ROWS, seed=seed), splits["validation"])
    ]
    with tempfile.TemporaryDirectory() as directory:
        trainer = AdapterTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=directory,
                learning_rate=learning_rate,
                num_train_epochs=1,
                seed=seed,
                per_device_train_batch_size=16,
                logging_steps=200,
                save_strategy="no",
                remove_unused_columns=False,
                report_to=[],
                use_cpu=True,
                disable_tqdm=True,
            ),
            train_dataset=encoded[0],
            eval_dataset=encoded[1],
            compute_metrics=lambda outcome: {
                "accuracy": float(np.mean(outcome.predictions.argmax(axis=1) == outcome.label_ids))
            },
        )
        trainer.pop_callback(next(c for c in trainer.callback_handler.callbacks if "Printer" in type(c).__name__))
        metrics = trainer.train().metrics
        accuracy = float(trainer.evaluate()["eval_accuracy"])
    return Outcome(
        speed=float(metrics["train_samples_per_second"]),
        accuracy=accuracy,
        seconds=time.monotonic() - began,
        training=float(metrics["train_runtime"]),
        rows=ROWS,
        memory=_memory(),
    )
