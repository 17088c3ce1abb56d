"""How good adapters are beside full fine-tuning of the same base, on GLUE's own validation sets.

    python tests/benchmarks/quality.py [--task T …] [--seed S …] [--side ours|peer] [--out FILE] [--glue DIR]

Ours is ``train`` with every default. The peer is plain ``Trainer`` on all weights, four epochs (sst2 one), batches of
16 of like length, linear decay, in bf16 where the processor has it, at the best of three learning rates by the first
seed (2e-5, 5e-5, 1e-4). Of both, the best epoch by the validation rows counts. It takes hours: every training
appends a line to FILE, and those that are there are not made again. At the end a table is printed, of every training in
FILE.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import DIRECTORY, GLUE, append, read

if TYPE_CHECKING:
    from pointsman.sdk.data.batches import LengthBuckets

TASKS = ("cola", "mrpc", "stsb", "rte", "sst2")
SEEDS = (0, 1, 2)
LEARNING_RATES = (1e-4, 5e-5, 2e-5)
EPOCHS = {"sst2": 1}


def main() -> None:
    """Make what is not there, and print the table."""
    parser = argparse.ArgumentParser(description="Compare adapters with full fine-tuning.")
    parser.add_argument("--task", action="append", choices=TASKS)
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--side", action="append", choices=("ours", "peer"))
    parser.add_argument("--glue", default=str(GLUE))
    parser.add_argument("--out", type=Path, default=DIRECTORY / "quality.jsonl")
    asked = parser.parse_args()
    found = read(asked.out)
    for side in asked.side or ("ours", "peer"):
        for task in asked.task or TASKS:
            for cell in _cells(side, task, asked.seed or SEEDS, found):
                began = time.monotonic()
                metrics = (_ours if side == "ours" else _peer)(task, asked.glue, **cell)
                seconds = time.monotonic() - began
                line = {
                    "side": side,
                    "task": task,
                    **cell,
                    "precision": _precision(),
                    "metrics": metrics,
                    "seconds": seconds,
                }
                found.append(line)
                append(asked.out, line)
    _table(found)


def score(task: str, metrics: dict[str, float]) -> float:
    """A task's score as GLUE has it, times 100: the mean of its metrics."""
    names = {"cola": ["matthews_correlation"], "mrpc": ["accuracy", "f1"], "stsb": ["pearson", "spearmanr"]}
    return 100 * statistics.mean(metrics[f"eval/{name}"] for name in names.get(task, ["accuracy"]))


