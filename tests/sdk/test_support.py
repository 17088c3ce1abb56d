"""What does not work on a base is refused beforehand, and what works there only without padding gets none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError
from pointsman.sdk import train
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.data.tokens import TokenRows, tokenise
from pointsman.sdk.engines.single import adapter_outputs
from pointsman.sdk.engines.slots import add_head, add_slot, slot_name
from pointsman.sdk.methods import configure
from pointsman.sdk.methods.support import check_supported, reads_padding
from pointsman.sdk.training.trial_pass import check_runs

from architectures import make_base
from helpers import TEXTS, scramble

SLOT = slot_name(0)


@pytest.fixture(scope="module")
def convolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DeBERTa-v2 with the convolution that its largest checkpoints have."""
    changes = {"conv_kernel_size": 3, "conv_act": "gelu"}
    return make_base(tmp_path_factory.mktemp("bases") / "convolved", "deberta-v2", **changes)


@pytest.fixture(scope="module")
def more_bases(bases: dict[str, Path], convolved: Path) -> dict[str, Path]:
    return {**bases, "convolved": convolved}


def adapted(base: Path, config: dict[str, Any]) -> tuple[Any, TokenRows]:
    """A model with an adapter and a head, ready to train, and inputs of several lengths, the first and an empty one."""
    loaded = load_base(str(base))
    add_slot(loaded.model, SLOT, config)
    add_head(loaded.model, SLOT, labels=("no", "yes"))
    loaded.model.train_adapter(SLOT)
    return loaded.model, tokenise(loaded.tokenizer, [(text,) for text in (*TEXTS, "")], max_length=32)


@pytest.mark.parametrize(
    ("method", "overrides", "message"),
    [
        ("lora", {"dtype": "bfloat16"}, "dtype must be float32"),
        ("vera", {"output_lora": True}, "selfattn_lora, output_lora: enable one of them"),
        ("seq_bn_inv", {"inv_adapter": "glow"}, "null or 'nice': the adapters library computes no 'glow' on text"),
        ("seq_bn", {"inv_adapter": "nice"}, "inv_adapter 'nice' needs inv_adapter_reduction_factor"),
        ("double_seq_bn", {"residual_before_ln": "post_add"}, "set original_ln_before to true"),
        ("seq_bn", {"residual_before_ln": "odd"}, "must be true, false or 'post_add'; found 'odd'"),
    ],
)
def test_what_works_on_no_base_is_refused(
    method: str, overrides: dict[str, Any], message: str, tiny_base: Path
) -> None:
    base = load_base(str(tiny_base)).model.config
    check_supported(base, configure(method))
    with pytest.raises(SettingsError, match=message):
        check_supported(base, configure(method, overrides))


def test_what_works_on_some_bases_only_is_refused_on_the_others(
    bases: dict[str, Path], convolved: Path, registry: Registry
) -> None:
    modernbert, deberta = (load_base(str(base)).model.config for base in (bases["modernbert"], convolved))
    elsewhere = {"selfattn_lora": False, "intermediate_lora": True}
    check_supported(modernbert, configure("dora", elsewhere))
    with pytest.raises(SettingsError, match="DoRA does not work in the attention of a modernbert base"):
        check_supported(modernbert, configure("dora"))
    with pytest.raises(SettingsError, match="'post_add' does not work on a modernbert base"):
        check_supported(modernbert, configure("seq_bn", {"residual_before_ln": "post_add"}))
    check_supported(load_base(str(bases["deberta-v2"])).model.config, configure("lora+prompt_tuning"))
    with pytest.raises(SettingsError, match="with a convolution") as caught:
        check_supported(deberta, configure("lora+prompt_tuning"))
    fitting = str(caught.value).partition("on this base: ")[2].split(", ")
    assert len(fitting) == 20
    assert "prompt_tuning" not in fitting
    with pytest.raises(SettingsError, match="with a convolution"):
        train("sst2", base=str(convolved), method="prompt_tuning", data="sample", registry=registry)
    assert list(registry.runs()) == []


@pytest.mark.parametrize("method", ["seq_bn", "compacter+++prefix_tuning+prompt_tuning+dora+direft"])
def test_trying_a_configuration_leaves_no_trace(method: str, tiny_base: Path) -> None:
    model, rows = adapted(tiny_base, configure(method))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    check_runs(model, SLOT, rows.batch([0]))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_pass_that_fails_is_an_error_that_says_how(tiny_base: Path) -> None:
    model, rows = adapted(tiny_base, configure("seq_bn"))
    batch = rows.batch([0])
    with pytest.raises(SettingsError, match="does not run on a bert base: IndexError: index out of range"):
        check_runs(model, SLOT, {**batch, "token_type_ids": batch["input_ids"][:, :1].repeat(1, 3)})


@pytest.mark.parametrize(
    ("method", "overrides", "message"),
    [
        ("seq_bn", {"output_adapter": False}, "adapts nothing"),
        ("compacter", {"leave_out": [0, 1]}, "adapts nothing"),
        ("lora", {"attn_matrices": []}, "adapts nothing"),
        ("noreft", {"prefix_positions": 0}, "adapts nothing"),
    ],
)
def test_what_shows_in_a_forward_pass_only_is_refused_before_anything_is_recorded(
    method: str, overrides: dict[str, Any], message: str, tiny_base: Path, registry: Registry
) -> None:
    model, rows = adapted(tiny_base, configure(method, overrides))
    with pytest.raises(SettingsError, match=message):
        check_runs(model, SLOT, rows.batch([0]))
    with pytest.raises(SettingsError, match=message):
        train(
            "sst2", base=str(tiny_base), method=method, overrides=overrides, data="sample", registry=registry,
            max_train_rows=16, max_eval_rows=40, batch_size=16, epochs=1,
        )  # fmt: skip
    assert list(registry.runs()) == []


@pytest.mark.parametrize(
    ("base", "method", "overrides", "exact"),
    [
        ("bert", "prefix_tuning", {}, False),
        ("distilbert", "prefix_tuning", {}, True),
        ("distilbert", "mam", {}, True),
        ("bert", "lora+prefix_tuning", {"lora.use_gating": True}, True),
        ("bert", "noreft", {"suffix_positions": 2}, False),
        ("bert", "noreft", {"suffix_positions": 5}, True),
        ("deberta-v2", "seq_bn_inv", {}, False),
        ("convolved", "seq_bn_inv", {}, True),
    ],
)
def test_no_padding_where_outputs_would_depend_on_it(
    base: str, method: str, overrides: dict[str, Any], exact: bool, more_bases: dict[str, Path]
) -> None:
    config = configure(method, overrides)
    model, rows = adapted(more_bases[base], config)
    scramble(model, SLOT)
    model.eval()
    assert reads_padding(config, model.config) is exact
    singly = adapter_outputs(model, SLOT, rows, batch_rows=1)
    torch.testing.assert_close(adapter_outputs(model, SLOT, rows, exact_lengths=exact), singly, rtol=1e-4, atol=1e-4)
    if exact:
        try:
            padded = adapter_outputs(model, SLOT, rows)
        except RuntimeError as error:
            assert "out of bounds" in str(error)  # noqa: PT017 - one of them fails with padding, the others are wrong
        else:
            assert (padded - singly).abs().max() > 1e-3
