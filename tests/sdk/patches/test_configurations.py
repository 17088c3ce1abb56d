"""A model knows every configuration exactly; without the patch several share one, and DiReFT becomes NoReFT."""

from typing import Any

import torch
from adapters.methods.reft import ReftLayer
from adapters.utils import get_adapter_config_hash

from pointsman.sdk.engines.fusion_layers import add_fusion, remove_fusion
from pointsman.sdk.engines.slots import add_slot, remove_slot
from pointsman.sdk.methods import METHODS, configure
from pointsman.sdk.methods.configure import OF_REFT, full_config
from pointsman.sdk.methods.fusion import configure_fusion
from pointsman.sdk.patches.configurations import copy_of, forget_fusion, keep_adapter, keep_fusion

SLOTS = ("slot000000", "slot000001")


def subtracting(model: Any, slot: str) -> set[bool]:
    layers = [module for module in model.modules() if isinstance(module, ReftLayer) and slot in module.refts]
    return {unit.subtract_projection for layer in layers for unit in layer.refts[slot].units}


def test_the_library_keeps_configurations_by_a_hash_of_several(contract: Any, plain_model: Any) -> None:
    plain, hypercomplex = configure("seq_bn"), configure("seq_bn", {"phm_layer": True})
    with contract("adapters", "configurations that differ share one hash, so that the last one counts for all"):
        assert plain != hypercomplex
        assert get_adapter_config_hash(plain) == get_adapter_config_hash(hypercomplex)
        known = plain_model().adapters_config
        known.add(SLOTS[0], copy_of(plain))
        known.add(SLOTS[1], copy_of(hypercomplex))
        assert known.get(SLOTS[0]).to_dict()["phm_layer"] is True
    with contract("adapters", "a model knows configurations by config_map and adapters, and VeRA's shapes by name"):
        assert known.adapters[SLOTS[0]] == known.adapters[SLOTS[1]] in known.config_map
        assert known._vera_init_shapes == {}
    with contract("adapters", "a configuration loses subtract_projection, so that a DiReFT is a NoReFT"):
        model, config = plain_model(), configure("direft")
        assert config[OF_REFT] is False
        model.add_adapter(SLOTS[0], config=copy_of(config))
        assert subtracting(model, SLOTS[0]) == {True}
        assert OF_REFT not in model.adapters_config.get(SLOTS[0]).to_dict()


def test_an_adapter_s_configuration_is_kept_exactly(plain_model: Any) -> None:
    """Of every method, and of two that the library holds for one."""
    model = plain_model()
    for number, method in enumerate(METHODS):
        slot = f"slot{number:06d}"
        add_slot(model, slot, configure(method))
        assert full_config(model.adapters_config.get(slot)) == configure(method), method
        remove_slot(model, slot)
        assert slot not in model.adapters_config.config_map
        assert slot not in model.adapters_config._vera_init_shapes
    for slot, phm_layer in zip(SLOTS, (False, True), strict=True):
        add_slot(model, slot, configure("seq_bn", {"phm_layer": phm_layer}))
    assert [model.adapters_config.get(slot).to_dict()["phm_layer"] for slot in SLOTS] == [False, True]


def test_a_direft_stays_one_and_keeping_it_twice_changes_nothing(plain_model: Any) -> None:
    model, config = plain_model(), configure("direft")
    model.add_adapter(SLOTS[0], config=copy_of(config))
    for _ in range(2):
        keep_adapter(model, SLOTS[0], config)
        assert subtracting(model, SLOTS[0]) == {False}
        assert list(model.adapters_config.config_map) == [SLOTS[0]]


def test_a_fusion_s_configuration_is_kept_exactly(contract: Any, plain_model: Any, add_adapter: Any) -> None:
    model, config = plain_model(), configure_fusion({})
    with contract("adapters", "a model knows fusions by three maps, and get_fusion reads them by name"):
        built = keep_fusion(model, "slot000002", SLOTS, config)
        assert model.adapters_config.get_fusion("slot000002") == (built, list(SLOTS))
        assert {key: built.to_dict()[key] for key in config} == config
    forget_fusion(model, "slot000002")
    assert model.adapters_config.get_fusion("slot000002") == (None, None)
    for slot in SLOTS:
        add_adapter(model, slot)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    add_fusion(model, "slot000002", SLOTS, config)
    remove_fusion(model, "slot000002")
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
