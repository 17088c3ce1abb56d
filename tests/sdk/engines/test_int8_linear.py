"""Products in int8 are near those in float32, and a token's does not depend on the others."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError
from pointsman.sdk import Switcher
from pointsman.sdk.engines import encoder, int8_linear
from pointsman.sdk.engines.int8_linear import Int8Linear, has_fast_int8

from architectures import make_base
from helpers import TEXTS, MakeVersion, weights_hash

FAST = has_fast_int8(torch.device("cpu"))
pytestmark = pytest.mark.filterwarnings("error")
needs_int8 = pytest.mark.skipif(not FAST, reason="the processor does not multiply int8 matrices")

INPUTS = 96


def _layer(outputs: int) -> torch.nn.Linear:
    return torch.nn.Linear(INPUTS, outputs).requires_grad_(False)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@needs_int8
def test_products_are_near_those_in_float32() -> None:
    layers = [_layer(64), _layer(16)]
    product = Int8Linear(*layers)
    for shape in ((1, INPUTS), (7, INPUTS), (3, 5, INPUTS)):
        states = torch.randn(shape) * 3 + 1
        kept = states.clone()
        expected = torch.cat([layer(states) for layer in layers], dim=-1)
        added = torch.randn_like(expected)
        for found, right in (
            (product(states), expected),
            (product.gelu(states), functional.gelu(expected)),
            (product.plus(states, added), expected + added),
        ):
            assert found.shape == right.shape
            assert found.dtype is torch.float32
            assert (found - right).square().mean().sqrt() < 0.01 * expected.square().mean().sqrt()
        assert torch.equal(states, kept)


@needs_int8
def test_steps_are_as_fine_as_a_tokens_numbers() -> None:
    layer = _layer(64)
    product = Int8Linear(layer)
    tokens = torch.randn(6, INPUTS) * torch.tensor([1e-6, 1e-3, 1.0, 1e3, 1e6, 1e9])[:, None]
    for token in tokens.split(1):
        expected = layer(token) - layer.bias
        error = (product(token) - layer.bias - expected).abs().max()
        assert error < 0.03 * expected.abs().max() + 1e-6  # the bias is a float32 number of its own size


@needs_int8
def test_a_token_is_the_same_beside_any_others() -> None:
    product = Int8Linear(_layer(64))
    states = torch.randn(9, INPUTS)
    alone = torch.cat([product(states[row : row + 1]) for row in range(9)])
    assert torch.equal(product(states), alone)
    assert torch.equal(product(torch.cat([states, states * 1000]))[:9], alone)


@needs_int8
def test_few_tokens_and_many_are_multiplied_alike() -> None:
    """By one library or the other."""
    product = Int8Linear(_layer(64))
    states = torch.randn(200, INPUTS) * 3 + 1
    few = torch.cat([product(part) for part in states.split(40)])
    torch.testing.assert_close(few, product(states), rtol=1e-6, atol=1e-6)


@needs_int8
@pytest.mark.parametrize("value", [0.0, 1.0, -3.5])
def test_a_token_of_equal_numbers_is_exact(value: float) -> None:
    layer = _layer(64)
    whole = torch.randint(-127, 128, layer.weight.shape).float()
    whole[:, 0] = 127
    layer.weight.copy_(whole / 256)
    states = torch.full((2, INPUTS), value)
    torch.testing.assert_close(Int8Linear(layer)(states), layer(states))


@needs_int8
@pytest.mark.parametrize("method", ["seq_bn", "lora", "ia3", "prefix_tuning"])
def test_every_engine_answers_nearly_the_same_in_int8(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, method: str
) -> None:
    """Prefixes run on the modules, in fp32."""
    make_version("a", method=method)
    with (
        Switcher(str(tiny_base), registry=registry) as exact,
        Switcher(str(tiny_base), registry=registry, precision="int8") as fast,
    ):
        before = weights_hash(fast)
        expected, found = exact.logits("a", TEXTS), fast.logits("a", TEXTS)
        assert (found - expected).abs().max() < 0.1
        assert torch.equal(found, expected) is (method == "prefix_tuning")
        alone = torch.cat([fast.logits("a", [text]) for text in TEXTS])
        torch.testing.assert_close(alone, found, atol=0.05, rtol=0.05)
        assert weights_hash(fast) == before
        assert [version.engine for version in fast.status().versions] == [
            "torch" if method == "prefix_tuning" else "fast"
        ]


def test_a_processor_without_int8_is_refused(
    registry: Registry, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "has_fast_int8", lambda _: False)
    with pytest.raises(SettingsError, match="precision int8: cpu does not multiply int8 matrices in hardware"):
        Switcher(str(tiny_base), registry=registry, precision="int8")


@needs_int8
def test_layers_of_odd_sizes_are_refused(registry: Registry, tmp_path: Path) -> None:
    base = make_base(tmp_path / "odd", "bert", intermediate_size=46)
    with pytest.raises(SettingsError, match="layers of a multiple of 4 inputs; found 46: use fp32"):
        Switcher(str(base), registry=registry, precision="int8")


def test_only_a_cpu_with_the_instructions_has_fast_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_fast_int8(torch.device("meta"))
    monkeypatch.setattr(int8_linear.torch.cpu, "_is_vnni_supported", lambda: False)
    monkeypatch.setattr(int8_linear.torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not has_fast_int8(torch.device("cpu"))
