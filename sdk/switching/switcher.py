"""Switcher: one base in memory, and any number of registered adapters to switch between, per call and per thread.

It never calls ``set_active_adapters``, which changes the model for every thread. A call leases the versions it needs,
and its forward passes run in adapters' thread-local ``AdapterSetup`` with slots that are the thread's own: two threads
on two tasks never see each other's adapter, and what is evicted meanwhile goes when nobody uses it any more.
"""

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Self, overload

import torch

from pointsman.registry import Base, Ref, Registry
from pointsman.registry.errors import CompositionError, SettingsError

from ..bases.load import load_base
from ..core.composition import Average, BatchSplit, Block, Composition, Fuse, Parallel, Stack, parse
from ..core.registries import open_registry
from ..tasks import Task
from .execute.execute import Request, RouteLogits, build_requests, execute
from .execute.inputs import Asked, OneAnswer, Text, input_list, input_stream, mixed_rows
from .execute.predictions import Prediction, predictions
from .memory.adapter_cache import AdapterCache
from .memory.loaded import Capacity
from .resolve.ref_cache import RefCache
from .resolve.resolved_ref import ResolvedRef
from .resolve.routes import required_rows, routes_for
from .status import Status, status_of

PRECISIONS: Final = ("fp32", "bf16")

STREAM_ROWS: Final = 1024
"""Rows that ``predict_stream`` takes at a time."""


