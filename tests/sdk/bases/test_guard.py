"""A base from a stranger: broken or hostile in any file or field, it loads rightly or is refused by name.

Everything hostile here is harmless: code would make a marker file, and what lies outside is a copy of the base.
"""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pointsman.registry.errors import BaseNotFoundError, UnusableBaseError
from pointsman.sdk.bases.architecture import FIELDS
from pointsman.sdk.bases.former import COMMON
from pointsman.sdk.bases.load import load_base, read_base

CODE = "from pathlib import Path\nPath({marker!r}).touch()\n"

JUNK: list[Any] = [None, -1, 0, 7, 3.7, 1e30, 10**12, True, False, "x", "gelu", [], [1], {}, {"a": 1}]

OBJECTS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json")


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "stranger"))


@pytest.fixture
def outside(tiny_base: Path, tmp_path: Path) -> Path:
    """A good base beside the stranger's: what would be read if a name led out of the directory."""
    return Path(shutil.copytree(tiny_base, tmp_path / "outside"))


def change(directory: Path, name: str = "config.json", **fields: Any) -> None:
    file = directory / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def refusal(directory: Path) -> str:
    """The message that a base is refused with, which is the same without its weights."""
    with pytest.raises(UnusableBaseError) as caught:
        load_base(str(directory))
    return str(caught.value)


def early_refusal(directory: Path) -> str:
    """The message, where it is refused before a training reads its rows."""
    message = refusal(directory)
    with pytest.raises(UnusableBaseError) as caught:
        read_base(str(directory))
    assert str(caught.value) == message
    return message


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("auto_map", {"AutoConfig": "code.Config", "AutoModel": "code.Model"}, "code"),
        ("trust_remote_code", True, "code"),
        ("use_kernels", True, "a kernel"),
        ("attn_implementation", "someone/kernel", "attention"),
        ("_attn_implementation", "someone/kernel", "attention"),
        ("_attn_implementation_internal", "sdpa", "attention"),
        ("quantization_config", {"quant_method": "gptq"}, "a quantiser"),
        ("transformers_weights", "../outside/model.safetensors", "other weights"),
        ("gguf_file", "x.gguf", "other weights"),
        ("backbone", "someone/model", "other weights"),
        ("_commit_hash", "0" * 40, "other weights"),
    ],
)
def test_fields_that_choose_code_or_other_files_are_refused_at_any_depth(
    copy: Path, tmp_path: Path, field: str, value: object, reason: str
) -> None:
    (copy / "code.py").write_text(CODE.format(marker=str(tmp_path / "marker")))
    change(copy, **{field: value})
    message = early_refusal(copy)
    assert f"the field '{field}' of config.json would choose " in message
    assert reason in message
    change(copy, **{field: None, "nested": [{"deeper": {field: value}}]})
    assert field in early_refusal(copy)
    assert not (tmp_path / "marker").exists()


def test_a_field_that_is_null_says_nothing(copy: Path, tiny_base: Path) -> None:
    change(copy, quantization_config=None, auto_map=None)
    assert load_base(str(copy)).record.fingerprint == load_base(str(tiny_base)).record.fingerprint


def test_only_known_architectures(copy: Path) -> None:
    """Of others, the library was seen to ask for another repository with remote code allowed."""
    for model_type in ("timm_wrapper", "encoder-decoder", "mamba"):
        change(copy, model_type=model_type)
        message = early_refusal(copy)
        assert f"unknown architecture '{model_type}'" in message
        assert "roberta" in message
    change(copy, model_type="brt")
    assert "did you mean bert" in early_refusal(copy)
    for wrong in (None, ["bert"], {"bert": 1}):
        change(copy, model_type=wrong)
        assert "'model_type'" in early_refusal(copy)


def test_a_terminal_is_asked_nothing(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    (copy / "code.py").write_text(CODE.format(marker=str(marker)))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    change(copy, "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Slow", "code.Fast"]})
    assert "'auto_map' of tokenizer_config.json" in early_refusal(copy)
    assert not marker.exists()


def test_an_adapter_in_the_directory_is_refused(copy: Path, outside: Path) -> None:
    (copy / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(outside)}))
    assert "'adapter_config.json'" in early_refusal(copy)


@pytest.mark.parametrize("value", ["../outside/model.safetensors", "OUTSIDE", "pytorch_model.bin", ".safetensors", 7])
def test_an_index_names_safetensors_beside_it_only(copy: Path, outside: Path, value: object) -> None:
    if value == "OUTSIDE":
        value = str(outside / "model.safetensors")
    weights = load_file(copy / "model.safetensors")
    torch.save(weights, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, value)}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    message = refusal(copy)
    assert "'weight_map' of model.safetensors.index.json" in message
    assert str(value)[:20] in message


