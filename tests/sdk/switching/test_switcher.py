"""One base, many adapters: the right numbers after any sequence, in every thread, and the base untouched."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.registry import Registry
from pointsman.registry.errors import (
    AdapterNotFoundError,
    BaseMismatchError,
    InvalidNameError,
    ObjectCorruptError,
    SettingsError,
)
from pointsman.sdk import Prediction, Switcher
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.tasks import GLUE

from helpers import PAIRS, TEXTS, MakeVersion, base_outputs, weights_hash

METHODS = {"seq": "seq_bn", "low": "lora", "prefix": "prefix_tuning_flat", "weighed": "dora", "edited": "loreft"}


@pytest.fixture
def adapters(make_version: MakeVersion) -> list[str]:
    for seed, (name, method) in enumerate(METHODS.items()):
        make_version(name, method=method, seed=seed)
    return list(METHODS)


@pytest.fixture
def alone(adapters: list[str], registry: Registry, tiny_base: Path) -> dict[str, torch.Tensor]:
    """Each adapter's logits from a Switcher that has never loaded another."""
    logits = {}
    for name in adapters:
        with Switcher(str(tiny_base), registry=registry) as switcher:
            logits[name] = switcher.logits(name, TEXTS)
    distinct = {tuple(values.flatten().tolist()) for values in logits.values()}
    assert len(distinct) == len(METHODS)
    return logits


def test_any_sequence_of_switches_leaves_every_answer_and_the_base_as_they_were(
    alone: dict[str, torch.Tensor], registry: Registry, tiny_base: Path
) -> None:
    names = st.sampled_from(sorted(METHODS))
    steps = st.lists(st.tuples(st.sampled_from(["predict", "active", "unload", "load"]), names), max_size=12)
    with Switcher(str(tiny_base), registry=registry) as fresh:
        before, hashed = base_outputs(fresh), weights_hash(fresh)

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    @given(steps)
    def run(sequence: list[tuple[str, str]]) -> None:
        with Switcher(str(tiny_base), registry=registry) as switcher:
            for action, name in sequence:
                match action:
                    case "load":
                        assert switcher.load(name) == f"{name}@1"
                        assert f"{name}@1" in switcher.loaded
                    case "unload":
                        switcher.unload(name)
                        assert f"{name}@1" not in switcher.loaded
                    case "active":
                        with switcher.active(name):
                            scores = [answer.score for answer in switcher.predict(TEXTS)]
                        expected = alone[name].softmax(dim=1).max(dim=1).values
                        assert scores == pytest.approx(expected.tolist(), abs=1e-6)
                    case _:
                        assert torch.equal(switcher.logits(name, TEXTS), alone[name])
            assert torch.equal(base_outputs(switcher), before)
            assert weights_hash(switcher) == hashed

    run()


