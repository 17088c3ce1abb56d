"""latefuse and polylora, which run LoRAs of many tasks in one batch of an encoder. `make peers` installs them.

Both give encodings; their heads are left out of what is measured, while a Switcher's are in it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

Encode = Callable[[Sequence[str], Sequence[str]], torch.Tensor]
"""From sentences and the LoRA of each to the states of their first tokens, ``(rows, hidden)``."""

RANK = 8
PROJECTIONS = ("query", "value")
"""Where a LoRA of the adapters library stands by default."""


def latefuse(base: Path, adapters: Mapping[str, Path], *, rows: int, tokens: int) -> Encode:
    """A pipeline with its own forward pass for BERT, for so many rows of so many tokens, which it fixes.

    Args:
        base: The base's directory.
        adapters: LoRAs by name, as ``Registry.export`` left them.
        rows: Of a call.
        tokens: Of a row.
    """
    from latefuse import MultiTenantClassifier, peft_key_fn

    pipeline = MultiTenantClassifier.from_pretrained(
        str(base),
        lora_rank=RANK,
        batch_size=rows,
        max_seq_len=tokens,
        target_modules=PROJECTIONS,
        engine="bert",
        assembler="cpu",
        pooling="cls",
    )
    for name, directory in adapters.items():
        matrices = _matrices(directory, name, "base_model.model.{module}.lora_{letter}.weight")
        pipeline.store.load_from_state_dict(name, matrices, peft_key_fn("bert"), lora_alpha=RANK)
    return pipeline.encode


def polylora(base: Path, adapters: Mapping[str, Path]) -> Encode:
    """A model whose linear layers are the library's; on a CPU it has no kernels to choose.

    Args:
        base: The base's directory.
        adapters: LoRAs by name, as ``Registry.export`` left them.
    """
    from polylora import PolyLoraConfig, PolyLoraModel
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base))
    config = PolyLoraConfig(max_gpu_adapters=len(adapters), max_rank=RANK, target_modules=list(PROJECTIONS))
    model = PolyLoraModel(AutoModel.from_pretrained(str(base)), config).eval()
    for name, directory in adapters.items():
        model.adapter_store.add_adapter_from_peft_state_dict(
            name,
            _matrices(directory, name, "{module}.lora_{letter}.default.weight"),
            model.target_module_names,
            lora_alpha=RANK,
        )

    def encode(texts: Sequence[str], names: Sequence[str]) -> torch.Tensor:
        with torch.no_grad():
            batch = tokenizer(list(texts), padding=True, return_tensors="pt")
            states: torch.Tensor = model(**batch, adapter_ids=list(names)).last_hidden_state
        return states[:, 0]

    return encode


def head(directory: Path, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The exported classification head of an adapter, from encodings to probabilities."""
    tensors = load_file(directory / "model_head.safetensors")
    first, second = f"heads.{name}.1", f"heads.{name}.4"

    def probabilities(encodings: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(encodings @ tensors[f"{first}.weight"].T + tensors[f"{first}.bias"])
        return (hidden @ tensors[f"{second}.weight"].T + tensors[f"{second}.bias"]).softmax(dim=-1)

    return probabilities


def _matrices(directory: Path, name: str, key: str) -> dict[str, torch.Tensor]:
    """The matrices of a LoRA under names like PEFT's; ``key`` makes them of ``module`` and ``letter``."""
    matrices = {}
    for path, tensor in load_file(directory / "adapter.safetensors").items():
        module, letter = path.removeprefix("bert.").split(f".loras.{name}.lora_")
        matrices[key.format(module=module, letter=letter)] = tensor
    return matrices
