"""The fast engine computes what plain adapters does, for any mix of what it covers; torch modules compute the rest."""

import functools
import gc
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import pointsman.sdk.patches.modernbert
from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError
from pointsman.sdk import Switcher, fuse
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.engines import mixed
from pointsman.sdk.engines.adapter_program import covers
from pointsman.sdk.engines.encoder import Encoder, RowGroup, encoder_for
from pointsman.sdk.engines.encoder_layers import MODEL_TYPES
from pointsman.sdk.engines.int8_linear import has_fast_int8
from pointsman.sdk.engines.slots import slot_name
from pointsman.sdk.engines.torch_modules import first_tokens
from pointsman.sdk.methods import METHODS, configure
from pointsman.sdk.patches.forward_context import ForwardContext
from pointsman.sdk.switching.execute.requests import mixed_requests

from architectures import ARCHITECTURES, make_base
from helpers import TEXTS, WORDS, MakeVersion, PlainAdapters, on_torch_modules, weights_hash

assert pointsman.sdk.patches.modernbert  # so that plain adapters knows ModernBERT

COVERED = ("seq_bn", "double_seq_bn", "par_bn", "scaled_par_bn", "seq_bn_inv", "double_seq_bn_inv", "compacter",
           "compacter++", "lora", "ia3", "vera")  # fmt: skip
UNIONS = ("lora+seq_bn", "ia3+par_bn", "compacter+lora")
ROWS = ["", "no", "no film", *TEXTS, " ".join(WORDS[:25])]
"""Texts of 2 to 27 tokens."""

NUMBERS = count()
"""Of names that are used once."""

Rows = Sequence[tuple[str, Any]]


@dataclass
class Forwards:
    """The rows of every forward pass, in the fast engine and in torch modules."""

    engine: list[int] = field(default_factory=list)
    modules: list[int] = field(default_factory=list)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Forwards:
    """Counts from the beginning of a test."""
    seen, call, torch_call = Forwards(), Encoder.__call__, first_tokens

    def engine(self: Encoder, *inputs: Any, **options: Any) -> Tensor:
        states = call(self, *inputs, **options)
        seen.engine.append(len(states))
        return states

    def modules(*inputs: Any) -> Tensor:
        states = torch_call(*inputs)
        seen.modules.append(len(states))
        return states

    monkeypatch.setattr(Encoder, "__call__", engine)
    monkeypatch.setattr(mixed, "first_tokens", modules)
    return seen


@pytest.fixture(scope="module")
def plain(bases: dict[str, Path]) -> Callable[[str], PlainAdapters]:
    """Plain adapters on the tiny base of an architecture."""
    return functools.cache(lambda base: PlainAdapters(bases[base]))


@pytest.fixture
def answers(registry: Registry, plain: Callable[[str], PlainAdapters], tmp_path: Path) -> Callable[..., list[Tensor]]:
    """What plain adapters answers with a version on the tiny base of an architecture, text by text."""

    def of(base: str, ref: str, texts: Sequence[Any]) -> list[Tensor]:
        return list(plain(base).logits(registry.export(ref, tmp_path / f"{ref}-{next(NUMBERS)}"), texts))

    return of


def outputs(switcher: Switcher, rows: Rows, **options: Any) -> list[Tensor]:
    """The head's outputs for each row of a mixed batch."""
    by_position: dict[int, Tensor] = {}
    for answer in switcher._executor.execute(mixed_requests(list(rows), switcher.resolve), **options):
        by_position.update(zip(answer.positions, answer.logits, strict=True))
    return [by_position[position] for position in range(len(by_position))]


