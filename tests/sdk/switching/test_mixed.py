"""Rows of any mix come back as each would alone, in as few forward passes as there are kinds of adapters."""

from pathlib import Path
from typing import Any

import pytest
import torch

import pointsman.sdk.patches.modernbert
from pointsman.registry import Registry
from pointsman.registry.errors import AdapterNotFoundError, SettingsError
from pointsman.sdk import Switcher
from pointsman.sdk.tasks import GLUE, Task

from architectures import ARCHITECTURES
from helpers import PAIRS, TEXTS, MakeVersion, PlainAdapters

assert pointsman.sdk.patches.modernbert  # so that plain adapters knows ModernBERT

RACKED = ("seq_bn", "double_seq_bn", "par_bn", "seq_bn_inv", "double_seq_bn_inv", "lora", "ia3")
ALONE = ("compacter", "prefix_tuning", "prompt_tuning", "dora", "vera", "loreft", "scaled_par_bn", "unipelt", "mam")
TASKS = ("sst2", "cola", "mnli", "stsb")


def count_forwards(switcher: Switcher) -> list[int]:
    """The rows of every forward pass from now on."""
    seen: list[int] = []

    def count(module: torch.nn.Module, inputs: tuple[object, ...], outputs: torch.Tensor) -> None:
        seen.append(len(outputs))

    switcher._model.base_model.embeddings.register_forward_hook(count)
    return seen


