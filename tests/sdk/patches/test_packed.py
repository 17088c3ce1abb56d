"""Packed matrices are faster than matrices, and change no number."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import linear

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.bases.load import LoadedBase
from pointsman.sdk.core.devices import has_fast_bf16
from pointsman.sdk.methods import METHODS
from pointsman.sdk.patches import bf16, packed
from pointsman.sdk.patches.packed import PackedMatrix

from helpers import TEXTS, MakeVersion, on_torch_modules

FAST = has_fast_bf16(torch.device("cpu"))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_torch_multiplies_by_reordered_matrices(contract: Any) -> None:
    with contract("torch", "its operators mkldnn._reorder_linear_weight and mkldnn._linear_pointwise exist"):
        assert "Tensor self" in str(torch.ops.mkldnn._reorder_linear_weight.default._schema)
        schema = str(torch.ops.mkldnn._linear_pointwise.default._schema)
        assert "Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm" in schema
    with contract("torch", "linear layers call torch.nn.functional.linear, which a parameter's class can replace"):
        seen: list[Any] = []

        class Seen(torch.nn.Parameter):
            @classmethod
            def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                seen.append(func)
                with torch._C.DisableTorchFunctionSubclass():
                    return func(*args, **(kwargs or {}))

        layer = torch.nn.Linear(4, 4)
        layer.weight = torch.Tensor._make_subclass(Seen, layer.weight.detach(), False)
        layer(torch.ones(1, 4))
        assert linear in seen
    if FAST:
        with contract("torch", "a product by a reordered bf16 matrix is that by the matrix, to the last bit"):
            matrix, states = torch.randn(96, 40).bfloat16(), torch.randn(7, 40).bfloat16()
            assert torch.equal(packed.Packed(matrix)(states), linear(states, matrix))


@pytest.mark.parametrize(
    ("device", "dtype", "packs"),
    [
        ("cpu", torch.float32, torch.backends.mkldnn.is_available()),
        ("cpu", torch.bfloat16, FAST and torch.backends.mkldnn.is_available()),
        ("cpu", torch.float16, False),
        ("cpu", torch.float64, False),
        ("cuda", torch.float32, False),
        ("cuda", torch.bfloat16, False),
        ("meta", torch.float32, False),
    ],
)
def test_what_onednn_multiplies_in_hardware_is_packed(device: str, dtype: torch.dtype, packs: bool) -> None:
    assert packed.can_pack(torch.device(device), dtype) == packs


def test_nothing_is_packed_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not any(packed.can_pack(torch.device("cpu"), dtype) for dtype in (torch.float32, torch.bfloat16))


def test_matrices_are_packed_where_the_processor_multiplies_bf16(loaded: LoadedBase) -> None:
    bf16.install(loaded.model)
    matrices = [module.weight for module in loaded.model.modules() if isinstance(module, torch.nn.Linear)]
    assert len(matrices) > 12
    assert {type(matrix) for matrix in matrices} == {PackedMatrix if FAST else torch.nn.Parameter}
    assert {matrix.dtype for matrix in matrices} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_every_method_computes_the_same_with_packed_matrices(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that read the base's matrices, as DoRA does, and not only multiply by them."""
    refs = [f"m{number}" for number in range(len(METHODS))]
    for ref, method in zip(refs, METHODS, strict=True):
        make_version(ref, method=method)
    with Switcher(str(tiny_base), registry=registry, precision="bf16") as switcher:
        on_torch_modules(switcher)
        found = {ref: switcher.logits(ref, TEXTS) for ref in refs}
    monkeypatch.setattr(packed, "has_fast_bf16", lambda device: False)
    with Switcher(str(tiny_base), registry=registry, precision="bf16") as switcher:
        on_torch_modules(switcher)
        for ref in refs:
            assert torch.equal(switcher.logits(ref, TEXTS), found[ref]), ref
    assert len(found) == 21


@pytest.mark.skipif(not FAST, reason="this processor does not multiply bf16")
def test_a_packed_matrix_is_a_matrix() -> None:
    torch.manual_seed(0)
    plain, bias = torch.randn(96, 40).bfloat16(), torch.randn(96).bfloat16()
    packed = PackedMatrix(plain)
    assert isinstance(packed, torch.nn.Parameter)
    for shape in ((1, 40), (7, 40), (5, 9, 40), (0, 40)):
        states = torch.randn(shape).bfloat16()
        assert torch.equal(linear(states, packed, bias), linear(states, plain, bias))
        assert torch.equal(linear(states, packed), linear(states, plain))
        assert torch.equal(linear(states, packed, bias=bias), linear(states, plain, bias))
        with torch.autocast("cpu", torch.bfloat16):
            single = linear(states.float(), packed, bias.float())
        assert torch.equal(single, linear(states, plain, bias))
    assert torch.equal(packed + 1, plain + 1)
    assert torch.equal(packed.t() @ plain, plain.t() @ plain)
    with pytest.raises(RuntimeError, match="dtype"):
        linear(torch.randn(3, 40), packed)
