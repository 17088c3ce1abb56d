"""One call installs all patches that a loaded base needs; every patch has a contract test that names its library."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import AdapterSetup
from torch import nn

from pointsman.sdk import patches
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.core.devices import has_fast_bf16
from pointsman.sdk.engines.slots import add_slot, slot_name
from pointsman.sdk.methods import configure
from pointsman.sdk.patches import deberta_queries, first_token, install, layer_drop
from pointsman.sdk.patches.packed import PackedMatrix

from architectures import ARCHITECTURES

BATCH = {
    "input_ids": torch.tensor([[2, 11, 12, 13, 3], [2, 14, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}


def hooks(model: nn.Module) -> dict[str, int]:
    """The number of hooks on each module that has any."""
    counts = {name: len(m._forward_hooks) + len(m._forward_pre_hooks) for name, m in model.named_modules()}
    return {name: count for name, count in counts.items() if count}


def test_every_file_of_the_room_has_a_contract_test() -> None:
    files = {path.stem for path in Path(patches.__path__[0]).glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")} - {"install"}
    assert files == tests
    assert len(files) == 11
    without = []
    for name in files:
        if "with contract(" not in (Path(__file__).parent / f"test_{name}.py").read_text(encoding="utf-8"):
            without.append(name)
    assert without == ["forward_context"]  # ours alone


def test_a_broken_contract_names_library_and_version(contract: Any) -> None:
    expected = rf"^adapters {version('adapters')}: it is no longer so that heads are long \(AssertionError: short"
    with pytest.raises(pytest.fail.Exception, match=expected), contract("adapters", "heads are long"):
        raise AssertionError("short")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("bf16", [False, True])
def test_installing_again_changes_nothing(architecture: str, bf16: bool, bases: dict[str, Path]) -> None:
    model = load_base(str(bases[architecture]), bf16=bf16).model
    slot = slot_name(0)
    add_slot(model, slot, configure("seq_bn"))

    def outputs() -> torch.Tensor:
        with torch.inference_mode(), AdapterSetup(slot), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            states: torch.Tensor = model.base_model(**BATCH)[0]
        return states

    counts, expected = hooks(model), outputs()
    matrices = [id(parameter) for parameter in model.parameters()]
    install(model, bf16=bf16)
    assert hooks(model) == counts
    assert [id(parameter) for parameter in model.parameters()] == matrices
    assert torch.equal(outputs(), expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_loaded_base_has_every_patch(architecture: str, bases: dict[str, Path]) -> None:
    model = load_base(str(bases[architecture]), bf16=True).model
    assert isinstance(model.adapters_config, layer_drop._PerThreadConfig)
    composing = [module for module in model.modules() if hasattr(module, "compose_average")]
    assert len(composing) >= 4
    assert all("compose_average" in vars(module) for module in composing)
    cut = [module for module in model.modules() if first_token._cut in module._forward_pre_hooks.values()]
    assert len(cut) == (architecture in first_token.MODEL_TYPES)
    cast = [module for module in model.modules() if deberta_queries._cast in module._forward_hooks.values()]
    assert len(cast) == (2 if architecture == "deberta-v2" else 0)
    matrices = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    assert {matrix.dtype for matrix in matrices} == {torch.bfloat16}
    packs = has_fast_bf16(torch.device("cpu"))
    assert {type(matrix) for matrix in matrices} == {PackedMatrix if packs else nn.Parameter}