def test_every_method_in_one_batch_answers_as_it_does_in_plain_adapters(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    """Two versions of each method; single texts and pairs, classes and scores; rows of one adapter far apart."""
    rows: list[tuple[str, str | tuple[str, str]]] = []
    expected = []
    plain = PlainAdapters(tiny_base)
    for number, method in enumerate(RACKED + ALONE):
        for seed in range(2):
            task = GLUE[TASKS[(number + seed) % len(TASKS)]]
            version = make_version(f"m{number}-{seed}", task, method=method, seed=2 * number + seed)
            texts = list(PAIRS if task.is_pair else TEXTS)
            logits = plain.logits(registry.export(version.ref, tmp_path / version.name), texts)
            rows += [(version.name, text) for text in texts]
            expected += list(logits)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    with Switcher(str(tiny_base), registry=registry) as switcher:
        answers = switcher.predict_mixed([rows[index] for index in order])
    assert len(answers) == len(rows) > 100
    for index, answer in zip(order, answers, strict=True):
        logits = expected[index]
        if answer.probabilities is None:
            assert answer.score == pytest.approx(logits.item(), abs=2e-5)
        else:
            found = torch.tensor(list(answer.probabilities.values()))
            torch.testing.assert_close(found, logits.softmax(0), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_base_mixes_bottlenecks_and_lora(
    architecture: str, make_version: MakeVersion, registry: Registry, bases: dict[str, Path], tmp_path: Path
) -> None:
    plain = PlainAdapters(bases[architecture])
    names, expected = [], {}
    for number, method in enumerate(("seq_bn", "lora", "ia3")):
        for seed in range(3):
            version = make_version(f"{method}-{seed}", method=method, seed=3 * number + seed, base=bases[architecture])
            names.append(version.name)
            expected[version.name] = plain.logits(registry.export(version.ref, tmp_path / version.name), TEXTS)
    with Switcher(str(bases[architecture]), registry=registry) as switcher:
        answers = switcher.predict_mixed([(name, text) for text in TEXTS for name in names])
        for number, answer in enumerate(answers):
            logits = expected[names[number % len(names)]][number // len(names)]
            found = torch.tensor(list(answer.probabilities.values()))
            torch.testing.assert_close(found, logits.softmax(0), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("method", RACKED)
def test_one_forward_pass_for_all_versions_of_a_configuration(
    method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    for seed in range(5):
        make_version(f"a{seed}", method=method, seed=seed)
    make_version("score", GLUE["stsb"], method=method, seed=9)
    rows: list[tuple[str, str | tuple[str, str]]] = [(f"a{seed}", text) for text in TEXTS for seed in range(5)]
    rows += [("score", pair) for pair in PAIRS]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for ref, _ in rows:
            switcher.load(ref)
        forwards = count_forwards(switcher)
        switcher.predict_mixed(rows)
        assert forwards == [len(rows)]


SEEDED = {"init_weights_seed": 3}

ONLY_TRAINING: list[tuple[str, dict[str, Any]]] = [
    ("lora", {"dropout": 0.1, "init_weights": "bert", **SEEDED}),
    ("ia3", {"init_weights": "bert", **SEEDED}),
    ("seq_bn", {"dropout": 0.5, "init_weights": "houlsby", **SEEDED}),
    ("double_seq_bn_inv", {"dropout": 0.5, **SEEDED}),
    ("lora+seq_bn", {"dropout": 0.3, "lora.init_weights": "bert", "seq_bn.init_weights": "mam_adapter", **SEEDED}),
]


@pytest.mark.parametrize(("method", "fields"), ONLY_TRAINING, ids=[method for method, _ in ONLY_TRAINING])
def test_what_matters_in_training_only_parts_no_versions(
    method: str, fields: dict[str, Any], make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    """Whichever is there first, they share a rack and a forward pass, and answer as each does without the other."""
    versions = [make_version(f"a{number}", method=method, seed=number, fields=[None, fields][number % 2])
                for number in range(4)]  # fmt: skip
    names = [version.name for version in versions]
    alone = {}
    for name in names:
        with Switcher(str(tiny_base), registry=registry) as switcher:
            alone[name] = switcher.logits(name, TEXTS)
    rows = [(name, text) for text in TEXTS for name in names]
    for order in (names, names[::-1]):
        with Switcher(str(tiny_base), registry=registry, warm_bytes=10**8) as switcher:
            for name in order:
                switcher.load(name)
            forwards = count_forwards(switcher)
            answers = switcher.predict_mixed(rows)
            assert forwards == [len(rows)]
            assert switcher.status().racks == 1
            for (name, text), answer in zip(rows, answers, strict=True):
                expected = alone[name][TEXTS.index(text)].softmax(0).max().item()
                assert answer.score == pytest.approx(expected, abs=1e-5)
            assert all(torch.equal(switcher.logits(name, TEXTS), alone[name]) for name in names)
            configs = {loaded.version.name: loaded.config for loaded in switcher._adapters.loaded}
            assert configs == {version.name: version.config for version in versions}
            if "inv" not in method:  # in the second place of a stack, too
                both = switcher.logits("stack(a1, a0)", TEXTS)
                assert torch.equal(switcher.logits("stack(a1, a0)", TEXTS), both)


def test_what_no_rack_holds_takes_a_forward_pass_each(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    for seed in range(2):
        make_version(f"b{seed}", seed=seed)
        make_version(f"p{seed}", method="prefix_tuning_flat", seed=seed)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        rows = [(name, text) for text in TEXTS for name in ("b0", "p0", "b1", "p1")]
        switcher.predict_mixed(rows)
        forwards = count_forwards(switcher)
        switcher.predict_mixed(rows)
        assert sorted(forwards) == [len(TEXTS), len(TEXTS), 2 * len(TEXTS)]


def test_other_sizes_of_a_method_are_other_racks(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("one", method="seq_bn")
    make_version("two", method="double_seq_bn", seed=1)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        alone = [switcher.logits(name, TEXTS) for name in ("one", "two")]
        answers = switcher.predict_mixed([(name, text) for name in ("one", "two") for text in TEXTS])
        assert switcher.status().racks == 2
    for answer, logits in zip(answers, torch.cat(alone), strict=True):
        assert answer.score == pytest.approx(logits.softmax(0).max().item(), abs=1e-5)


def test_a_batch_that_is_wrong_in_one_row_predicts_nothing(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("sst2")
    make_version("pairs", GLUE["mrpc"], seed=1)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        forwards = count_forwards(switcher)
        for rows, error, message in [
            ([("sst2", "fine"), ("pairs", "alone")], SettingsError, "pairs of texts .*: input 1"),
            ([("sst2", PAIRS[0]), ("pairs", PAIRS[0])], SettingsError, "single texts: input 0"),
            ([("sst2", "fine"), ("sst3", "fine")], AdapterNotFoundError, "did you mean sst2"),
        ]:
            with pytest.raises(error, match=message):
                switcher.predict_mixed(rows)
        assert forwards == []


def test_tasks_of_ones_own_with_other_numbers_of_labels_mix(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    tasks = [
        Task(name=f"own{count}", description="own", text=("text",), labels=tuple(f"l{n}" for n in range(count)),
             metrics=("accuracy",), primary="accuracy")
        for count in (2, 5, 11)
    ]  # fmt: skip
    for seed, task in enumerate(tasks):
        make_version(task.name, task, seed=seed)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        answers = switcher.predict_mixed([(task.name, text) for text in TEXTS for task in tasks])
        for number, answer in enumerate(answers):
            task = tasks[number % 3]
            assert tuple(answer.probabilities) == task.labels
            logits = switcher.logits(task.name, [TEXTS[number // 3]])[0]
            assert answer.label == task.labels[int(logits.argmax())]


def test_bf16_mixes_nearly_the_same(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    rows = []
    for seed, method in enumerate(("seq_bn", "lora", "ia3", "seq_bn", "lora", "ia3")):
        make_version(f"a{seed}", method=method, seed=seed)
        rows += [(f"a{seed}", text) for text in TEXTS]
    with (
        Switcher(str(tiny_base), registry=registry) as exact,
        Switcher(str(tiny_base), registry=registry, precision="bf16") as fast,
    ):
        pairs = list(zip(exact.predict_mixed(rows), fast.predict_mixed(rows), strict=True))
        differences = [abs(one.probabilities["positive"] - other.probabilities["positive"]) for one, other in pairs]
        assert 0 < max(differences) < 0.05
        assert fast.status().size < exact.status().size
