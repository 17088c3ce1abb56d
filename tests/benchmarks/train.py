"""Training on SST-2: ours against the tutorial's recipe (padding to 80 tokens, batches of 16, plain AdapterTrainer).

The same rows, one epoch, the same base. Each side tries three learning rates, and its best accuracy counts; the speed
is that of the training steps alone, evaluations and loading left out on both sides.
"""

import tempfile
from typing import Any

from pointsman.registry import Registry
from pointsman.sdk import train
from pointsman.sdk.bases import find_base
from pointsman.sdk.data import load_task_data

ROWS = 3000
LEARNING_RATES = (1e-4, 5e-4, 1e-3)


def run(bench: str, data: str) -> dict[str, Any]:
    """Samples a second of both, and both accuracies."""
    ours = [_ours(data, rate) for rate in LEARNING_RATES]
    peer = [_recipe(data, rate) for rate in LEARNING_RATES]
    speed, other = (sorted(speed for speed, _ in side)[1] for side in (ours, peer))
    return {
        "ours": speed,
        "peer": other,
        "ratio": speed / other,
        "unit": "samples/s",
        "accuracy": max(accuracy for _, accuracy in ours),
        "peer_accuracy": max(accuracy for _, accuracy in peer),
        "rows": ROWS,
        "data": "sst2" if data != "sample" else "sample",
    }


def _ours(data: str, learning_rate: float) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        version = train(
            "sst2",
            base="minilm",
            data=data,
            registry=registry,
            epochs=1,
            learning_rate=learning_rate,
            max_train_rows=ROWS,
        )
        speeds = [point.value for point in registry.history("sst2", "train/samples_per_second")]
        # The history holds the speed of each stretch of steps; all stretches but the last are of the same rows.
        return len(speeds) / sum(1 / speed for speed in speeds), version.metrics["eval/accuracy"]


def _recipe(data: str, learning_rate: float) -> tuple[float, float]:
    import numpy as np
    from adapters import AdapterTrainer, AutoAdapterModel
    from transformers import AutoTokenizer, TrainingArguments, set_seed

    set_seed(0)
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
        for split in (splits["train"].sample(ROWS, seed=0), splits["validation"])
    ]
    with tempfile.TemporaryDirectory() as directory:
        trainer = AdapterTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=directory,
                learning_rate=learning_rate,
                num_train_epochs=1,
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
