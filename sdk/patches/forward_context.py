"""The forward context: what the patched modules need to know about the forward pass that they run in.

It belongs to the thread that makes the forward pass, so two threads can use one model with different contexts.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from torch import Tensor

SlotIndex = int | Tensor
"""The slot that all rows read, or one for each row: ``(rows,)`` in int64."""


@dataclass(frozen=True, kw_only=True)
class SharedLayers:
    """The part of a forward pass that may run once per text instead of once per row."""

    layers: int = 0
    """The number of lowest layers that do, with the embeddings; 0: nothing is shared."""
    to_adapter: bool = False
    """Whether the next layer does too, up to its first adapter, a bottleneck behind one of its blocks."""


@dataclass(kw_only=True)
class ForwardContext:
    """One forward pass: its settings, and the layer that it has reached.

    Examples:
        >>> with forward_context(ForwardContext(dropped=2)):
        ...     model(**batch)  # without the adapters of the two lowest layers
    """

    slots: Mapping[str, SlotIndex] = field(default_factory=dict)
    """The slot to read in each rack, by the rack's name in the model."""
    dropped: int = 0
    """The number of lowest layers whose adapters are skipped."""
    sharing: SharedLayers = SharedLayers()
    text_of_row: Tensor | None = None
    """The text of each row, ``(rows,)`` in int64; None: every row has its own text, and nothing is shared."""
    texts: int = 0
    """The number of texts, fewer than rows."""
    first_token_only: bool = False
    """Whether only the first token of the last layer's output is read, see ``first_token``."""
    layer: int = 0
    """The number of the layer that is running, from 1; 0 at the embeddings. ``layer_drop`` counts."""

    @property
    def skips_adapters(self) -> bool:
        """Whether the layer that is running skips its adapters; the embeddings never do."""
        return 0 < self.layer <= self.dropped

    def by_row(self, states: Tensor) -> Tensor:
        """Repeat states whose first dimension is the texts for each row; return any other unchanged."""
        if self.text_of_row is None or len(states) != self.texts:
            return states
        return states[self.text_of_row]


_current: ContextVar[ForwardContext | None] = ContextVar("current_context", default=None)


def current_context() -> ForwardContext | None:
    """The context of the forward pass that this thread makes; None outside ``forward_context``."""
    return _current.get()


@contextmanager
def forward_context(context: ForwardContext) -> Iterator[None]:
    """Give the one forward pass that this thread makes inside the block this context."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
