"""Switcher: one base in memory, and any number of registered adapters to switch between, per call and per thread.

It never calls ``set_active_adapters``, which changes the model for every thread. A call leases the versions it needs,
and its forward passes run in adapters' thread-local ``AdapterSetup``, with slots of their own: two threads on two tasks
never see each other's adapter, and a version that is evicted meanwhile is freed when no call uses it any more.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, NoReturn, Self, overload

import torch

from pointsman.registry import Base, Ref, Registry
from pointsman.registry.errors import CompositionError, SettingsError

from ..bases.load import load_base
from ..bases.places import remember_place
from ..core.composition import Average, BatchSplit, Block, Composition, Fuse, Parallel, Stack, parse
from ..core.registries import open_registry
from ..engines.encoder import encoder_for
from ..tasks import Task
from .activation import Activation
from .execute.executor import Executor
from .execute.predictions import Prediction, predictions
from .execute.requests import (
    RefLike,
    Request,
    SingleAnswer,
    Text,
    build_requests,
    checked,
    input_list,
    input_stream,
    mixed_requests,
    stream_requests,
)
from .memory.adapter_cache import AdapterCache
from .memory.loaded import Capacity
from .resolve.lookup import RefCache
from .resolve.resolved_ref import ResolvedRef
from .status import Status, status_of

PRECISIONS: Final = ("fp32", "bf16", "int8")


class Switcher:
    """One base, loaded once, and the adapters that run on it.

    It is safe to share between threads, but not with a process that is forked from this one: there every call is
    refused. Close it, or use it as a context manager, to free its memory early.

    Every method that takes a ref also takes a composition: ``"average(a, b)"`` or ``Average("a", "b")``. ``Parallel``
    gives a tuple of predictions for each input, with one for each member; everything else gives one prediction.

    Args:
        base: ``minilm``, a directory, or a name on the Hugging Face hub.
        registry: Where versions come from; by default the default registry.
        device: The device to compute on, as torch names it.
        precision: ``fp32``, the same numbers everywhere except for rounding; ``bf16``, faster where the device has it
            in hardware; or ``int8``, for the base's products on a CPU that has it in hardware, adapters and heads in
            fp32.
        capacity: The number of versions in memory at most; the version used longest ago is evicted first. None: no
            limit.
        capacity_bytes: The bytes of their tensors at most, likewise.
        warm_bytes: The bytes of evicted tensors that stay in memory beside the model, to come back without being read
            from disk.

    Raises:
        UnusableBaseError, BaseNotFoundError: The base cannot be loaded.
        SettingsError: The precision is unknown, or the device or the base does not have it; or a capacity is below 1.

    Examples:
        >>> with Switcher("minilm") as model:
        ...     model.predict("sst2", ["a gripping film"])
        ...     model.predict_mixed([("sst2", "a gripping film"), ("cola", "He go home.")])
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
            raise SettingsError(f"precision must be one of {', '.join(PRECISIONS)}; found '{precision}'")
        limits = Capacity(adapters=capacity, bytes=capacity_bytes, warm_bytes=warm_bytes)
        with ExitStack() as stack:
            self._registry = stack.enter_context(open_registry(registry))
            loaded = load_base(base, device=device, bf16=precision == "bf16", known=self._registry.base_names())
            remember_place(self._registry, loaded.record)
            encoder = encoder_for(loaded.model, precision)
            self._to_close = stack.pop_all()
        self._model = loaded.model
        self._device = str(loaded.model.device)
        self._tokenizer = loaded.tokenizer
        self._base = loaded.record
        self._precision = precision
        autocast = torch.bfloat16 if precision == "bf16" else None
        dtype = autocast or torch.float32
        self._adapters = AdapterCache(self._registry, self._model, capacity=limits, dtype=dtype, encoder=encoder)
        self._refs = RefCache(self._registry, self._base, self._adapters)
        self._executor = Executor(self._adapters, self._tokenizer, autocast=autocast)
        self._active = Activation()
        self._prefetching: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()  # so that no prefetch starts its thread after close

    @property
    def base(self) -> Base:
        """The registry's record of the base."""
        return self._base

    @property
    def loaded(self) -> tuple[str, ...]:
        """The versions in memory, as ``name@number``, in the order they were loaded."""
        self._adapters.check_process()
        return tuple(adapter.version.ref for adapter in self._adapters.loaded)

    def load(self, ref: RefLike) -> str:
        """Load now what a ref or composition needs, rather than on its first use, and return what it resolves to.

        Raises:
            NotFoundError: The version is not found.
            BaseMismatchError: It was trained on another base.
            CompositionError: It is a composition that breaks a rule.
            StoreError, WeightsError: Its files are missing, damaged or do not fit; loaded versions go on working.
            SettingsError: It does not fit into the capacity, it cuts inputs to a length that the base does not take, or
                the Switcher is closed.
        """
        return self._load(parse(ref))

    def prefetch(self, *refs: RefLike) -> "Future[tuple[str, ...]]":
        """Load in the background; the future gives what ``load`` returns, or raises what it raises."""
        self._adapters.check_process()
        with self._lock:
            self._adapters.check_open()
            if self._prefetching is None:
                self._prefetching = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
            return self._prefetching.submit(lambda: tuple(self.load(ref) for ref in refs))

    def pin(self, ref: RefLike) -> None:
        """Load the versions that a ref resolves to now and never evict them, also when the ref moves on.

        Raises:
            PointsmanError: As for ``load``.
        """
        self._adapters.pin(list(self.resolve(ref).versions.values()))

    def unpin(self, ref: RefLike) -> None:
        """Let a version be evicted as others are."""
        self._adapters.unpin(list(self.resolve(ref).versions))

    def unload(self, ref: RefLike) -> None:
        """Take a version out of memory; calls that use it end with it. Nothing happens if it is not loaded.

        Raises:
            NotFoundError: The version is found neither in memory nor in the registry.
            CompositionError: It is a composition that breaks a rule.
        """
        self._adapters.check_open()
        name = str(parse(ref))
        versions = {name} if name in self.loaded else set(self.resolve(ref).versions)
        for version in versions:
            self._adapters.unload(version)
        self._refs.forget(versions)

    def refresh(self, *refs: RefLike) -> dict[str, str]:
        """Look up anew the refs that can move: ``sst2``, ``sst2@best``, ``sst2@production``.

        Until then a ref resolves to the version that it resolved to at its first use here, so that one process gives
        one answer. If that version is loaded, the new one is loaded before it takes its place; running calls end with
        the old one.

        Args:
            *refs: The refs; of compositions, the refs in them. By default all that have been used.

        Returns:
            The changes: the new version by ref.

        Raises:
            PointsmanError: As for ``load``: the first error is raised after all others are refreshed. A ref
                that failed resolves to what it did before.
        """
        self._adapters.check_open()
        return self._refs.refresh([parse(ref) for ref in refs])

    @contextmanager
    def active(self, ref: RefLike) -> Iterator[None]:
        """Let ``predict`` without a ref use this one, inside the block and in this thread or asyncio task only.

        Blocks nest. A block is entered and left in one task, and in one cell of a notebook.

        Raises:
            PointsmanError: As for ``load``.

        Examples:
            >>> with model.active("cola"):
            ...     model.predict(["He goes home."])
        """
        composition = parse(ref)
        self._load(composition)
        with self._active.block(composition):
            yield

    def activate(self, ref: RefLike | None) -> None:
        """Let ``predict`` without a ref use this one from now on, in this thread only; None ends it.

        For scripts and notebooks, where it holds in all cells that follow. Blocks of ``active`` go before it.

        Raises:
            SettingsError: It is called inside a block of ``active``; or in an asyncio task that is no cell of a
                notebook, since other tasks of the thread would see it.
            PointsmanError: As for ``load``.
        """
        self._active.check_settable()
        composition = None if ref is None else parse(ref)
        if composition is not None:
            self._load(composition)
        self._active.set(composition)

    @overload
    def predict(self, ref: SingleAnswer, inputs: Sequence[Text], /, *, drop_layers: int = 0) -> list[Prediction]: ...

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
            drop_layers: The number of lowest layers whose adapters are skipped (AdapterDrop, Rücklé et al. 2021,
                arXiv:2010.11918). Where several adapters of one configuration get the same text, these layers run once
                for all of them.

        Returns:
            A prediction for each input, in their order; of ``Parallel``, also as text, a tuple with one for each
            member.

        Raises:
            SettingsError: There is no ref and none is active, there are no inputs or the task does not take them, or
                ``drop_layers`` is greater than the number of layers.
            PointsmanError: As for ``load``.
        """
        match arguments:
            case (str() | Ref() | Stack() | Fuse() | Average() | BatchSplit() | Parallel() as ref, inputs):
                pass
            case (inputs,) if not isinstance(inputs, str | Ref | Block):
                ref = self._active.current()
            case _:
                raise SettingsError("predict takes a ref and a list of inputs, or a list of inputs inside active(ref)")
        texts = input_list(inputs)
        return self.answer(build_requests(self.resolve(ref), texts), drop_layers=drop_layers)

    def predict_mixed(self, rows: Sequence[tuple[RefLike, Text]], *, drop_layers: int = 0) -> list[Any]:
        """Predict rows that each name their own adapter, as many as possible in one forward pass.

        Args:
            rows: ``(ref, text or pair)``, any adapters and compositions in any order.
            drop_layers: As for ``predict``.

        Returns:
            A prediction for each row, from its own adapter and head, in the order of the rows; of ``Parallel`` a tuple
            of predictions.

        Raises:
            PointsmanError: As for ``predict``; nothing is predicted if any row is wrong.
        """
        return self.answer(mixed_requests(rows, self.resolve), drop_layers=drop_layers)

    def prepare(self, ref: RefLike, inputs: Sequence[Text]) -> list[Request]:
        """Check inputs, and resolve what answers them: requests for ``answer``.

        For servers, which compute the calls of many callers together: what is wrong with one call is known before.

        Raises:
            PointsmanError: As for ``predict``, but for files, which are not read yet.

        Examples:
            >>> mine, yours = model.prepare("sst2", ["a gripping film"]), model.prepare("cola", ["He go home."])
            >>> model.answer([*mine, *yours])
        """
        return checked(build_requests(self.resolve(ref), input_list(inputs)))

    def answer(self, requests: Sequence[Request], *, drop_layers: int = 0) -> list[Any]:
        """The predictions of prepared requests of any calls, in their order, as ``predict_mixed`` computes them.

        Raises:
            PointsmanError: Files are missing or damaged, or more adapters are needed than fit into the capacity.
        """
        return predictions(requests, self._executor.execute(requests, drop_layers=drop_layers))

    def resolve(self, ref: RefLike) -> ResolvedRef:
        """What a ref or composition stands for here: its versions, tasks and routes. It raises what ``load`` does."""
        self._adapters.check_open()
        return self._refs.resolve(parse(ref))

    def predict_stream(
        self, ref: SingleAnswer, inputs: Iterable[Text], *, drop_layers: int = 0
    ) -> Iterator[Prediction]:
        """Predict any number of inputs, also none, in constant memory, in their order, some at a time.

        The ref is resolved now: a refresh meanwhile changes nothing for this stream.

        Raises:
            CompositionError: The sizes of a ``BatchSplit`` do not add up to the inputs; known at the end of a long
                stream only.
            PointsmanError: As for ``predict``.
        """
        chunks = stream_requests(self.resolve(ref), input_stream(inputs))
        return (prediction for requests in chunks for prediction in self.answer(requests, drop_layers=drop_layers))

    def logits(self, ref: SingleAnswer, inputs: Sequence[Text], *, drop_layers: int = 0) -> torch.Tensor:
        """The head's outputs, ``(inputs, labels)`` in float32 on the CPU, or ``(inputs, 1)`` for a regression.

        Raises:
            CompositionError: An input gets several answers, or the answers have different numbers of labels.
            PointsmanError: As for ``predict``.
        """
        texts = input_list(inputs)
        requests = build_requests(self.resolve(ref), texts)
        if any(len(request.routes) > 1 for request in requests):
            raise CompositionError(f"{ref} gives more than one answer to an input: use predict")
        answers = self._executor.execute(requests, drop_layers=drop_layers)
        width, *others = sorted({answer.logits.shape[1] for answer in answers})
        if others:
            raise CompositionError(f"{ref} has heads of {[width, *others]} outputs: use predict")
        result = torch.empty(len(requests), width)
        for answer in answers:
            result[answer.positions] = answer.logits
        return result

    def task(self, ref: SingleAnswer) -> Task:
        """The task that a ref or composition answers for.

        Raises:
            CompositionError: An input gets several answers, or different inputs are for different tasks.
            PointsmanError: As for ``load``.
        """
        resolved = self.resolve(ref)
        if len(resolved.routes_of_row(0, resolved.required_rows or 1)) > 1:
            raise CompositionError(f"{ref} gives more than one answer to an input")
        task, *others = (route.task for route in resolved.routes.values())
        if any((other.name, other.text, other.labels) != (task.name, task.text, task.labels) for other in others):
            names = dict.fromkeys(route.task.name for route in resolved.routes.values())
            raise CompositionError(f"{ref} answers for several tasks: {', '.join(names)}")
        return task

    def status(self) -> Status:
        """What is in memory now; printed, it is a table."""
        self._adapters.check_open()
        return status_of(self._adapters, base=self._base.name, device=self._device, precision=self._precision)

    def close(self) -> None:
        """Free the base and everything loaded, once no call uses it; any later call raises SettingsError.

        In a process that was forked from the Switcher's it does nothing: the memory is the parent's.
        """
        if self._adapters.is_forked:
            return
        with self._lock:
            self._adapters.stop()
        self._adapters.close()  # before the prefetching ends: a prefetch that waits for room would never end by itself
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

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise SettingsError(
            "a Switcher cannot be copied or pickled, since it holds a loaded base: share this one between threads, and "
            f"make one in each process, Switcher('{self._base.name}')"
        )

    def _load(self, composition: Composition) -> str:
        resolved = self.resolve(composition)
        with self._adapters.lease(list(resolved.versions.values())):
            return str(resolved.composition)
