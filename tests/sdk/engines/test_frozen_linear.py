"""Products with matrices that do not change: torch's, whether a matrix is packed or not."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch.nn import functional

from pointsman.sdk.engines import frozen_linear
from pointsman.sdk.engines.frozen_linear import FrozenLinear
from pointsman.sdk.patches.packed import PackedMatrix, can_pack

CPU = torch.device("cpu")
INPUTS = 48


@pytest.fixture(
    params=[(torch.float32, True), (torch.float32, False), (torch.bfloat16, True), (torch.bfloat16, False)],
    ids=["fp32 packed", "fp32", "bf16 packed", "bf16"],
)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The type to compute in, with packed matrices where this machine packs them, and without."""
    found, packs = request.param
    if not packs:
        monkeypatch.setattr(frozen_linear, "can_pack", lambda *_: False)
    elif not can_pack(CPU, found):
        pytest.skip(f"oneDNN does not multiply {found} here")
    return found


def _layers(dtype: torch.dtype, *outputs: int) -> list[torch.nn.Linear]:
    """Linear layers in float32 whose numbers are exact in a type."""
    torch.manual_seed(0)
    return [torch.nn.Linear(INPUTS, count).requires_grad_(False).to(dtype).float() for count in outputs]


def _exact(layers: Sequence[torch.nn.Linear], states: torch.Tensor) -> torch.Tensor:
    """The product in float32."""
    return torch.cat([layer(states.float()) for layer in layers], dim=-1)


def _shapes() -> Iterator[tuple[int, ...]]:
    """A matrix is packed once, for any number of rows."""
    yield from ((1,), (7,), (40,), (1, 1), (3, 5), (2, 0))


@pytest.mark.parametrize("outputs", [(64,), (64, 16), (48, 48, 48)])
def test_products_are_torchs(dtype: torch.dtype, outputs: tuple[int, ...]) -> None:
    """In bf16 by sums in float32 that are rounded once."""
    layers = _layers(dtype, *outputs)
    frozen = FrozenLinear(*layers, dtype=dtype)
    for shape in _shapes():
        states, added = torch.randn(*shape, INPUTS).to(dtype), torch.randn(*shape, sum(outputs)).to(dtype)
        kept_states, kept_added = states.clone(), added.clone()
        expected = _exact(layers, states)
        torch.testing.assert_close(frozen(states), expected.to(dtype))
        found = frozen.gelu(states), frozen.plus(states, added)
        right = functional.gelu(expected).to(dtype), (expected + added.float()).to(dtype)
        bound = {} if dtype is torch.float32 else {"atol": 0.02, "rtol": 0.02}  # a sum or GELU may be rounded twice
        for one, other in zip(found, right, strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(one, other, **bound)
        assert torch.equal(states, kept_states)
        assert torch.equal(added, kept_added)


def test_states_may_be_a_part_of_a_larger_tensor(dtype: torch.dtype) -> None:
    (layer,) = _layers(dtype, 64)
    frozen = FrozenLinear(layer, dtype=dtype)
    whole = torch.randn(4, 6, INPUTS).to(dtype)
    wide = torch.randn(4, 6, 3 * INPUTS).to(dtype)
    for states in (whole[:, :1], whole[1:3], whole.transpose(0, 1), wide[..., INPUTS : 2 * INPUTS]):
        added = torch.randn(*states.shape[:-1], 128).to(dtype)[..., ::2]
        whole_states, whole_added = states.contiguous(), added.contiguous()
        bound = {} if dtype is torch.float32 else {"atol": 0.02, "rtol": 0.02}  # other sums, rounded to eight bits
        torch.testing.assert_close(frozen(states), frozen(whole_states), **bound)
        torch.testing.assert_close(frozen.gelu(states), frozen.gelu(whole_states), **bound)
        torch.testing.assert_close(frozen.plus(states, added), frozen.plus(whole_states, whole_added), **bound)


def test_its_gradient_is_torchs(dtype: torch.dtype) -> None:
    layers = _layers(dtype, 64, 16)
    frozen = FrozenLinear(*layers, dtype=dtype)
    for rows in (1, 7, 40):
        states, gradient = torch.randn(rows, INPUTS).to(dtype), torch.randn(rows, 80).to(dtype)
        exact = states.float().requires_grad_()
        _exact(layers, exact).backward(gradient.float())
        assert exact.grad is not None
        torch.testing.assert_close(frozen(states), _exact(layers, states).to(dtype))
        torch.testing.assert_close(frozen.backward(gradient), exact.grad.to(dtype))


def test_the_layers_are_not_changed(dtype: torch.dtype) -> None:
    layers = _layers(dtype, 64, 16)
    kept = [(layer.weight, layer.weight.clone(), layer.bias.clone()) for layer in layers]
    frozen = FrozenLinear(*layers, dtype=dtype)
    frozen.plus(torch.randn(3, INPUTS).to(dtype), torch.randn(3, 80).to(dtype))
    frozen.backward(torch.randn(3, 80).to(dtype))
    for layer, (weight, values, bias) in zip(layers, kept, strict=True):
        assert layer.weight is weight
        assert torch.equal(weight, values)
        assert torch.equal(layer.bias, bias)


@pytest.mark.skipif(not can_pack(CPU, torch.bfloat16), reason="oneDNN does not multiply bf16 here")
def test_a_matrix_that_is_packed_is_not_packed_again() -> None:
    (layer,) = _layers(torch.bfloat16, 64)
    layer.weight = PackedMatrix(layer.weight.bfloat16())
    frozen = FrozenLinear(layer, dtype=torch.bfloat16)
    states = torch.randn(3, INPUTS).bfloat16()
    torch.testing.assert_close(frozen(states), functional.linear(states, layer.weight, layer.bias.bfloat16()))
    assert frozen._packed is layer.weight.packed
