"""The tokenizer belongs to a base: with other ids it is another base, however the same ids are written to files."""

import json
import shutil
from pathlib import Path

import pytest

from pointsman.registry import Registry
from pointsman.registry.errors import BaseMismatchError
from pointsman.sdk import Switcher, train
from pointsman.sdk.bases.load import load_base

from architectures import make_base
from helpers import TEXTS, MakeVersion

DIGESTS = {
    "albert": "c67cabe517b1b310c7a7e23f7df61f391cbb5451be3488ad7a10307af66dfe00",
    "bert": "2e69f536300a4e798784de325eebc4a7aa90bc5a8fb58b313513e35dc4387628",
    "deberta-v2": "1ac74228de6c57703989a2d26a67025d2dd7a3bf96c987b29898e86c76630096",
    "distilbert": "2e69f536300a4e798784de325eebc4a7aa90bc5a8fb58b313513e35dc4387628",
    "electra": "2e69f536300a4e798784de325eebc4a7aa90bc5a8fb58b313513e35dc4387628",
    "modernbert": "274346f893071b5dec3bfa8a2198e9745361268c614cdcbfa2fe1bc39f13e4fc",
    "roberta": "9516f2860ebf540989fa6adfda283df5b9b4fa9b9073453a8c8756b86fcc1670",
    "xlm-roberta": "0c00059717e50cf5f9cf2301712ae3343eb1ab1baa2b5c8b2e9a2c5c3893b592",
}
"""Of the tests' bases; a release of the tokenizers library that changes one would orphan every version."""


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "copy"))


def digest(directory: Path) -> str:
    found = load_base(str(directory)).record.tokenizer
    assert found is not None
    return found


def change(file: Path, *keys: str, **values: object) -> None:
    whole = json.loads(file.read_text())
    part = whole
    for key in keys:
        part = part[key]
    part.update(values)
    file.write_text(json.dumps(whole))


def test_exchanged_words_are_another_base(
    copy: Path, tiny_base: Path, registry: Registry, make_version: MakeVersion
) -> None:
    vocabulary = json.loads((copy / "tokenizer.json").read_text())["model"]["vocab"]
    pairs = [("good", "bad"), ("great", "awful"), ("film", "dog")]
    exchanged = {a: vocabulary[b] for pair in pairs for a, b in (pair, pair[::-1])}
    change(copy / "tokenizer.json", "model", "vocab", **exchanged)
    first, other = load_base(str(tiny_base)).record, load_base(str(copy)).record
    assert other.fingerprint == first.fingerprint
    assert other.tokenizer != first.tokenizer
    version = make_version("one")
    with (
        Switcher(str(copy), registry=registry) as switcher,
        pytest.raises(BaseMismatchError, match="the weights are the same, the tokenizer differs"),
    ):
        switcher.predict(version.ref, TEXTS)


def test_what_changes_ids_changes_the_digest(copy: Path, tiny_base: Path) -> None:
    first, seen = digest(tiny_base), set()
    whole, config = (copy / "tokenizer.json").read_text(), (copy / "tokenizer_config.json").read_text()
    for file, keys, values in [
        ("tokenizer_config.json", (), {"do_lower_case": False}),
        ("tokenizer_config.json", (), {"truncation_side": "left"}),
        ("tokenizer_config.json", (), {"padding_side": "left"}),
        ("tokenizer.json", ("model",), {"continuing_subword_prefix": "@@"}),
        ("tokenizer.json", (), {"pre_tokenizer": {"type": "Whitespace"}}),
        ("tokenizer.json", (), {"post_processor": None}),
    ]:
        change(copy / file, *keys, **values)
        seen.add(digest(copy))
        (copy / "tokenizer.json").write_text(whole)
        (copy / "tokenizer_config.json").write_text(config)
    assert len(seen) == 6
    assert first not in seen
    assert digest(copy) == first


def test_how_the_same_ids_are_written_does_not_matter(copy: Path, tiny_base: Path) -> None:
    first = digest(tiny_base)
    processor = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}  # as old releases wrote it
    change(copy / "tokenizer.json", post_processor=processor, decoder=None)
    assert digest(copy) == first
    truncation = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    change(copy / "tokenizer.json", truncation=truncation)
    assert digest(copy) == first
    change(copy / "tokenizer_config.json", tokenizer_class="TokenizersBackend")  # transformers 5
    assert digest(copy) == first
    (copy / "special_tokens_map.json").unlink()
    assert digest(copy) == first
    change(copy / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    (copy / "tokenizer.json").unlink()  # from vocab.txt alone
    assert digest(copy) == first


def test_the_digests_stay_what_they_are(bases: dict[str, Path]) -> None:
    assert {name: digest(directory) for name, directory in bases.items()} == DIGESTS


@pytest.mark.parametrize("architecture", ["distilbert", "roberta", "deberta-v2", "bert"])
def test_the_general_class_of_tokenizers_reads_pairs_for_any_base(
    architecture: str, registry: Registry, tmp_path: Path
) -> None:
    """It numbers the texts of a pair, and a base that reads no such numbers gets none."""
    base = make_base(tmp_path / "base", architecture)
    own = digest(base)
    named = base / "tokenizer_config.json"
    for key in ("model_input_names", "special_tokens_map_file"):
        fields = {name: value for name, value in json.loads(named.read_text()).items() if name != key}
        named.write_text(json.dumps(fields))
    change(named, tokenizer_class="PreTrainedTokenizerFast")
    assert digest(base) == own
    names = load_base(str(base)).tokenizer.model_input_names
    assert ("token_type_ids" in names) is (architecture == "bert")
    version = train(
        "mrpc", base=str(base), data="sample", registry=registry, max_steps=2, batch_size=8, max_length=32,
        max_eval_rows=20,
    )  # fmt: skip
    with Switcher(str(base), registry=registry) as switcher:
        assert len(switcher.predict(version.ref, [("a film", "a film"), ("a film", "two hours")])) == 2
