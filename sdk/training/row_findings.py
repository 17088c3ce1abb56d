"""Findings about the rows of a training, which no setting of the optimiser mends."""

from collections.abc import Iterator
from typing import Final

from pointsman.registry import Run, Version
from pointsman.registry.errors import Action, Advice

from ..data.lengths import HELD
from .finding import Finding

MANY_CUT: Final = 0.05
"""More than this share of rows cut is worth another training."""


def row_findings(version: Version, run: Run) -> Iterator[Finding]:
    """What the record of a run's rows shows; nothing where a release did not record it.

    Args:
        version: The version that the run made.
        run: A run with the ``data`` that ``row_record`` makes.
    """
    yield from _cut(version, run)
    rows = run.data.get("rows", {})
    for prefix, repeated in run.data.get("repeated", {}).items():
        if repeated:
            yield Finding(
                text=f"{repeated} of {rows[prefix]} {_rows_of(run, prefix)} also stand in the training rows, so their "
                "scores are better than those of new texts"
            )
    for name, classes in run.data.get("absent", {}).items():
        effect = "learned" if name == "train" else "scored"
        yield Finding(
            text=f"the {rows[name]} {_rows_of(run, name)} have none of {', '.join(map(repr, classes))}, which is never "
            f"{effect}"
        )


def _cut(version: Version, run: Run) -> Iterator[Finding]:
    """Rows that are longer than the training's limit on tokens."""
    cut = run.data.get("cut")
    if cut is None or not any(cut["rows"].values()):
        return
    total, length = run.data["rows"], run.settings["max_length"]
    of_each = " and ".join(f"{count} of {total[name]} {_rows_of(run, name)}" for name, count in cut["rows"].items())
    text = f"{of_each} are cut at {length} tokens, which leaves out {sum(cut['tokens'].values())} tokens"
    longer, share = cut["max_length"], cut["held"]
    if longer <= length:
        # A length that holds fewer rows than it should is the longest that the base takes; else few rows are longer.
        yield Finding(text=f"{text}; the base takes no more" if share < HELD else text)
        return
    text = f"{text}; {longer} tokens hold {100 * share:.0f} % of the rows"
    if sum(cut["rows"].values()) > MANY_CUT * sum(total.values()):
        yield Finding(text=text, advice=(Advice(Action.TRAIN_LIKE, {"ref": version.ref, "max_length": longer}),))
    else:
        yield Finding(text=text)


def _rows_of(run: Run, name: str) -> str:
    """The name of a split's rows; of validation rows with their prefix, where there are several such splits."""
    if name == "train":
        return "training rows"
    return f"validation rows ({name})" if len(run.data["rows"]) > 2 else "validation rows"
