"""Every change to a module of adapters or transformers, one file each; each file says what the library does without it.

``install`` changes a loaded base. Three patches change modules that are added to it later, and are applied at that
moment by functions of their own:

- ``rack_modules.replacement``, when an adapter becomes a rack;
- ``pooled_dropout.pool_dropout``, when a model is prepared for training on a CPU;
- ``configurations.keep_adapter`` and ``keep_fusion``, when an adapter or a fusion layer is added.

``modernbert`` adds a model class, and is in force from its import on. What a patch needs to know about the forward pass
it runs in, it reads from ``forward_context.current_context()``. Each patch has a contract test in tests/sdk/patches/,
which fails when the library changes underneath.
"""

from typing import Any

from . import average, deberta_queries, first_token, layer_drop
from . import bf16 as bf16_weights


def install(model: Any, *, bf16: bool = False) -> None:
    """Install what a loaded base needs. Installing again changes nothing.

    Args:
        model: An adapters model in float32, on its device, before adapters are added to it.
        bf16: Also keep the matrices in bf16, for as long as the model lives.

    Examples:
        >>> model = AutoAdapterModel.from_pretrained("bert-base-uncased")
        >>> install(model)
    """
    for patch in (average, layer_drop, first_token, deberta_queries):
        patch.install(model)
    if bf16:
        bf16_weights.install(model)