def _cells(side: str, task: str, seeds: tuple[int, ...], found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The trainings to make, one by one: which rate the peer's later seeds take is known after its first."""
    there = {
        (line.get("learning_rate"), line["seed"]) for line in found if (line["side"], line["task"]) == (side, task)
    }
    if side == "ours":
        yield from ({"seed": seed} for seed in seeds if (None, seed) not in there)
        return
    for rate in LEARNING_RATES:
        if (rate, SEEDS[0]) not in there:
            there.add((rate, SEEDS[0]))
            yield {"seed": SEEDS[0], "learning_rate": rate}
    best = _best_rate(task, found)
    for seed in seeds:
        if (best, seed) not in there:
            yield {"seed": seed, "learning_rate": best}


def _best_rate(task: str, found: list[dict[str, Any]]) -> float:
    first = [line for line in found if (line["side"], line["task"], line["seed"]) == ("peer", task, SEEDS[0])]
    return float(max(first, key=lambda line: score(task, line["metrics"]))["learning_rate"])


def _ours(task: str, data: str, *, seed: int) -> dict[str, float]:
    from pointsman.registry import Registry
    from pointsman.sdk import train

    with tempfile.TemporaryDirectory() as home, Registry(home) as registry:
        return dict(train(task, base="minilm", data=data, registry=registry, seed=seed).metrics)


def _peer(task: str, data: str, *, seed: int, learning_rate: float) -> dict[str, float]:
    import numpy as np
    import torch
    from torch.utils.data import DataLoader
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from pointsman.sdk.bases.find import find_base
    from pointsman.sdk.data import load_task_data
    from pointsman.sdk.data.batches import LengthBuckets
    from pointsman.sdk.engines.scoring import measure

    set_seed(seed)
    base = str(find_base("minilm").files.directory)
    tokenizer = AutoTokenizer.from_pretrained(base)
    loaded = load_task_data(task, data)
    model = AutoModelForSequenceClassification.from_pretrained(
        base,
        num_labels=loaded.task.num_labels,
        attn_implementation="eager",  # on a CPU the faster one in training
    )
    validation = loaded.splits["validation"]
    train_rows, eval_rows = (
        split.dataset.map(
            lambda rows: tokenizer(*(rows[name] for name in loaded.task.text), truncation=True, max_length=128),
            batched=True,
        )
        .rename_column(loaded.task.label, "labels")
        .remove_columns(list(loaded.task.text))
        for split in (loaded.splits["train"], validation)
    )

    def metrics(outcome: Any) -> dict[str, float]:
        return measure(loaded.task, torch.from_numpy(outcome.predictions), validation)

    class Bucketed(Trainer):
        """Trainer with batches of rows of like length, as on our side."""

        def get_train_dataloader(self) -> DataLoader[Any]:
            lengths = np.array([len(ids) for ids in train_rows["input_ids"]])
            buckets = LengthBuckets(lengths, batch_size=16, seed=seed)
            return DataLoader(train_rows, batch_sampler=_Batches(buckets), collate_fn=self.data_collator)

    with tempfile.TemporaryDirectory() as directory:
        trainer = Bucketed(
            model=model,
            args=TrainingArguments(
                output_dir=directory,
                learning_rate=learning_rate,
                num_train_epochs=EPOCHS.get(task, 4),
                per_device_train_batch_size=16,
                per_device_eval_batch_size=64,
                warmup_ratio=0.06,
                weight_decay=0.01,
                seed=seed,
                bf16=_precision() == "bf16",
                use_cpu=True,
                eval_strategy="epoch",
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=train_rows,
            eval_dataset=eval_rows,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=metrics,
        )
        trainer.train()
        epochs = [line for line in trainer.state.log_history if "eval_loss" in line]
    best = max(epochs, key=lambda line: line[f"eval_{loaded.task.primary}"])
    return {f"eval/{name}": best[f"eval_{name}"] for name in loaded.task.metrics}


def _precision() -> str:
    """What both sides train in here."""
    import torch

    from pointsman.sdk.core.devices import has_fast_bf16

    return "bf16" if has_fast_bf16(torch.device("cpu")) else "fp32"


class _Batches:
    """The batches of one epoch after another."""

    def __init__(self, buckets: "LengthBuckets") -> None:
        self._buckets = buckets
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._buckets)

    def __iter__(self) -> Iterator[list[int]]:
        self._epoch += 1
        return iter(self._buckets.epoch(self._epoch))


def _table(found: list[dict[str, Any]]) -> None:
    """The mean over seeds of each side and task, with their spread, and the averages over tasks."""
    means: dict[str, dict[str, float]] = {"ours": {}, "peer": {}}
    for side, of_tasks in means.items():
        for task in TASKS:
            lines = [line for line in found if (line["side"], line["task"]) == (side, task)]
            if side == "peer" and lines:
                lines = [line for line in lines if line["learning_rate"] == _best_rate(task, found)]
            scores = [score(task, line["metrics"]) for line in lines]
            if scores:
                of_tasks[task] = statistics.mean(scores)
                spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
                print(f"{side}  {task}  {of_tasks[task]:.1f}{spread}  ({len(scores)} seeds)")
    both = [task for task in TASKS if task in means["ours"] and task in means["peer"]]
    if both:
        ours, peer = (statistics.mean(means[side][task] for task in both) for side in ("ours", "peer"))
        print(f"average of {', '.join(both)}: ours {ours:.2f}, full fine-tuning {peer:.2f}, {ours - peer:+.2f}")


if __name__ == "__main__":
    main()
