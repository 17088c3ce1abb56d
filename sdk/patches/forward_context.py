"""What a forward pass is like, for the modules that it goes through: it belongs to its thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SharedLayers:
    """What of a forward pass may run on texts rather than on rows."""

    layers: int = 0
    """So many layers, the lowest ones, and the embeddings; none at all where it is 0."""
    to_adapter: bool = False
    """Also the next layer up to its first adapter, which is a bottleneck behind one of its blocks."""


@dataclass(kw_only=True)
class ForwardContext:
    """How far a forward pass has come."""

    dropped: int = 0
    """The adapters of so many layers, the lowest ones, are skipped."""
    sharing: SharedLayers = SharedLayers()
    text_of: Tensor | None = None
    """The text of each row, ``(rows,)`` in int64; None: each row is its own, and nothing is shared."""
    texts: int = 0
    """How many texts there are, fewer than rows."""
    first_only: bool = False
    """The last layer's output is computed for the first token of each text only, see ``narrowing``."""
    begun: int = 0
    """Layers that have begun."""

    @property
    def skips(self) -> bool:
        """Whether adapters where it is now are skipped; the embeddings, before all layers, are not."""
        return 0 < self.begun <= self.dropped

    def by_row(self, states: Tensor) -> Tensor:
        """What has the texts as its first dimension, repeated for each row; anything else as it is."""
        return states if self.text_of is None or len(states) != self.texts else states[self.text_of]


_current: ContextVar[ForwardContext | None] = ContextVar("current_context", default=None)


def current_context() -> ForwardContext | None:
    """The forward pass that this thread makes, if it said what it is like."""
    return _current.get()


@contextmanager
def forward_context(way: ForwardContext) -> Iterator[None]:
    """Let the one forward pass that this thread makes inside the block be like that."""
    token = _current.set(way)
    try:
        yield
    finally:
        _current.reset(token)
