"""Without the adapters of the lower layers: as if these layers were the bare base's, and run once on each text."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import AdapterSetup
from torch import nn
from transformers import AutoModel

import pointsman.sdk.patches.modernbert
from pointsman.registry import Registry, Version
from pointsman.registry.errors import SettingsError
from pointsman.sdk import Average, Parallel, Stack, Switcher, fuse
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.engines.encoder_layers import MODEL_TYPES
from pointsman.sdk.engines.fusion_layers import fuse_block, insert_fusion
from pointsman.sdk.engines.heads import Head
from pointsman.sdk.engines.slots import insert_adapter
from pointsman.sdk.formats.native import read_head
from pointsman.sdk.patches.layer_drop import count_layers
from pointsman.sdk.tasks import GLUE

from architectures import ARCHITECTURES, make_base
from helpers import PAIRS, TEXTS, MakeVersion, PlainAdapters, on_torch_modules

assert pointsman.sdk.patches.modernbert  # so that plain adapters knows ModernBERT

LAYERS = 3
METHODS = ("seq_bn", "double_seq_bn", "par_bn", "seq_bn_inv", "compacter", "lora", "ia3", "vera", "dora",
           "prefix_tuning", "prefix_tuning_flat", "prompt_tuning", "loreft", "mam", "unipelt")  # fmt: skip
PLACES = {
    "distilbert": "transformer.layer",
    "modernbert": "layers",
    "albert": "encoder.albert_layer_groups.0.albert_layers",
}
"""Where an architecture's layers are; elsewhere ``encoder.layer``."""

ENGINES = {"torch modules": on_torch_modules, "fast engine": lambda switcher: switcher}
"""What gives a Switcher the engine that computes."""

Choose = Callable[[Switcher], Switcher]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Choose:
    """Both engines, one after the other."""
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def deep_bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A base of each architecture with three layers."""
    parent = tmp_path_factory.mktemp("deep")

    def of(architecture: str) -> Path:
        directory = parent / architecture
        return directory if directory.exists() else make_base(directory, architecture, num_hidden_layers=LAYERS)

    return of


@pytest.fixture(scope="module")
def deep(deep_bases: Callable[[str], Path]) -> Path:
    return deep_bases("bert")


class LowerBare(nn.Module):
    """A layer that is the bare base's at the first calls of a forward pass, and the adapted one after them."""

    def __init__(self, bare: nn.Module, adapted: nn.Module, calls: int) -> None:
        super().__init__()
        self.bare, self.adapted, self.calls, self.called = bare, adapted, calls, 0

    def forward(self, *inputs: Any, **options: Any) -> Any:
        self.called += 1
        return (self.bare if (self.called - 1) % LAYERS < self.calls else self.adapted)(*inputs, **options)