def test_shards_are_read(copy: Path, tiny_base: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    places = {key: names[number % 2] for number, key in enumerate(sorted(weights))}
    for name in names:
        save_file({key: weights[key] for key in weights if places[key] == name}, copy / name, {"format": "pt"})
    (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert load_base(str(copy)).record.fingerprint == load_base(str(tiny_base)).record.fingerprint
    (copy / names[0]).unlink()
    assert f"lack '{names[0]}'" in refusal(copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"])
def test_links_out_of_the_directory_are_refused(copy: Path, outside: Path, tiny_base: Path, name: str) -> None:
    (copy / name).unlink()
    (copy / name).symlink_to(outside / name)
    assert f"'{name}' is a link out of the base's directory" in refusal(copy)
    # A link inside of it is as good as the file, and so is the cache of the hub, which is made of links.
    (copy / name).unlink()
    shutil.copy(tiny_base / name, copy / f"{name}.real")
    (copy / name).symlink_to(f"{name}.real")
    load_base(str(copy))
    (copy / name).unlink()
    (copy / name).symlink_to("nowhere")
    assert f"'{name}' is a link to a file that does not exist" in refusal(copy)


def test_what_is_no_regular_file_is_refused(copy: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        shutil.move(copy / name, copy / "kept")
        os.mkfifo(copy / name)  # reading it would wait for ever
        assert f"'{name}' is not a regular file" in refusal(copy)
        (copy / name).unlink()
        (copy / name).mkdir()
        assert f"'{name}' is not a regular file" in refusal(copy)
        (copy / name).rmdir()
        shutil.move(copy / "kept", copy / name)


def test_json_is_bounded_in_size_and_depth(copy: Path) -> None:
    whole = (copy / "config.json").read_text()
    for text, reason in [
        (whole + " " * (1 << 20), "'config.json' has 1,"),
        ('{"a": ' * 40 + "1" + "}" * 40, "more than 32 levels"),
        ('{"a": ' * 100_000 + "1" + "}" * 100_000, "'config.json'"),
        ("[1, 2]", "must hold a JSON object; found a list"),
        ("null", "found null"),
        ("7", "found a number"),
        ("{", "'config.json' is not valid JSON"),
        (whole.replace("0.1,", "NaN,", 1), "NaN is not a JSON number"),
    ]:
        (copy / "config.json").write_text(text)
        assert reason in early_refusal(copy)
    (copy / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "'config.json' is not valid JSON" in early_refusal(copy)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"num_hidden_layers": -1}, "'num_hidden_layers' of config.json must be a whole number from 1 to 1,000"),
        ({"hidden_act": "gelo"}, "'hidden_act' of config.json names an unknown activation 'gelo'; did you mean gelu"),
        ({"num_attention_heads": 3}, "'hidden_size' of config.json (128) must be a multiple of 'num_attention_heads'"),
        ({"layer_norm_eps": "small"}, "'layer_norm_eps'"),
        ({"hidden_dropout_prob": 1}, "'hidden_dropout_prob' of config.json must be a number from 0 to below 1"),
        ({"vocab_size": 9_999_999}, "'vocab_size' of config.json needs at least"),
        ({"num_hidden_layers": 900}, "'num_hidden_layers' of config.json needs at least"),
        ({"intermediate_size": 64}, "by config.json, the weight 'bert.encoder.layer.0.intermediate.dense.bias'"),
        ({"pad_token_id": 5_000}, "'pad_token_id' of config.json (5000) is beyond 'vocab_size'"),
        ({"return_dict": False}, "'return_dict'"),
        ({"to_dict": 1}, "'to_dict' of config.json is a part of the library's"),
        ({"pruned_heads": {"a": 1}}, "'pruned_heads'"),
    ],
)
def test_values_are_refused_by_field(copy: Path, fields: dict[str, Any], reason: str) -> None:
    change(copy, **fields)
    assert reason in refusal(copy)


def test_weights_that_are_not_numbers_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    for wrong in (torch.nan, torch.inf):
        key = "encoder.layer.1.output.dense.bias"
        changed = {**weights, key: weights[key].clone()}
        changed[key][3] = wrong
        save_file(changed, copy / "model.safetensors", {"format": "pt"})
        assert f"the weight 'bert.{key}' has numbers that are not finite" in refusal(copy)
    save_file(
        {key: value.to(torch.int8) for key, value in weights.items()}, copy / "model.safetensors", {"format": "pt"}
    )
    assert "as I8" in refusal(copy)


def test_a_tokenizer_beyond_the_embedding_is_refused_before_a_training(copy: Path) -> None:
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["extraordinary"] = 5_000
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    message = early_refusal(copy)
    assert "ids up to 5,000, that of 'extraordinary', and its embedding has 153 rows" in message


def test_only_fast_tokenizers(copy: Path) -> None:
    for kind in ("BertJapaneseTokenizer", "AutoModel", "RagTokenizer", "Trainer"):
        change(copy, "tokenizer_config.json", tokenizer_class=kind)
        assert f"'{kind}' (field 'tokenizer_class'), and only fast tokenizers are read" in early_refusal(copy)
    change(copy, "tokenizer_config.json", tokenizer_class=["BertTokenizer"])
    assert "'tokenizer_class'" in early_refusal(copy)


@pytest.mark.parametrize("field", ["vocab_file", "tokenizer_file", "fast_tokenizer_files", "merges_file", "from_slow"])
def test_a_tokenizer_reads_no_other_files(copy: Path, outside: Path, field: str) -> None:
    change(copy, "tokenizer_config.json", **{field: str(outside / "vocab.txt")})
    assert f"'{field}' of tokenizer_config.json would choose other files" in early_refusal(copy)


def test_a_field_of_old_releases_that_reads_nothing_stays_allowed(copy: Path) -> None:
    change(copy, "tokenizer_config.json", special_tokens_map_file="/root/.cache/file", name_or_path="/elsewhere")
    change(copy, _name_or_path="/elsewhere", _num_labels=3, _attn_implementation_autoset=True)
    load_base(str(copy))


def broken(directory: Path, draw: random.Random, outside: Path) -> str:
    """Break a base at random; returns the names, one of which a refusal has to say."""
    file = draw.choice(OBJECTS)

    def put(field: str, value: object, part: str | None = None) -> str:
        whole = json.loads((directory / file).read_text())
        (whole if part is None else whole[part])[field] = value
        (directory / file).write_text(json.dumps(whole))
        return field

    def any_field() -> str:
        known = sorted(json.loads((directory / file).read_text()))
        if file == "config.json":
            known = sorted({*known, *FIELDS["bert"], *COMMON})
        return put(draw.choice(known), draw.choice(JUNK))

    def vocabulary() -> str:
        nonlocal file
        file = "tokenizer.json"
        return put(draw.choice(["vocab", "unk_token", "type", "continuing_subword_prefix"]), draw.choice(JUNK), "model")

    def cut() -> str:
        content = (directory / file).read_bytes()
        (directory / file).write_bytes(content[: draw.randrange(len(content))])
        return file

    def flip() -> str:
        content = bytearray((directory / file).read_bytes())
        for _ in range(draw.randint(1, 20)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        (directory / file).write_bytes(content)
        return file

    def damage_weights() -> str:
        path = directory / "model.safetensors"
        content = path.read_bytes()
        head = draw.randrange(2_000)
        path.write_bytes(content[:head] + draw.randbytes(9) + content[head + 9 : -draw.randint(1, 99)])
        return path.name

    def lose() -> str:
        (directory / file).unlink()
        return file

    def link() -> str:
        (directory / file).unlink()
        (directory / file).symlink_to(outside / file)
        return file

    others = [vocabulary, cut, flip, damage_weights, lose, link]
    name = draw.choice([any_field, any_field, any_field, *others])()
    return f"{name} {file}"


@pytest.mark.parametrize("part", range(4))
def test_a_base_broken_at_random_loads_rightly_or_is_refused_by_name(
    part: int, tiny_base: Path, outside: Path, tmp_path: Path
) -> None:
    whole, refused, loaded = load_base(str(tiny_base)), 0, 0
    for seed in range(part * 25, part * 25 + 25):
        directory = Path(shutil.copytree(tiny_base, tmp_path / f"broken-{seed}"))
        names = broken(directory, random.Random(seed), outside)
        try:
            base = load_base(str(directory))
        except (UnusableBaseError, BaseNotFoundError) as error:
            message = str(error)
            assert any(name in message for name in [*names.split(), "tokenizer"]), (seed, names, message)
            refused += 1
        else:
            inputs = base.tokenizer(["a gripping film"], return_tensors="pt")
            assert base.model.base_model(**inputs).last_hidden_state.isfinite().all()
            assert base.record.parameters == whole.record.parameters
            loaded += 1
        shutil.rmtree(directory)
    assert refused >= 8
    assert loaded >= 2
