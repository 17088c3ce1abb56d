"""ModernBERT with adapters and heads, for which adapters 1.3.0 has no model class.

adapters supports ModernBERT only through its plugin interface: bottlenecks, LoRA and ReFT at the places that the
interface names, and no heads. It also gives the attention's projection a bias of random numbers if the model has none.

``ModernBertAdapterModel`` is for ModernBERT what ``BertAdapterModel`` is for BERT. Importing this module registers it
with ``AutoAdapterModel``, so that plain adapters loads exported versions::

    import pointsman.sdk.patches.modernbert
    model = AutoAdapterModel.from_pretrained(BASE)
    model.load_adapter(DIRECTORY, use_safetensors=True)
"""

from typing import Any, ClassVar

import torch
from adapters import AutoAdapterModel, init
from adapters.context import AdapterSetup, ForwardContext
from adapters.heads import ModelWithFlexibleHeadsAdaptersMixin
from adapters.model_mixin import EmbeddingAdaptersWrapperMixin
from transformers import ModernBertConfig, ModernBertModel, ModernBertPreTrainedModel


class ModernBertAdapterModel(
    EmbeddingAdaptersWrapperMixin,  # type: ignore[misc, no-untyped-call]
    ModelWithFlexibleHeadsAdaptersMixin,  # type: ignore[misc]
    ModernBertPreTrainedModel,
):
    """ModernBERT (Warner et al. 2024, arXiv:2412.13663) with any number of adapters and classification heads."""

    head_types: ClassVar[list[str]] = ["classification"]

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.model = ModernBertModel(config)
        init(self.model)
        if not config.attention_bias:
            # The library's layer in place of the projection has a bias even if the model has none: random numbers that
            # no checkpoint would overwrite.
            for layer in self.model.layers:
                layer.attn.Wqkv.bias = None
        self._init_head_modules()  # type: ignore[operator]
        self.init_weights()  # type: ignore[no-untyped-call]

    @ForwardContext.wrap  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        head: str | None = None,
        labels: torch.Tensor | None = None,
        **options: Any,
    ) -> Any:
        """Encode rows, and run a head on them.

        Args:
            input_ids: ``(rows, tokens)``.
            attention_mask: ``(rows, tokens)``, 1 for tokens and 0 for padding.
            head: The head's name; by default that of the ``AdapterSetup``, or the active head.
            labels: ``(rows,)``; with them the output has a loss.
            **options: Other arguments of ``ModernBertModel``.

        Returns:
            The head's output, with ``logits`` of ``(rows, labels)``; without a head, the encoder's.
        """
        # The output is always an object, and ModernBERT has no segments, which some tokenizers give.
        for ignored in ("return_dict", "token_type_ids"):
            options.pop(ignored, None)
        encoded = self.model(input_ids, attention_mask=attention_mask, return_dict=True, **options)
        if not (head or AdapterSetup.get_context_head_setup() or self.active_head):
            return encoded
        return self.forward_head(  # type: ignore[operator]
            encoded, head_name=head, attention_mask=attention_mask, return_dict=True, labels=labels
        )


AutoAdapterModel.register(ModernBertConfig, ModernBertAdapterModel)
