"""Forward passes through the adapters library's own modules: every method, every base, one set of active modules."""

from collections.abc import Mapping
from typing import Any

from adapters import AdapterSetup
from torch import Tensor

from ..patches.forward_context import ForwardContext, forward_context


def first_tokens(model: Any, setup: Any, inputs: Mapping[str, Tensor], context: ForwardContext) -> Tensor:
    """The states of each row's first token behind the last layer, ``(rows, hidden)``.

    Args:
        model: An adapters model in evaluation mode.
        setup: The active adapters, a name in the model or a composition block of the adapters library.
        inputs: ``input_ids`` and ``attention_mask``, ``(texts, tokens)``; ``token_type_ids`` if the base has them.
        context: The slots, and what else the patched modules need to know.
    """
    with AdapterSetup(setup), forward_context(context):
        return context.by_row(model.base_model(**inputs)[0][:, 0])