class WithoutLower(PlainAdapters):
    """Plain adapters on a base, and beside it the bare base, whose layers take the place of the lower ones."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self._bare = AutoModel.from_pretrained(base).eval()

    def logits_without(self, files: Path, texts: Sequence[Any], dropped: int) -> torch.Tensor:
        return self.logits(files, texts, inside=self._bare_below(dropped))

    @contextmanager
    def _bare_below(self, dropped: int) -> Iterator[None]:
        path = PLACES.get(self._bare.config.model_type, "encoder.layer")
        layers: Any = self._model.base_model.get_submodule(path)
        before = list(layers)
        for index, bare in enumerate(self._bare.get_submodule(path)):
            if len(before) < LAYERS:  # ALBERT's one module is all layers
                layers[index] = LowerBare(bare, layers[index], dropped)
            elif index < dropped:
                layers[index] = bare
        yield
        for index, layer in enumerate(before):
            layers[index] = layer


def close(answer: Any, logits: torch.Tensor) -> None:
    found = torch.tensor([answer.score] if answer.probabilities is None else list(answer.probabilities.values()))
    expected = logits if answer.probabilities is None else logits.softmax(0)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def rows_by_layer(switcher: Switcher) -> list[int]:
    """How many rows each layer has run on, in the order in which layers run, in the engine that computes."""
    seen: list[int] = []
    encoder: Any = switcher._adapters.placement.encoder
    if encoder is not None:
        run = encoder._run

        def count(*inputs: Any, **options: Any) -> torch.Tensor:
            states: torch.Tensor = run(*inputs, **options)
            seen.append(len(states))
            return states

        encoder._run = count
        return seen

    def see(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        seen.append(len(outputs if isinstance(outputs, torch.Tensor) else outputs[0]))

    for _, layer in switcher._model.base_model.iter_layers():
        layer.register_forward_hook(see)
    return seen


class Counted:
    """A linear layer of the fast engine that notes the rows of its inputs."""

    def __init__(self, linear: Any, seen: list[int]) -> None:
        self._linear, self._seen = linear, seen

    def __call__(self, states: torch.Tensor) -> Any:
        self._seen.append(len(states))
        return self._linear(states)

    def gelu(self, states: torch.Tensor) -> Any:
        self._seen.append(len(states))
        return self._linear.gelu(states)


def rows_by_block(switcher: Switcher, number: int) -> list[int]:
    """How many rows the attention and the feed-forward block of one layer take, in the engine that computes."""
    seen: list[int] = []
    encoder: Any = switcher._adapters.placement.encoder
    if encoder is not None:
        layer = encoder._layers[number]
        layer.qkv, layer.widen = Counted(layer.qkv, seen), Counted(layer.widen, seen)
        return seen
    layer = switcher._model.base_model.encoder.layer[number]
    for module in (layer.attention.self.query, layer.intermediate.dense):
        module.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    return seen


def test_every_method_is_skipped_in_the_lower_layers_and_nowhere_else(
    make_version: MakeVersion, registry: Registry, deep: Path, tmp_path: Path
) -> None:
    """Also all of them in one batch; what is at the embeddings, invertible adapters and prompts, stays."""
    plain = WithoutLower(deep)
    rows: list[tuple[str, Any]] = []
    expected: dict[int, list[torch.Tensor]] = {dropped: [] for dropped in range(LAYERS + 1)}
    for seed, method in enumerate(METHODS):
        task = GLUE[("sst2", "stsb", "mnli")[seed % 3]]
        version = make_version(f"m{seed}", task, method=method, seed=seed, base=deep)
        texts: list[Any] = list(PAIRS if task.is_pair else TEXTS)
        files = registry.export(version.ref, tmp_path / version.name)
        rows += [(version.name, text) for text in texts]
        for dropped in expected:
            expected[dropped] += plain.logits_without(files, texts, dropped)
    with Switcher(str(deep), registry=registry) as switcher:
        for dropped, all_logits in expected.items():
            answers = switcher.predict_mixed(rows, drop_layers=dropped)
            for answer, logits in zip(answers, all_logits, strict=True):
                close(answer, logits)
    for first, second in ((0, 1), (1, 2), (2, 3)):
        changed = [not torch.allclose(one, other, atol=1e-4)
                   for one, other in zip(expected[first], expected[second], strict=True)]  # fmt: skip
        assert sum(changed) > len(rows) / 2


@pytest.mark.parametrize(
    ("engine", "architecture"),
    [(name, base) for name in ENGINES for base in ARCHITECTURES if name == "torch modules" or base in MODEL_TYPES],
    indirect=["engine"],
)
def test_lower_layers_run_once_a_text_on_every_base(
    *,
    engine: Choose,
    architecture: str,
    make_version: MakeVersion,
    registry: Registry,
    deep_bases: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """Two adapters of a method are asked about the same five texts: lower layers make five rows, the others ten."""
    base = deep_bases(architecture)
    plain = WithoutLower(base)
    methods = ("seq_bn", "double_seq_bn", "par_bn", "seq_bn_inv", "lora", "ia3")
    files = {}
    for number, method in enumerate(methods):
        for seed in range(2):
            version = make_version(f"{method}-{seed}", method=method, seed=2 * number + seed, base=base)
            files[version.name] = registry.export(version.ref, tmp_path / version.name)
    with Switcher(str(base), registry=registry) as switcher:
        assert count_layers(switcher._model.config) == LAYERS
        assert (switcher._adapters.placement.encoder is not None) == (architecture in MODEL_TYPES)
        seen = rows_by_layer(engine(switcher))
        for method in methods:
            rows = [(f"{method}-{seed}", text) for text in TEXTS for seed in range(2)]
            # Each in a forward pass of its own.
            alone = architecture in ("deberta-v2", "modernbert") and method in ("lora", "ia3")
            for dropped in range(LAYERS + 1):
                seen.clear()
                answers = switcher.predict_mixed(rows, drop_layers=dropped)
                if alone:
                    assert seen == [5] * 2 * LAYERS
                elif method == "seq_bn_inv":  # the embeddings are each adapter's own
                    assert seen == [10] * LAYERS
                else:
                    assert seen == [5] * dropped + [10] * (LAYERS - dropped)
                for name in dict.fromkeys(name for name, _ in rows):
                    expected = plain.logits_without(files[name], TEXTS, dropped)
                    mine = [answer for answer, (ref, _) in zip(answers, rows, strict=True) if ref == name]
                    for answer, logits in zip(mine, expected, strict=True):
                        close(answer, logits)


@pytest.mark.parametrize(
    ("method", "rows"),
    [("seq_bn", (5, 5)), ("par_bn", (5, 5)), ("double_seq_bn", (5, 15)), ("lora", (15, 15)), ("lora+seq_bn", (15, 15))],
)
def test_the_first_layer_with_bottlenecks_runs_once_a_text_up_to_them(
    *,
    method: str,
    rows: tuple[int, int],
    engine: Choose,
    make_version: MakeVersion,
    registry: Registry,
    deep: Path,
) -> None:
    """The rows that its attention and its feed-forward block take."""
    for seed in range(3):
        make_version(f"a{seed}", method=method, seed=seed, base=deep)
    with Switcher(str(deep), registry=registry) as switcher:
        seen = rows_by_block(engine(switcher), 1)
        switcher.predict(Parallel("a0", "a1", "a2"), TEXTS, drop_layers=1)
    assert tuple(seen) == rows


def test_layers_that_are_left_out_by_configuration_run_once_a_text_as_well(
    engine: Choose, make_version: MakeVersion, registry: Registry, deep: Path, tmp_path: Path
) -> None:
    plain = WithoutLower(deep)
    files = {}
    for seed in range(3):
        version = make_version(f"a{seed}", seed=seed, base=deep, fields={"leave_out": [0, 1]})
        files[version.name] = registry.export(version.ref, tmp_path / version.name)
    with Switcher(str(deep), registry=registry) as switcher:
        seen = rows_by_layer(engine(switcher))
        for dropped in range(LAYERS + 1):
            seen.clear()
            answers = switcher.predict(Parallel("a0", "a1", "a2"), TEXTS, drop_layers=dropped)
            assert seen == [5, 5, 5 if dropped == LAYERS else 15]
            for place in range(3):
                expected = plain.logits_without(files[f"a{place}"], TEXTS, dropped)
                for answer, logits in zip(answers, expected, strict=True):
                    close(answer[place], logits)


def test_a_layer_above_a_gap_is_not_shared(
    engine: Choose, make_version: MakeVersion, registry: Registry, deep: Path
) -> None:
    for seed in range(2):
        make_version(f"a{seed}", seed=seed, base=deep, fields={"leave_out": [1]})
        make_version(f"u{seed}", method="lora+seq_bn", seed=seed, base=deep, fields={"lora.leave_out": [0, 1]})
    with Switcher(str(deep), registry=registry) as switcher:
        seen = rows_by_layer(engine(switcher))
        switcher.predict("parallel(a0, a1)", TEXTS)
        assert seen == [10, 10, 10]
        seen.clear()
        switcher.predict("parallel(a0, a1)", TEXTS, drop_layers=1)
        assert seen == [5, 5, 10]
        seen.clear()
        switcher.predict("parallel(u0, u1)", TEXTS, drop_layers=1)
        assert seen == [5, 10, 10]


def test_compositions_and_every_way_to_ask(make_version: MakeVersion, registry: Registry, deep: Path) -> None:
    for seed in range(3):
        make_version(f"a{seed}", seed=seed, base=deep)
    compositions = [Stack("a0", "a1"), Average("a0", "a1"), "batchsplit(a0: 2, stack(a1, a2): 3)"]
    with Switcher(str(deep), registry=registry) as switcher:
        for asked in ("a0", *compositions):
            expected = [switcher.logits(asked, TEXTS, drop_layers=dropped) for dropped in range(LAYERS + 1)]
            assert torch.equal(expected[0], switcher.logits(asked, TEXTS))
            for one, other in itertools.pairwise(expected):
                assert not torch.allclose(one, other, atol=1e-3)
            answers = switcher.predict(asked, TEXTS, drop_layers=2)
            for answer, logits in zip(answers, expected[2], strict=True):
                close(answer, logits)
            if "batchsplit" not in str(asked):
                assert list(switcher.predict_stream(asked, iter(TEXTS), drop_layers=2)) == answers
            with switcher.active(asked):
                assert switcher.predict(TEXTS, drop_layers=2) == answers
        # Without any adapter, the members of a composition differ in their heads only.
        assert torch.equal(
            switcher.logits("stack(a0, a1)", TEXTS, drop_layers=LAYERS),
            switcher.logits("a1", TEXTS, drop_layers=LAYERS),
        )


def test_the_rows_of_a_text_are_in_one_batch(
    engine: Choose, make_version: MakeVersion, registry: Registry, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """70 texts of few lengths, some of them twice, and three adapters: 210 rows and more, in batches of 64 at most."""
    monkeypatch.setattr("pointsman.sdk.engines.mixed._SHARED_ROWS", 64)
    for seed in range(3):
        make_version(f"a{seed}", seed=seed, base=deep)
    words = ["film", "story", "cat", "dog", "house", "bad", "good"]
    texts = [f"{one} {' '.join([other] * (1 + place % 2))}" for place, one in enumerate(words) for other in words]
    texts = [*texts, *texts[:10]]
    asked = "parallel(a0, a1, a2)"
    with Switcher(str(deep), registry=registry) as switcher:
        alone = [switcher.logits(f"a{place}", texts, drop_layers=2) for place in range(3)]
        seen = rows_by_layer(engine(switcher))
        answers = switcher.predict(asked, texts, drop_layers=2)
        assert sum(seen[0::3]) == sum(seen[1::3]) == len(set(texts))
        assert sum(seen[2::3]) == 3 * len(texts)
        assert max(seen) <= 64
        for place, logits in enumerate(alone):
            for answer, row in zip(answers, logits, strict=True):
                close(answer[place], row)
        # More rows of one text than a batch takes.
        seen.clear()
        many = switcher.predict(asked, ["a film"] * 50, drop_layers=2)
        assert seen == [1, 1, 64, 1, 1, 64, 1, 1, 22]
        for answer in many:
            assert answer == pytest.approx(many[0]) or all(
                one.score == pytest.approx(other.score, abs=1e-5) for one, other in zip(answer, many[0], strict=True)
            )


def test_the_same_tokens_in_other_segments_are_another_text(
    make_version: MakeVersion, registry: Registry, deep: Path
) -> None:
    """The one text holds a separator where the other ends its first part."""
    pairs = [("a film", "no film at all"), ("a film [SEP] no film", "at all")]
    for seed in range(2):
        make_version(f"p{seed}", GLUE["mrpc"], seed=seed, base=deep)
    with Switcher(str(deep), registry=registry) as switcher:
        alone = [switcher.logits(f"p{seed}", [pair], drop_layers=2)[0] for pair in pairs for seed in range(2)]
        answers = switcher.predict_mixed([(f"p{seed}", pair) for pair in pairs for seed in range(2)], drop_layers=2)
        for answer, logits in zip(answers, alone, strict=True):
            close(answer, logits)


def test_threads_drop_layers_of_their_own(make_version: MakeVersion, registry: Registry, deep: Path) -> None:
    for seed in range(2):
        make_version(f"a{seed}", seed=seed, base=deep)
    with Switcher(str(deep), registry=registry) as switcher:
        expected = [switcher.logits("a0", TEXTS, drop_layers=dropped) for dropped in range(LAYERS + 1)]
        both = [switcher.predict("parallel(a0, a1)", TEXTS, drop_layers=dropped) for dropped in range(LAYERS + 1)]
        wrong: list[int] = []
        start = threading.Barrier(8)

        def ask(number: int) -> None:
            dropped = number % (LAYERS + 1)
            start.wait()
            for _ in range(20):
                if not torch.equal(switcher.logits("a0", TEXTS, drop_layers=dropped), expected[dropped]):
                    wrong.append(number)
                if switcher.predict("parallel(a0, a1)", TEXTS, drop_layers=dropped) != both[dropped]:
                    wrong.append(number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert switcher._model.adapters_config.skip_layers is None


@pytest.mark.parametrize("wrong", [-1, LAYERS + 1, True, 1.0, "2"])
def test_a_number_of_layers_that_cannot_be_is_refused(
    wrong: Any, make_version: MakeVersion, registry: Registry, deep: Path
) -> None:
    make_version("a0", base=deep)
    with Switcher(str(deep), registry=registry) as switcher:
        for ask in (
            lambda: switcher.predict("a0", TEXTS, drop_layers=wrong),
            lambda: switcher.predict_mixed([("a0", "a film")], drop_layers=wrong),
            lambda: list(switcher.predict_stream("a0", TEXTS, drop_layers=wrong)),
            lambda: switcher.logits("a0", TEXTS, drop_layers=wrong),
        ):
            with pytest.raises(SettingsError, match=f"from 0 to {LAYERS}.*found {wrong!r}"):
                ask()


def test_bf16_shares_nearly_the_same(make_version: MakeVersion, registry: Registry, deep: Path) -> None:
    for seed in range(3):
        make_version(f"a{seed}", method="lora", seed=seed, base=deep)
    asked = "parallel(a0, a1, a2)"
    with (
        Switcher(str(deep), registry=registry) as exact,
        Switcher(str(deep), registry=registry, precision="bf16") as fast,
    ):
        for one, other in zip(
            exact.predict(asked, TEXTS, drop_layers=1), fast.predict(asked, TEXTS, drop_layers=1), strict=True
        ):
            for mine, its in zip(one, other, strict=True):
                assert mine.probabilities["positive"] == pytest.approx(its.probabilities["positive"], abs=0.05)


def test_fusions_are_dropped_with_their_members(make_version: MakeVersion, registry: Registry, deep: Path) -> None:
    """As the library skips them, which it does for all threads."""
    for seed, name in enumerate("ab"):
        make_version(name, seed=seed, base=deep)
    fusions = [
        fuse(name, ("a", "b"), "sst2", registry=registry, base=str(deep), data="sample", epochs=1, max_train_rows=32,
             max_eval_rows=16, max_length=16, batch_size=8, learning_rate=0.01, seed=seed)
        for seed, name in enumerate("fg")
    ]  # fmt: skip
    plain = load_base(str(deep))
    for ref in "ab":
        insert_adapter(plain.model, ref, files_of(registry, registry.version(ref)))
    for version in fusions:
        insert_fusion(plain.model, version.name, ["a", "b"], files_of(registry, version))
    with Switcher(str(deep), registry=registry) as switcher:
        for dropped in range(LAYERS + 1):
            answers = switcher.predict("parallel(f, g)", TEXTS, drop_layers=dropped)
            plain.model.adapters_config.skip_layers = list(range(dropped))
            for place, version in enumerate(fusions):
                head = Head(read_head(files_of(registry, version)), plain.model, dtype=torch.float32)
                with torch.inference_mode(), AdapterSetup(fuse_block(version.name, ["a", "b"])):
                    for text, answer in zip(TEXTS, answers, strict=True):
                        encoded = plain.tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
                        close(answer[place], head(plain.model.base_model(**encoded)[0][:, 0])[0])


def files_of(registry: Registry, version: Version) -> dict[str, bytes]:
    return registry.read_files(version)
