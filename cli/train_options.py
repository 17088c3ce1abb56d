"""The options of a training's settings, which several commands share."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import click

_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "epochs": click.option(
        "--epochs", type=float, help="Passes over the rows. [default: 2 to 8, more for fewer rows; MRPC: to 12]"
    ),
    "max_steps": click.option("--max-steps", type=int, help="Optimiser steps, in place of --epochs."),
    "learning_rate": click.option(
        "--lr", "learning_rate", type=float, help="Learning rate after warm-up. [default: by method]"
    ),
    "schedule": click.option(
        "--schedule",
        type=click.Choice(["constant", "linear", "cosine"]),
        help="Rate after warm-up. [default: constant]",
    ),
    "warmup": click.option(
        "--warmup", type=float, metavar="SHARE", help="Share of the steps in which the rate rises. [default: 0.06]"
    ),
    "average": click.option(
        "--average", type=float, metavar="SHARE", help="Share of the steps so far whose mean is scored. [default: 0.2]"
    ),
    "batch_size": click.option("--batch-size", type=int, help="Rows in a forward pass. [default: 16; CoLA: 32]"),
    "gradient_accumulation": click.option(
        "--gradient-accumulation", type=int, metavar="N", help="Forward passes in an optimiser step. [default: 1]"
    ),
    "weight_decay": click.option("--weight-decay", type=float, help="Weight decay of matrices. [default: 0]"),
    "max_grad_norm": click.option(
        "--max-grad-norm", type=float, help="Norm to which greater gradients are scaled. [default: 1]"
    ),
    "class_weight": click.option(
        "--class-weight", multiple=True, metavar="LABEL=W", help="Weight of a class in the loss, or 'balanced'."
    ),
    "max_length": click.option("--max-length", type=int, help="Tokens to which a row is truncated. [default: 128]"),
    "drop_layers": click.option(
        "--drop-layers", metavar="N", help="Lowest layers without adapters; 0-5: another number per batch. [default: 0]"
    ),
    "seed": click.option("--seed", type=int, help="Seed of new weights, row order and dropout. [default: 0]"),
    "max_train_rows": click.option(
        "--max-train-rows", type=int, metavar="N", help="At most N training rows, drawn by the seed."
    ),
    "max_eval_rows": click.option(
        "--max-eval-rows", type=int, metavar="N", help="At most N evaluation rows, the first ones."
    ),
    "eval_every": click.option(
        "--eval-every",
        type=float,
        metavar="STEPS",
        help="Steps between evaluations; below 1: epochs. [default: 1 epoch; of tune: 0.25]",
    ),
    "patience": click.option("--patience", type=int, metavar="N", help="Stop after N evaluations without improvement."),
    "checkpoint_every": click.option(
        "--checkpoint-every", type=int, metavar="STEPS", help="Steps between checkpoints. [default: 30 s]"
    ),
    "precision": click.option(
        "--precision", type=click.Choice(["auto", "bf16", "fp32"]), help="Precision of training. [default: auto]"
    ),
    "report_to": click.option(
        "--report-to", multiple=True, metavar="TRACKER", help="Also log to tensorboard, mlflow, wandb, …"
    ),
}
"""Options by the name of their setting; only ``class_weight`` differs, from ``class_weights``."""


def settings_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of a training's settings to a command: those named, or all."""

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names or tuple(_OPTIONS)):
            command = _OPTIONS[name](command)
        return command

    return give


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the options that were typed, by their names in ``TrainSettings``."""
    settings = {key: value for key, value in given.items() if key in (*_OPTIONS, "device") and key != "class_weight"}
    if given.get("class_weight"):
        settings["class_weights"] = _class_weights(given["class_weight"])
    return settings


def _class_weights(given: Iterable[str]) -> str | dict[str, float]:
    words = list(given)
    if words == ["balanced"]:
        return "balanced"
    weights = {}
    for word in words:
        label, equals, value = word.rpartition("=")
        try:
            weights[label] = float(value)
        except ValueError:
            equals = ""
        if not equals or not label:
            raise click.UsageError(f"--class-weight takes LABEL=NUMBER, or 'balanced' alone; found '{word}'")
    return weights


def method_fields(fields: Iterable[str]) -> dict[str, Any]:
    """The fields set by ``--set``, by name; a value that is not JSON is a string.

    Raises:
        click.UsageError: An item is not FIELD=VALUE.
    """
    overrides: dict[str, Any] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--set takes FIELD=VALUE, as reduction_factor=8; found '{field}'")
        try:
            overrides[name] = json.loads(value)
        except ValueError:
            overrides[name] = value  # a word: --set non_linearity=gelu
    return overrides