def same(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Within 1e-5, and more where the numbers are large."""
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def shuffled(rows: Rows, *others: Sequence[Any]) -> list[list[Any]]:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    return [[sequence[index] for index in order] for sequence in (rows, *others)]


def test_what_the_engine_covers() -> None:
    assert tuple(method for method in METHODS if covers(configure(method))) == COVERED
    assert len(COVERED) == 11
    assert {"bert", "roberta", "electra", "xlm-roberta", "distilbert"} == MODEL_TYPES
    assert not covers(configure("seq_bn", {"use_gating": True}))
    assert covers(configure("lora+seq_bn"))
    assert not covers(configure("prefix_tuning+seq_bn"))


@pytest.mark.parametrize("base", sorted(MODEL_TYPES))
def test_every_method_that_it_covers_in_one_forward_pass(
    *,
    base: str,
    make_version: MakeVersion,
    registry: Registry,
    bases: dict[str, Path],
    answers: Callable[..., list[Tensor]],
    forwards: Forwards,
) -> None:
    """Also unions of them; two versions each, and rows of many lengths in any order."""
    rows, expected = [], []
    for number, method in enumerate((*COVERED, *UNIONS)):
        for seed in range(2):
            version = make_version(f"m{number}-{seed}", method=method, seed=2 * number + seed, base=bases[base])
            texts = ROWS[seed::4]
            expected += answers(base, version.ref, texts)
            rows += [(version.name, text) for text in texts]
    rows, expected = shuffled(rows, expected)
    assert len(rows) == 70
    with Switcher(str(bases[base]), registry=registry) as switcher:
        hashed = weights_hash(switcher)
        same(outputs(switcher, rows), expected)
        assert forwards == Forwards(engine=[64, 6])
        assert weights_hash(switcher) == hashed


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize(
    ("before", "residual"), [(True, True), (True, False), (True, "post_add"), (False, True), (False, False)]
)
@pytest.mark.parametrize("base", ["bert", "distilbert"])
def test_the_residual_of_a_bottleneck_wherever_it_is_taken(
    *,
    base: str,
    before: bool,
    residual: bool | str,
    after: bool,
    make_version: MakeVersion,
    registry: Registry,
    bases: dict[str, Path],
    answers: Callable[..., list[Tensor]],
    forwards: Forwards,
) -> None:
    fields = {"original_ln_before": before, "residual_before_ln": residual, "original_ln_after": after}
    make_version("a", base=bases[base], fields={**fields, "mh_adapter": True})
    expected = answers(base, "a", ROWS)
    with Switcher(str(bases[base]), registry=registry) as switcher:
        same(outputs(switcher, [("a", text) for text in ROWS]), expected)
    assert forwards == Forwards(engine=[len(ROWS)])


def _bottlenecks() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(
        st.just("seq_bn"),
        st.fixed_dictionaries(
            {
                "mh_adapter": st.booleans(),
                "is_parallel": st.booleans(),
                "original_ln_after": st.booleans(),
                "reduction_factor": st.sampled_from([2, 7, 16, 64, {"0": 4, "default": 16}]),
                "non_linearity": st.sampled_from(["relu", "gelu", "swish", "tanh", "leakyrelu"]),
                "scaling": st.sampled_from([1.0, 0.5, 4.0, "learned", "channel"]),
                "leave_out": st.sampled_from([[], [0], [1]]),
                "ln_before": st.booleans(),
                "ln_after": st.booleans(),
                "adapter_residual_before_ln": st.booleans(),
                "inv_adapter": st.sampled_from([None, None, "nice"]),
                "inv_adapter_reduction_factor": st.just(2),
                "original_ln_before": st.booleans(),
                "residual_before_ln": st.sampled_from([True, False, "post_add"]),
            }
        ).filter(_computed_by_the_library),
    )


def _computed_by_the_library(fields: Mapping[str, Any]) -> bool:
    return fields["residual_before_ln"] != "post_add" or fields["original_ln_before"] or fields["is_parallel"]


def _updates() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    places = {
        "attn_matrices": st.sampled_from([["q"], ["k", "v"], ["q", "k", "v"]]),
        "intermediate_lora": st.booleans(),
        "output_lora": st.booleans(),
        "leave_out": st.sampled_from([[], [0], [1]]),
    }
    lora = {**places, "r": st.integers(1, 12), "alpha": st.sampled_from([1, 8, 0.5])}
    return st.one_of(
        st.tuples(st.just("lora"), st.fixed_dictionaries(lora)),
        st.tuples(st.just("ia3"), st.fixed_dictionaries({**places, "alpha": st.sampled_from([1, 2])})),
    )


@given(
    base=st.sampled_from(sorted(MODEL_TYPES)),
    shapes=st.lists(st.one_of(_bottlenecks(), _updates()), min_size=1, max_size=3),
    asked=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 2), st.integers(0, 25)), min_size=1, max_size=20),
    first=st.permutations(range(3)),
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_shapes_in_any_mix(
    *,
    base: str,
    shapes: list[tuple[str, dict[str, Any]]],
    asked: list[tuple[int, int, int]],
    first: list[int],
    make_version: MakeVersion,
    registry: Registry,
    bases: dict[str, Path],
    answers: Callable[..., list[Tensor]],
) -> None:
    """Three versions of each shape, loaded in any order, and rows of any lengths, versions and slots."""
    texts = [" ".join(WORDS[place : place + length]) for place, (_, _, length) in enumerate(asked)]
    names = [f"x{next(NUMBERS)}" for _ in shapes]
    rows, expected = [], {}
    for name, (method, fields) in zip(names, shapes, strict=True):
        for seed in range(3):
            make_version(f"{name}-{seed}", method=method, seed=seed, base=bases[base], fields=fields)
    for (shape, seed, _), text in zip(asked, texts, strict=True):
        rows.append((f"{names[shape % len(names)]}-{seed}", text))
    for ref in dict(rows):
        mine = [text for name, text in rows if name == ref]
        expected[ref] = iter(answers(base, ref, mine))
    with Switcher(str(bases[base]), registry=registry) as switcher:
        for seed in first:
            for name in names:
                switcher.load(f"{name}-{seed}")
        for name in names:  # so that slots have gaps
            switcher.unload(f"{name}-{first[0]}")
        same(outputs(switcher, rows), [next(expected[ref]) for ref, _ in rows])


def make_mix(make_version: MakeVersion, registry: Registry, base: Path) -> list[str]:
    """LoRAs of three ranks, bottlenecks of two sizes, (IA)³, compositions and a fusion."""
    for seed, (name, rank) in enumerate({"l2": 2, "k2": 2, "l8": 8, "l16": 16}.items()):
        make_version(name, method="lora", seed=10 + seed, base=base, fields={"r": rank})
    for seed, factor in enumerate((2, 2, 16)):
        make_version(f"s{seed}", seed=3 + seed, base=base, fields={"reduction_factor": factor})
    make_version("i", method="ia3", seed=6, base=base)
    fuse("f", ("s0", "s1"), "sst2", registry=registry, base=str(base), data="sample", epochs=1, max_train_rows=32,
         max_eval_rows=16, max_length=32, batch_size=8, learning_rate=0.01)  # fmt: skip
    return ["l2", "l8", "l16", "s0", "s1", "s2", "i", "f", "stack(l2, s0)", "stack(l2, l8)", "stack(s1, f)",
            "average(s0: 0.3, s1: 0.7)", "average(l2, k2)", "average(stack(l2, s0), stack(k2, s1))",
            "stack(i, average(s0, s1))"]  # fmt: skip


@pytest.mark.parametrize("dropped", [0, 1, 2, 3])
@pytest.mark.parametrize("base", ["bert", "distilbert"])
def test_unlike_adapters_compositions_and_a_fusion_share_one_forward_pass(
    *,
    base: str,
    dropped: int,
    make_version: MakeVersion,
    registry: Registry,
    tmp_path: Path,
    forwards: Forwards,
) -> None:
    """As in forward passes of their own through torch modules; without lower layers' adapters, too."""
    directory = make_base(tmp_path / "deep", base, num_hidden_layers=3)
    refs = make_mix(make_version, registry, directory)
    (rows,) = shuffled([(ref, text) for ref in refs for text in ROWS[1:5]])
    with Switcher(str(directory), registry=registry) as switcher:
        for ref in refs:
            switcher.load(ref)
        hashed = weights_hash(switcher)
        forwards.engine.clear(), forwards.modules.clear()
        found = outputs(switcher, rows, drop_layers=dropped)
        assert forwards == Forwards(engine=[len(rows)])
        on_torch_modules(switcher)
        same(found, outputs(switcher, rows, drop_layers=dropped))
        assert len(forwards.modules) > 10
        assert weights_hash(switcher) == hashed
    assert len(rows) == 60
    if dropped < 3:
        assert len({tuple(found[rows.index((ref, "no film"))].tolist()) for ref in refs}) == len(refs)


def test_methods_that_it_does_not_cover_run_on_torch_modules_in_the_same_call(
    make_version: MakeVersion,
    registry: Registry,
    bases: dict[str, Path],
    answers: Callable[..., list[Tensor]],
    forwards: Forwards,
) -> None:
    others = [method for method in METHODS if method not in COVERED]
    rows, expected = [], []
    for number, method in enumerate((*others, "seq_bn", "lora")):
        version = make_version(f"m{number}", method=method, seed=number, base=bases["bert"])
        expected += answers("bert", version.ref, ROWS)
        rows += [(version.name, text) for text in ROWS]
    rows, expected = shuffled(rows, expected)
    with Switcher(str(bases["bert"]), registry=registry) as switcher:
        same(outputs(switcher, rows), expected)
    assert forwards.engine == [2 * len(ROWS)]
    assert sum(forwards.modules) == len(others) * len(ROWS) == 10 * len(ROWS)


@pytest.mark.parametrize("base", sorted(ARCHITECTURES.keys() - MODEL_TYPES))
def test_a_base_that_it_does_not_cover_runs_on_torch_modules(
    *,
    base: str,
    make_version: MakeVersion,
    registry: Registry,
    bases: dict[str, Path],
    answers: Callable[..., list[Tensor]],
    forwards: Forwards,
) -> None:
    rows, expected = [], []
    for number, method in enumerate(("seq_bn", "lora", "ia3")):
        version = make_version(f"m{number}", method=method, seed=number, base=bases[base])
        expected += answers(base, version.ref, ROWS)
        rows += [(version.name, text) for text in ROWS]
    with Switcher(str(bases[base]), registry=registry) as switcher:
        assert switcher._adapters.placement.encoder is None
        same(outputs(switcher, rows), expected)
    assert forwards.engine == []
    assert sum(forwards.modules) == len(rows)


@pytest.mark.parametrize(
    "changes", [{"is_decoder": True}, {"chunk_size_feed_forward": 2}, {"position_embedding_type": "relative_key"}]
)
def test_a_base_whose_layers_are_not_the_usual_ones_is_not_covered(tiny_base: Path, changes: dict[str, Any]) -> None:
    model = load_base(str(tiny_base)).model
    assert encoder_for(model, "fp32") is not None
    model.config.update(changes)
    assert encoder_for(model, "fp32") is None
    if has_fast_int8(model.device):
        with pytest.raises(SettingsError, match="precision int8 is for encoders of bert, distilbert, "):
            encoder_for(model, "int8")


def _inputs(model: Any, rows: int, tokens: int, lengths: Sequence[int] | None) -> Mapping[str, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    ids = torch.randint(5, 60, (rows, tokens), generator=generator)
    mask = torch.ones(rows, tokens, dtype=torch.long)
    for row, length in enumerate(lengths or ()):
        mask[row, length:] = 0
    ids[mask == 0] = model.config.pad_token_id
    return {"input_ids": ids, "attention_mask": mask}


def _compared(model: Any, reference: Any, precision: str) -> Iterator[tuple[Tensor, Tensor]]:
    """The engine's states of first tokens, and those of torch modules in float32: without adapters, in many shapes."""
    encoder = Encoder(model, precision=precision)
    bare = slot_name(99)  # no adapter has this name
    for rows, tokens, lengths in (
        (1, 1, None), (3, 1, None), (1, 2, None), (2, 31, [31, 3]), (2, 32, None), (2, 32, [1, 32]),
        (4, 33, [2, 33, 5, 8]), (1, 127, None), (2, 128, [128, 9]), (1, 129, None), (3, 130, [130, 129, 1]),
        (2, 200, [7, 200]),
    ):  # fmt: skip
        inputs = _inputs(model, rows, tokens, lengths)
        group = RowGroup(rows=slice(0, rows), program=encoder.program(bare, bare), slots={})
        with torch.inference_mode():
            yield encoder(inputs, [group]), first_tokens(reference, None, inputs, ForwardContext())


@pytest.mark.parametrize("base", sorted(MODEL_TYPES))
def test_batches_of_any_shape(base: str, tmp_path: Path) -> None:
    """Of one row, of one token, padded or not, and beyond the tokens up to which bf16 has its own attention."""
    directory = make_base(tmp_path / "long", base, max_position_embeddings=256)
    model = load_base(str(directory)).model
    shapes = 0
    for found, expected in _compared(model, model, "fp32"):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        shapes += 1
    assert shapes == 12


@pytest.mark.parametrize("base", sorted(MODEL_TYPES))
def test_batches_of_any_shape_in_bf16(base: str, tmp_path: Path) -> None:
    """States of deviation 1 within 0.15, and by 0.02 in the mean: each sum is rounded to 8 bits."""
    directory = make_base(tmp_path / "long", base, max_position_embeddings=256)
    model, exact = load_base(str(directory), bf16=True).model, load_base(str(directory)).model
    for found, expected in _compared(model, exact, "bf16"):
        assert found.dtype is torch.bfloat16
        difference = (found.float() - expected).abs()
        assert difference.max() < 0.15
        assert difference.mean() < 0.02


def test_adapters_in_bf16_are_as_near_as_on_torch_modules(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, forwards: Forwards
) -> None:
    """On average over all rows at most a quarter farther from float32 than torch modules in bf16, and never by 0.2."""
    refs = make_mix(make_version, registry, tiny_base)
    rows = [(ref, text) for ref in refs for text in ROWS]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        exact = torch.stack(outputs(switcher, rows))
    with Switcher(str(tiny_base), registry=registry, precision="bf16") as switcher:
        hashed = weights_hash(switcher)
        forwards.engine.clear(), forwards.modules.clear()
        found = torch.stack(outputs(switcher, rows))
        assert sum(forwards.engine) == len(rows)
        assert forwards.modules == []
        modules = torch.stack(outputs(on_torch_modules(switcher), rows))
        assert weights_hash(switcher) == hashed
    difference = (found - exact).abs()
    assert difference.max() < 0.2
    assert difference.mean() < 1.25 * (modules - exact).abs().mean()


def test_a_row_does_not_depend_on_its_neighbours(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    refs = make_mix(make_version, registry, tiny_base)
    rows = [(ref, text) for ref in refs for text in ROWS]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        together = outputs(switcher, rows)
        same([outputs(switcher, [row])[0] for row in rows], together)
        for ref in refs:
            mine = [output for output, (name, _) in zip(together, rows, strict=True) if name == ref]
            same(list(switcher.logits(ref, ROWS)), mine)


@pytest.mark.parametrize("method", ["compacter", "seq_bn"])
def test_a_program_does_not_outlive_its_adapter(
    method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("a", method=method)
    make_version("other", method="lora", seed=1)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        encoder: Any = switcher._adapters.placement.encoder
        switcher.predict("a", TEXTS)
        programs = [weakref.ref(program) for program in encoder._programs.values()]
        modules = [weakref.ref(module) for name, module in switcher._model.named_modules() if "slot" in name]
        assert len(programs) == 1
        assert len(modules) > 4
        switcher.unload("a")
        switcher.predict("other", TEXTS)  # which also removes the rack that holds nothing
        gc.collect()
        assert [program() for program in programs] == [None]
        assert {module() for module in modules} == {None}
        assert len(encoder._programs) == 1


def test_a_ref_that_has_become_another_adapter_is_computed_anew(
    make_version: MakeVersion, registry: Registry, bases: dict[str, Path], answers: Callable[..., list[Tensor]]
) -> None:
    """Of each shape after each: a rack of the same rank, of another, another place, and none at all."""
    shapes = [("lora", {"r": 2}), ("lora", {"r": 8}), ("seq_bn", {}), ("compacter", {}), ("seq_bn", {}), ("ia3", {})]
    with Switcher(str(bases["bert"]), registry=registry) as switcher:
        for seed, (method, fields) in enumerate(shapes):
            version = make_version("a", method=method, seed=seed, base=bases["bert"], fields=fields)
            switcher.refresh()
            expected = answers("bert", version.ref, ROWS)
            same(list(switcher.logits("a", ROWS)), expected)
            switcher.unload("a")
            same(list(switcher.logits("a", ROWS)), expected)


def test_more_compositions_than_programs_are_kept(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.sdk.engines.encoder._PROGRAMS", 3)
    for seed in range(3):
        make_version(f"s{seed}", seed=seed)
    asked = [f"average(s{one}: {weight}, s{other}: {1 - weight})" for one, other in ((0, 1), (1, 2), (0, 2))
             for weight in (0.25, 0.5, 0.75)]  # fmt: skip
    with Switcher(str(tiny_base), registry=registry) as switcher:
        encoder: Any = switcher._adapters.placement.encoder
        alone = [switcher.logits(ref, TEXTS) for ref in asked]
        assert len(encoder._programs) <= 3
        together = outputs(switcher, [(ref, text) for ref in asked for text in TEXTS])
        assert len(encoder._programs) <= 3
    same(together, [row for logits in alone for row in logits])