def test_a_prediction_is_the_most_probable_class(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("mnli", GLUE["mnli"])
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for answer, row in zip(switcher.predict("mnli", PAIRS), switcher.logits("mnli", PAIRS), strict=True):
            assert answer.probabilities is not None
            assert tuple(answer.probabilities) == GLUE["mnli"].labels
            assert sum(answer.probabilities.values()) == pytest.approx(1)
            assert answer.label == GLUE["mnli"].labels[int(row.argmax())]
            assert answer.score == max(answer.probabilities.values())


def test_a_regression_gives_its_value(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("stsb", GLUE["stsb"])
    with Switcher(str(tiny_base), registry=registry) as switcher:
        values = switcher.logits("stsb", PAIRS)[:, 0].tolist()
        assert switcher.predict("stsb", PAIRS) == [Prediction(None, value) for value in values]


def test_mixed_rows_come_back_in_order_each_from_its_own_adapter(
    adapters: list[str], make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("stsb", GLUE["stsb"])
    make_version("mnli", GLUE["mnli"])
    singles = [(name, text) for text in TEXTS for name in adapters]
    pairs = [(name, pair) for pair in PAIRS for name in ("stsb", "mnli")]
    mixed = [row for both in zip(singles[::-1], pairs * 5, strict=False) for row in both]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        answers = switcher.predict_mixed(mixed)
        assert len(answers) == len(mixed) > 40
        for (ref, row), answer in zip(mixed, answers, strict=True):
            (expected,) = switcher.predict(ref, [row])
            assert answer.label == expected.label
            assert answer.score == pytest.approx(expected.score, abs=1e-4)
        with pytest.raises(SettingsError, match="nothing to predict"):
            switcher.predict_mixed([])


def test_active_nests_and_ends_and_belongs_to_its_thread(
    adapters: list[str], registry: Registry, tiny_base: Path
) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        with switcher.active("seq"):
            outer = switcher.predict(TEXTS)
            with switcher.active("low"):
                assert switcher.predict(TEXTS) == switcher.predict("low", TEXTS) != outer
                with ThreadPoolExecutor(1) as other, pytest.raises(SettingsError, match="no adapter is active"):
                    other.submit(switcher.predict, TEXTS).result()
            assert switcher.predict(TEXTS) == outer
        with pytest.raises(SettingsError, match="no adapter is active"):
            switcher.predict(TEXTS)


def test_threads_never_see_each_others_adapter(
    alone: dict[str, torch.Tensor], registry: Registry, tiny_base: Path
) -> None:
    """Eight threads predict, load and unload; with set_active_adapters a fifth of the answers came out wrong."""
    with Switcher(str(tiny_base), registry=registry) as switcher:
        hashed = weights_hash(switcher)

        def ask(thread: int) -> int:
            wrong = 0
            for turn in range(25):
                name = list(METHODS)[(thread + turn) % len(METHODS)]
                wrong += not torch.equal(switcher.logits(name, TEXTS), alone[name])
                if turn % 8 == thread:
                    switcher.unload(name)
            return wrong

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == [0] * 8
        assert weights_hash(switcher) == hashed


def test_a_ref_means_the_same_until_refreshed(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("sst2", seed=1)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        first = switcher.logits("sst2", TEXTS)
        make_version("sst2", seed=2)
        assert torch.equal(switcher.logits("sst2", TEXTS), first)
        assert not torch.equal(switcher.logits("sst2@2", TEXTS), first)
        switcher.refresh()
        assert torch.equal(switcher.logits("sst2", TEXTS), switcher.logits("sst2@2", TEXTS))
        assert set(switcher.loaded) == {"sst2@1", "sst2@2"}


def test_unloading_frees_what_loading_took(adapters: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        before = set(switcher._model.state_dict())
        for name in adapters:
            switcher.load(name)
        assert len(switcher.loaded) == len(adapters)
        for name in adapters:
            switcher.unload(name)
        assert switcher.loaded == ()
        assert set(switcher._model.state_dict()) == before


def test_another_base_is_refused(make_version: MakeVersion, registry: Registry, other_base: Path) -> None:
    make_version("sst2")
    with Switcher(str(other_base), registry=registry) as switcher:
        with pytest.raises(BaseMismatchError, match="tiny-bert"):
            switcher.predict("sst2", TEXTS)
        make_version("sst2", base=other_base)
        assert len(switcher.predict("sst2", TEXTS)) == len(TEXTS)


def test_a_damaged_file_is_refused_and_what_was_loaded_goes_on(
    alone: dict[str, torch.Tensor], registry: Registry, tiny_base: Path
) -> None:
    digest = next(file.sha256 for file in registry.version("low").files if file.name == "adapter.safetensors")
    path = registry.home / "objects" / digest[:2] / digest[2:]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with Switcher(str(tiny_base), registry=registry) as switcher:
        switcher.load("seq")
        path.chmod(0o644)
        path.write_bytes(content)
        with pytest.raises(ObjectCorruptError, match=digest):
            switcher.predict("low", TEXTS)
        assert torch.equal(switcher.logits("seq", TEXTS), alone["seq"])
        assert switcher.loaded == ("seq@1",)


def test_wrong_inputs_are_refused(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("sst2")
    make_version("mrpc", GLUE["mrpc"])
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for arguments, message in [
            (("sst2", []), "nothing to predict: the list of inputs is empty"),
            (("sst2", "one string"), "found one string"),
            (("sst2",), "takes a ref and a list"),
            (("sst2", PAIRS), "single texts: input 0"),
            (("mrpc", [PAIRS[0], "alone"]), "pairs of texts .*: input 1"),
            (("sst2", ["fine", 3]), "single texts: input 1 is 3"),
            (("mrpc", [None]), "pairs of texts .*: input 0 is None"),
            (("mrpc", [{"sentence1": "a", "sentence2": "b"}]), "pairs of texts .*: input 0 is {'sentence1"),
        ]:
            with pytest.raises(SettingsError, match=message):
                switcher.predict(*arguments)
        with pytest.raises(SettingsError, match="nothing to predict"):
            switcher.logits("sst2", [])
        assert list(switcher.predict_stream("sst2", iter([]))) == []
        with pytest.raises(AdapterNotFoundError, match="did you mean sst2"):
            switcher.predict("sst3", TEXTS)
        with pytest.raises(InvalidNameError):
            switcher.predict("../sst2", TEXTS)
        with pytest.raises(SettingsError, match="pairs"):
            switcher.predict_mixed([("sst2", "fine"), ("mrpc", "alone")])
    with pytest.raises(SettingsError, match="closed"):
        switcher.predict("sst2", TEXTS)
    with pytest.raises(SettingsError, match="precision"):
        Switcher(str(tiny_base), registry=registry, precision="fp8")


def test_a_stream_of_any_length_keeps_its_order(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("sst2")
    with Switcher(str(tiny_base), registry=registry) as switcher:
        texts = [TEXTS[index % len(TEXTS)] for index in range(2100)]
        answers = list(switcher.predict_stream("sst2", iter(texts)))
        expected = switcher.predict("sst2", TEXTS)
        assert [answer.label for answer in answers] == [expected[i % len(TEXTS)].label for i in range(2100)]


def test_bf16_says_nearly_the_same(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("sst2")
    with (
        Switcher(str(tiny_base), registry=registry) as exact,
        Switcher(str(tiny_base), registry=registry, precision="bf16") as fast,
    ):
        difference = (exact.logits("sst2", TEXTS) - fast.logits("sst2", TEXTS)).abs().max()
    assert 0 < difference < 0.1


def test_training_beside_a_switcher_leaves_it_alone(
    alone: dict[str, torch.Tensor], registry: Registry, tiny_base: Path
) -> None:
    from pointsman.sdk import train

    with Switcher(str(tiny_base), registry=registry) as switcher:
        assert torch.equal(switcher.logits("seq", TEXTS), alone["seq"])
        train("sst2", base=str(tiny_base), data="sample", registry=registry, epochs=1, max_train_rows=64,
              max_eval_rows=16, max_length=32)  # fmt: skip
        assert torch.equal(switcher.logits("seq", TEXTS), alone["seq"])
        assert load_base(str(tiny_base)).record == switcher.base
