"""Training on SST-2: ours against the tutorial's recipe (padding to 80 tokens, batches of 16, plain AdapterTrainer).

The same rows, one epoch, the same base. Each side takes the best of three learning rates on the first seed, and its
accuracy is the mean over three seeds at that rate: one seed alone is good to a point or two. The speed is that of the
training steps alone, evaluations and loading left out on both sides.
"""

import statistics
import tempfile
from collections.abc import Callable
from typing import Any

from pointsman.registry import Registry
from pointsman.sdk import train
from pointsman.sdk.bases import find_base
from pointsman.sdk.data import load_task_data

ROWS = 3000
LEARNING_RATES = (1e-4, 5e-4, 1e-3)
SEEDS = (0, 1, 2)


def run(bench: str, data: str) -> dict[str, Any]:
    """Samples a second of both, and both accuracies."""
    ours, peer = _measure(_ours, data), _measure(_recipe, data)
    return {
        "ours": ours["speed"],
        "peer": peer["speed"],
        "ratio": ours["speed"] / peer["speed"],
        "unit": "samples/s",
        "accuracy": statistics.mean(ours["accuracies"]),
        "peer_accuracy": statistics.mean(peer["accuracies"]),
        "accuracies": ours["accuracies"],
        "peer_accuracies": peer["accuracies"],
        "learning_rate": ours["learning_rate"],
        "peer_learning_rate": peer["learning_rate"],
        "rows": ROWS,
        "data": "sst2" if data != "sample" else "sample",
    }


def _measure(side: Callable[[str, float, int], tuple[float, float]], data: str) -> dict[str, Any]:
    """The median speed of all runs, the best learning rate, and the accuracies at it, one a seed."""
    first, *others = SEEDS
    tried = {rate: side(data, rate, first) for rate in LEARNING_RATES}
    best = max(tried, key=lambda rate: tried[rate][1])
    repeated = [side(data, best, seed) for seed in others]
    return {
        "speed": statistics.median(speed for speed, _ in (*tried.values(), *repeated)),
        "learning_rate": best,
        "accuracies": [round(accuracy, 4) for _, accuracy in (tried[best], *repeated)],
    }


def _ours(data: str, learning_rate: float, seed: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        version = train(
            "sst2",
            base="minilm",
            data=data,
            registry=registry,
            epochs=1,
            learning_rate=learning_rate,
            max_train_rows=ROWS,
            seed=seed,
        )
        speeds = [point.value for point in registry.history("sst2", "train/samples_per_second")]
        # The history holds the speed of each stretch of steps; all stretches but the last are of the same rows.
        return len(speeds) / sum(1 / speed for speed in speeds), version.metrics["eval/accuracy"]


def _recipe(data: str, learning_rate: float, seed: int) -> tuple[float, float]:
    import numpy as np
    from adapters import AdapterTrainer, AutoAdapterModel
    from transformers import AutoTokenizer, TrainingArguments, set_seed

    set_seed(seed)
    base = find_base("minilm")
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
        speed = trainer.train().metrics["train_samples_per_second"]
        return float(speed), float(trainer.evaluate()["eval_accuracy"])
