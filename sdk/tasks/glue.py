"""GLUE's ten tasks, as one table."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pointsman.registry.errors import TaskNotFoundError, unknown

from .task import Task

SYNTHETIC = "sample (synthetic)"
"""The source of the sample's rows in a run's record; their scores say nothing about GLUE."""

_NLI = ("entailment", "neutral", "contradiction")

# Columns, class names and their order are those of the data set nyu-mll/glue on the Hugging Face hub. The metrics are
# those of Table 1 in the GLUE paper (Wang et al. 2019, https://openreview.net/pdf?id=rJ4km2R5t7). For MRPC and QQP the
# table lists accuracy before F1, and accuracy is primary here: on MRPC the constant answer "equivalent" already has an
# F1 of 0.81, so that picking checkpoints by F1 can prefer a model that has learned nothing.
# ruff format would spread this table over a hundred lines.
# fmt: off
_TABLE = (
    # name    columns                     classes, by id                        metrics, the primary one first
    ("cola", ("sentence",),               ("unacceptable", "acceptable"),       ("matthews_correlation",),
     "Is the sentence acceptable English?"),
    ("sst2", ("sentence",),               ("negative", "positive"),             ("accuracy",),
     "Is the sentence from a film review positive?"),
    ("mrpc", ("sentence1", "sentence2"),  ("not_equivalent", "equivalent"),     ("accuracy", "f1"),
     "Do two sentences from the news mean the same?"),
    ("stsb", ("sentence1", "sentence2"),  (),                                   ("pearson", "spearmanr"),
     "How alike are two sentences, from 0 to 5?"),
    ("qqp",  ("question1", "question2"),  ("not_duplicate", "duplicate"),       ("accuracy", "f1"),
     "Do two questions ask the same?"),
    ("mnli", ("premise", "hypothesis"),   _NLI,                                 ("accuracy",),
     "Does the premise entail the hypothesis, contradict it, or neither?"),
    ("qnli", ("question", "sentence"),    ("entailment", "not_entailment"),     ("accuracy",),
     "Does the sentence answer the question?"),
    ("rte",  ("sentence1", "sentence2"),  ("entailment", "not_entailment"),     ("accuracy",),
     "Does the first sentence entail the second?"),
    ("wnli", ("sentence1", "sentence2"),  ("not_entailment", "entailment"),     ("accuracy",),
     "Is the pronoun of the first sentence resolved rightly in the second?"),
    ("ax",   ("premise", "hypothesis"),   _NLI,                                 ("matthews_correlation",),
     "Diagnostic pairs for natural language inference, answered by mnli's adapter"),
)

_EXTRAS: Mapping[str, Mapping[str, Any]] = {
    "stsb": {"bounds": (0.0, 5.0)},
    "mnli": {"validation": ("validation_matched", "validation_mismatched")},
    "ax":   {"validation": ("test",), "scored_with": "mnli"},  # GLUE publishes no training data for it, and one split
}

GLUE: Mapping[str, Task] = MappingProxyType(
    {
        name: Task(
            name=name,
            description=description,
            text=text,
            labels=labels,
            metrics=metrics,
            primary=metrics[0],
            **_EXTRAS.get(name, {}),
        )
        for name, text, labels, metrics, description in _TABLE
    }
)
"""GLUE's ten tasks (https://gluebenchmark.com) by name."""


def glue_task(name: str) -> Task:
    """Find GLUE's task of a name.

    Raises:
        TaskNotFoundError: GLUE has no task of that name; the message names similar ones and lists all.

    Examples:
        >>> glue_task("sst2").labels
        ('negative', 'positive')
    """
    if name in GLUE:
        return GLUE[name]
    hint = "for a task of your own, give a file of data with its text and label columns"
    raise unknown(TaskNotFoundError, "GLUE task", name, GLUE, hint)
