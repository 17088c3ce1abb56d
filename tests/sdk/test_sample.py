import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from pointsman.registry.errors import SettingsError, TaskNotFoundError
from pointsman.sdk.data import load_task_data
from pointsman.sdk.data.sample import SIZES, generate
from pointsman.sdk.tasks import GLUE


def test_there_are_ten_tasks():
    assert len(GLUE) == 10


@pytest.mark.parametrize("name", GLUE)
def test_a_sample_has_the_shape_of_its_task(name):
    task = GLUE[name]
    splits = generate(name)
    if name == "mnli":
        expected = ["train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched"]
    else:
        expected = ["train", "validation", "test"] if task.trainable else ["test"]
    assert list(splits) == expected
    for split, rows in splits.items():
        assert len(rows) == SIZES[split.split("_")[0]]
        for texts, label in rows:
            assert len(texts) == len(task.text)
            assert all(text and text == text.strip() and "{" not in text and "  " not in text for text in texts)
            assert 0 <= label <= 5 if task.is_regression else label in range(task.num_labels)
    every = [texts for rows in splits.values() for texts, _ in rows]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("name", GLUE)
def test_labels_are_even_and_not_in_order(name):
    for rows in generate(name).values():
        labels = [label for _, label in rows]
        if GLUE[name].is_regression:
            assert np.ptp(labels) > 4.5
            assert 1.5 < np.mean(labels) < 3.5
            assert len(set(labels)) >= 12
        else:
            counts = Counter(labels)
            assert len(counts) == GLUE[name].num_labels
            assert max(counts.values()) - min(counts.values()) <= 1
            assert labels != [index % GLUE[name].num_labels for index in range(len(labels))]


@pytest.mark.parametrize("name", ["cola", "mrpc"])
def test_no_word_gives_the_label_away(name):
    """What is learned must be more than the presence of one word."""
    rows = generate(name)["train"]
    seen: dict[str, Counter[int | float]] = {}
    for texts, label in rows:
        for word in {word for text in texts for word in text.lower().strip(".?").split()}:
            seen.setdefault(word, Counter())[label] += 1
    frequent = {word: counts for word, counts in seen.items() if counts.total() >= 40 and word not in GRAMMAR}
    assert len(frequent) > 50
    assert all(0.2 < counts[1] / counts.total() < 0.8 for counts in frequent.values())


# In cola these are what breaks a sentence.
GRAMMAR = {"of", "and", "to", "is"}


def test_the_same_rows_in_every_process():
    code = (
        "import hashlib, json; from pointsman.sdk.data.sample import generate; from pointsman.sdk.tasks import GLUE; "
    )
    code += "print(hashlib.sha256(json.dumps([generate(n) for n in GLUE]).encode()).hexdigest())"
    prints = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1


def test_seeds_and_sizes():
    small = generate("cola", sizes={"train": 20, "validation": 10, "test": 5})
    assert {name: len(rows) for name, rows in small.items()} == {"train": 20, "validation": 10, "test": 5}
    assert generate("cola", seed=1) != generate("cola", seed=2)
    with pytest.raises(SettingsError, match="known: train, validation, test"):
        generate("cola", sizes={"dev": 3})
    with pytest.raises(SettingsError, match="different rows; request fewer"):
        generate("wnli", sizes={"train": 100_000})
    with pytest.raises(TaskNotFoundError):
        generate("coal")


@pytest.mark.parametrize("name", GLUE)
def test_it_loads_as_data(name):
    data = load_task_data(name, "sample")
    assert data.source == "sample (synthetic)"
    assert all(split.labelled for split in data.splits.values())
    expected = generate(name)
    assert {split: part.texts() for split, part in data.splits.items()} == {
        split: [texts for texts, _ in rows] for split, rows in expected.items()
    }
    for split, part in data.splits.items():
        assert part.labels() == pytest.approx([label for _, label in expected[split]])
    assert data.fingerprint == load_task_data(GLUE[name], "sample").fingerprint