class Switcher:
    """One base, loaded once, and the adapters that run on it.

    Safe to share between threads. Close it, or use it as a context manager, to free its memory early.

    Wherever a ref is taken, a composition is too: ``"average(a, b)"`` or ``Average("a", "b")``. ``Parallel`` gives a
    tuple of predictions for each input, one a member; everything else gives one prediction.

    Args:
        base: ``minilm``, a directory, or a name on the Hugging Face hub.
        registry: Where versions come from; by default the default registry.
        device: Where to compute, as torch names it.
        precision: ``fp32``, the same numbers everywhere, or ``bf16``, faster where the device has it in hardware.
        capacity: Versions in memory at most: what was used longest ago goes first. None is without a limit.
        capacity_bytes: Bytes of their tensors at most, likewise.
        warm_bytes: Bytes of evicted tensors that stay in memory beside the model, to come back without the disk.

    Raises:
        UnusableBaseError, BaseNotFoundError: The base cannot be loaded.
        SettingsError: No such precision, or a capacity of nothing.
    """

    def __init__(
        self,
        base: str,
        *,
        registry: Registry | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        capacity: int | None = None,
        capacity_bytes: int | None = None,
        warm_bytes: int = 0,
    ) -> None:
        if precision not in PRECISIONS:
            raise SettingsError(f"precision has to be one of {', '.join(PRECISIONS)}; found '{precision}'")
        self._capacity = Capacity(adapters=capacity, bytes=capacity_bytes, warm_bytes=warm_bytes)
        with ExitStack() as stack:
            self._registry = stack.enter_context(open_registry(registry))
            loaded = load_base(base, device=device, bf16=precision == "bf16")
            self._to_close = stack.pop_all()
        self._model = loaded.model
        self._device = str(loaded.model.device)
        self._tokenizer = loaded.tokenizer
        self._base = loaded.record
        self._precision = precision
        self._autocast = torch.bfloat16 if precision == "bf16" else None
        dtype = self._autocast or torch.float32
        self._library = AdapterCache(self._registry, self._model, capacity=self._capacity, dtype=dtype)
        self._meanings = RefCache(self._registry, self._base, self._library)
        self._active: ContextVar[Composition | None] = ContextVar("active", default=None)
        self._prefetching: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def base(self) -> Base:
        """What the registry knows of the base."""
        return self._base

    @property
    def loaded(self) -> tuple[str, ...]:
        """The versions in memory, as ``name@number``, in the order they were loaded."""
        return tuple(loaded.version.ref for loaded in self._library.loaded)

    def load(self, ref: Asked) -> str:
        """Load what a ref or composition needs now rather than on its first use, and return what it means.

        Raises:
            NotFoundError: There is no such version.
            BaseMismatchError: It was trained on another base.
            CompositionError: It is a composition that breaks a rule.
            StoreError, WeightsError: Its files are missing, damaged or do not fit; what was loaded goes on working.
            SettingsError: It does not fit into the capacity, or the Switcher is closed.
        """
        return self._load(parse(ref))

    def prefetch(self, *refs: Asked) -> "Future[tuple[str, ...]]":
        """Load in the background; the future gives what ``load`` would have, or raises it."""
        with self._lock:
            self._check_open()
            if self._prefetching is None:
                self._prefetching = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
            return self._prefetching.submit(lambda: tuple(self.load(ref) for ref in refs))

    def pin(self, ref: Asked) -> None:
        """Load the version that a ref means now and keep it, whatever else is loaded; also when the ref moves on.

        Raises:
            NotFoundError and the other errors of ``load``.
        """
        self._library.pin(list(self._mean(ref).versions.values()))

    def unpin(self, ref: Asked) -> None:
        """Let a version be evicted as others are."""
        self._library.unpin(list(self._mean(ref).versions))

    def unload(self, ref: Asked) -> None:
        """Take a version out of memory; calls that use it still end with it. Nothing happens if it is not loaded.

        Raises:
            NotFoundError: There is no such version, neither in memory nor in the registry.
            CompositionError: It is a composition that breaks a rule.
        """
        self._check_open()
        asked = parse(ref)
        names = {str(asked)} if str(asked) in self.loaded else set(self._mean(asked).versions)
        for name in names:
            self._library.unload(name)
        self._meanings.forget(names)

    def refresh(self, *refs: Asked) -> dict[str, str]:
        """Look up anew what refs mean that can move: ``sst2``, ``sst2@best``, ``sst2@production``.

        Until then a ref means what it meant at its first use here, so that one process gives one answer. What it means
        now is loaded first, if what it meant was, and then takes its place; calls under way end with the old one.

        Args:
            *refs: Which; of compositions, the refs in them. By default all that have been used.

        Returns:
            What has changed: what it means now, by ref.

        Raises:
            NotFoundError and the other errors of ``load``: the first of them, after all others are refreshed. What
                failed means what it meant.
        """
        self._check_open()
        return self._meanings.refresh([parse(ref) for ref in refs])

    @contextmanager
    def active(self, ref: Asked) -> Iterator[None]:
        """Make ``predict`` without a ref mean this one, inside the block and in this thread only. Blocks nest.

        Raises:
            NotFoundError and the other errors of ``load``.
        """
        composition = parse(ref)
        self._load(composition)
        token = self._active.set(composition)
        try:
            yield
        finally:
            self._active.reset(token)

    def activate(self, ref: Asked | None) -> None:
        """Make ``predict`` without a ref mean this one from now on, in this thread only; None ends it.

        Raises:
            NotFoundError and the other errors of ``load``.
        """
        composition = None if ref is None else parse(ref)
        if composition is not None:
            self._load(composition)
        self._active.set(composition)

    @overload
    def predict(self, ref: OneAnswer, inputs: Sequence[Text], /, *, drop_layers: int = 0) -> list[Prediction]: ...

    @overload
    def predict(
        self, ref: Parallel, inputs: Sequence[Text], /, *, drop_layers: int = 0
    ) -> list[tuple[Prediction, ...]]: ...

    @overload
    def predict(self, inputs: Sequence[Text], /, *, drop_layers: int = 0) -> list[Prediction]: ...

    def predict(self, *arguments: Any, drop_layers: int = 0) -> Any:
        """Predict with one adapter or composition: ``predict("sst2", texts)``, or ``predict(texts)`` inside ``active``.

        Args:
            *arguments: The ref, unless one is active, and the inputs: texts, or pairs of texts for a task of pairs.
            drop_layers: Skip the adapters of so many layers, the lowest ones (AdapterDrop, Rücklé et al. 2021,
                arXiv:2010.11918). Where several adapters of one configuration are asked about the same text, these
                layers run on it once for all of them.

        Returns:
            A prediction for each input, in their order; of ``Parallel``, also as text, a tuple with one a member.

        Raises:
            SettingsError: No ref where none is active, no inputs or such as the task does not take, or ``drop_layers``
                that are more than the base has.
            NotFoundError and the other errors of ``load``.
        """
        match arguments:
            case (str() | Ref() | Stack() | Fuse() | Average() | BatchSplit() | Parallel() as ref, inputs):
                return self._predict(ref, inputs, drop_layers)
            case (inputs,) if not isinstance(inputs, str | Ref | Block):
                active = self._active.get()
                if active is None:
                    raise SettingsError("no adapter is active: name one, predict('sst2', texts), or use active('sst2')")
                return self._predict(active, inputs, drop_layers)
        raise SettingsError("predict takes a ref and a list of inputs, or a list of inputs inside active(ref)")

    def predict_mixed(self, rows: Sequence[tuple[Asked, Text]], *, drop_layers: int = 0) -> list[Any]:
        """Predict rows that each name their own adapter, all that can in one forward pass.

        Args:
            rows: ``(ref, text or pair)``, any adapters and compositions in any order.
            drop_layers: As for ``predict``.

        Returns:
            A prediction for each row, from its own adapter and head, in the order of the rows; of ``Parallel`` a tuple
            of predictions.

        Raises:
            As ``predict``; nothing is predicted if any row is wrong.
        """
        found = mixed_rows(rows)
        meanings = {ref: self._mean(ref) for ref in dict.fromkeys(ref for ref, _ in found)}
        asked = [(meanings[ref], routes_for(meanings[ref].composition, 0, 1), text) for ref, text in found]
        return self._predictions(asked, drop_layers)

    def predict_stream(self, ref: OneAnswer, inputs: Iterable[Text], *, drop_layers: int = 0) -> Iterator[Prediction]:
        """Predict inputs of any number, also none, in constant memory, in their order, some at a time.

        What the ref means is looked up now: a refresh meanwhile changes nothing for this stream.

        Raises:
            CompositionError: The sizes of a ``BatchSplit`` do not add up to the inputs; known at the end of a long
                stream only.
            SettingsError, NotFoundError and the other errors of ``predict``.
        """
        return self._stream(self._mean(ref), input_stream(inputs), drop_layers)

    def logits(self, ref: OneAnswer, inputs: Sequence[Text], *, drop_layers: int = 0) -> torch.Tensor:
        """The head's outputs, ``(inputs, labels)`` in float32 on the CPU, or ``(inputs, 1)`` for a regression.

        Raises:
            CompositionError: There is more than one answer to an input, or they have different numbers of labels.
            SettingsError, NotFoundError and the other errors of ``predict``.
        """
        texts = input_list(inputs)
        asked = build_requests(self._mean(ref), texts)
        if any(len(ways) > 1 for _, ways, _ in asked):
            raise CompositionError(f"{ref} gives more than one answer to an input: use predict")
        found = self._answer(asked, drop_layers)
        width, *others = sorted({answers.logits.shape[1] for answers in found})
        if others:
            raise CompositionError(f"{ref} has heads of {[width, *others]} outputs: use predict")
        result = torch.empty(len(texts), width)
        for answers in found:
            result[answers.numbers] = answers.logits
        return result

    def task(self, ref: OneAnswer) -> Task:
        """The task of what answers.

        Raises:
            CompositionError: There is more than one answer, or different inputs are for different tasks.
            NotFoundError and the other errors of ``load``.
        """
        meaning = self._mean(ref)
        if len(routes_for(meaning.composition, 0, required_rows(meaning.composition) or 1)) > 1:
            raise CompositionError(f"{ref} gives more than one answer to an input")
        task, *others = meaning.tasks.values()
        if any(other != task for other in others):
            names = dict.fromkeys(one.name for one in meaning.tasks.values())
            raise CompositionError(f"{ref} answers for several tasks: {', '.join(names)}")
        return task

    def status(self) -> Status:
        """What is in memory now; printed, it is a table."""
        self._check_open()
        return status_of(
            self._library,
            self._capacity,
            base=self._base.name,
            device=self._device,
            precision=self._precision,
        )

    def close(self) -> None:
        """Free the base and everything loaded, once no call uses it; any later call raises SettingsError."""
        with self._lock:
            self._closed = True
        self._library.close()  # what is loaded in advance waits for it no longer
        if self._prefetching is not None:
            self._prefetching.shutdown(cancel_futures=True)
        self._model = None
        self._to_close.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _predict(self, ref: Asked, inputs: Sequence[Text], drop_layers: int) -> list[Any]:
        texts = input_list(inputs)
        return self._predictions(build_requests(self._mean(ref), texts), drop_layers)

    def _stream(self, meaning: ResolvedRef, waiting: Iterator[Text], drop_layers: int) -> Iterator[Any]:
        due = required_rows(meaning.composition)
        begun = 0
        while chunk := list(itertools.islice(waiting, STREAM_ROWS)):
            here = begun + len(chunk)
            if due is not None and here > due:
                raise CompositionError(f"the sizes of {meaning.composition} add up to {due}, and there are more rows")
            rows = here if due is None or len(chunk) < STREAM_ROWS else due
            yield from self._predictions(build_requests(meaning, chunk, begun, rows), drop_layers, begun)
            begun = here
        if due is not None:
            routes_for(meaning.composition, 0, begun)

    def _predictions(self, asked: Sequence[Request], drop_layers: int, begun: int = 0) -> list[Any]:
        flat: list[Prediction | None] = [None] * sum(len(ways) for _, ways, _ in asked)
        for answers in self._answer(asked, drop_layers, begun):
            for number, prediction in zip(answers.numbers, predictions(answers.task, answers.logits), strict=True):
                flat[number] = prediction
        one_by_one = iter(flat)
        return [
            tuple(itertools.islice(one_by_one, len(ways)))
            if isinstance(meaning.composition, Parallel) or len(ways) > 1
            else next(one_by_one)
            for meaning, ways, _ in asked
        ]

    def _answer(self, asked: Sequence[Request], drop_layers: int, begun: int = 0) -> list[RouteLogits]:
        model = self._model  # first: it is there whenever this is open after it
        self._check_open()
        if not asked:
            raise SettingsError("there is nothing to predict: the list of inputs is empty")
        return execute(
            asked,
            begun,
            model=model,
            tokenizer=self._tokenizer,
            library=self._library,
            autocast=self._autocast,
            drop_layers=drop_layers,
        )

    def _load(self, composition: Composition) -> str:
        meaning = self._settled(composition)
        with self._library.lease(list(meaning.versions.values())):
            return str(meaning.composition)

    def _mean(self, ref: Asked) -> ResolvedRef:
        return self._settled(parse(ref))

    def _settled(self, composition: Composition) -> ResolvedRef:
        self._check_open()
        return self._meanings.of(composition)

    def _check_open(self) -> None:
        if self._closed:
            raise SettingsError("this Switcher is closed: make another")
