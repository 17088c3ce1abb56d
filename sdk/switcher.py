"""Switcher: one base in memory, and any number of registered adapters to switch between, per call and per thread.

It never calls ``set_active_adapters``, which changes the model for every thread. Each forward pass runs in adapters'
thread-local ``AdapterSetup`` and names its head, so two threads on two tasks never see each other's adapter; loading
and unloading, which do change the model, wait until no forward pass is under way.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, overload

import torch

from pointsman.registry import Base, Ref, Registry, Version
from pointsman.registry.errors import BaseMismatchError, SettingsError

from . import weights
from .bases import load_base
from .inference import outputs
from .locks import SharedLock
from .precision import HalvedBase
from .support import reads_padding
from .tasks import Task
from .tokens import tokenise

Text = str | Sequence[str]
"""One input: a text, or the two texts of a pair."""

PRECISIONS: Final = ("fp32", "bf16")

STREAM_ROWS: Final = 1024
"""Rows that ``predict_stream`` takes at a time."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an adapter says of one input."""

    label: str | None
    """The most probable class; None for a regression."""
    score: float
    """That class's probability, or the value of a regression."""
    probabilities: Mapping[str, float] | None = None
    """Every class's probability by name; None for a regression."""


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A version in its slot."""

    version: Version
    task: Task
    slot: str
    exact_lengths: bool


class Switcher:
    """One base, loaded once, and the adapters that run on it.

    Safe to share between threads. Close it, or use it as a context manager, to free its memory early.

    Args:
        base: ``minilm``, a directory, or a name on the Hugging Face hub.
        registry: Where versions come from; by default the default registry.
        device: Where to compute, as torch names it.
        precision: ``fp32``, the same numbers everywhere, or ``bf16``, faster where the device has it in hardware.

    Raises:
        BaseError, BaseNotFoundError: The base cannot be loaded.
        SettingsError: No such precision.
    """

    def __init__(
        self, base: str, *, registry: Registry | None = None, device: str = "cpu", precision: str = "fp32"
    ) -> None:
        if precision not in PRECISIONS:
            raise SettingsError(f"precision has to be one of {', '.join(PRECISIONS)}; found '{precision}'")
        loaded = load_base(base, device=device)
        self._registry = registry if registry is not None else Registry()
        self._owns_registry = registry is None
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._base = loaded.record
        if precision == "bf16":
            HalvedBase(self._model)
        self._autocast = torch.bfloat16 if precision == "bf16" else None
        self._lock = SharedLock()
        self._slots = itertools.count()
        self._loaded: dict[str, _Loaded] = {}  # by the ref name@number
        self._meant: dict[Ref, str] = {}  # what a ref that can move means here, until refresh()
        self._active: ContextVar[Ref | None] = ContextVar("active", default=None)
        self._closed = False

    @property
    def base(self) -> Base:
        """What the registry knows of the base."""
        return self._base

    @property
    def loaded(self) -> tuple[str, ...]:
        """The versions in memory, as ``name@number``, in the order they were loaded."""
        return tuple(self._loaded)

    def load(self, ref: str | Ref) -> str:
        """Load a version now rather than on its first use, and return its ref ``name@number``.

        Raises:
            NotFoundError: There is no such version.
            BaseMismatchError: It was trained on another base.
            StoreError, WeightsError: Its files are missing, damaged or do not fit; what was loaded goes on working.
        """
        return self._find(Ref.parse(ref)).version.ref

    def unload(self, ref: str | Ref) -> None:
        """Take a version out of memory, once no forward pass is under way; nothing if it is not loaded."""
        ref = Ref.parse(ref)
        name = self._meant.get(ref, str(ref))
        with self._lock.alone():
            loaded = self._loaded.pop(name, None)
            self._meant = {known: meant for known, meant in self._meant.items() if meant != name}
            if loaded is not None:
                weights.remove_slot(self._model, loaded.slot)

    def refresh(self) -> None:
        """Look up anew what refs that can move mean: ``sst2``, ``sst2@best``, ``sst2@production``.

        Until then a ref means what it meant at its first use here, so that one process gives one answer.
        """
        self._meant = {}

    @contextmanager
    def active(self, ref: str | Ref) -> Iterator[None]:
        """Make ``predict`` without a ref mean this one, inside the block and in this thread only. Blocks nest.

        Raises:
            NotFoundError and the other errors of ``load``.
        """
        parsed = Ref.parse(ref)
        self._find(parsed)
        token = self._active.set(parsed)
        try:
            yield
        finally:
            self._active.reset(token)

    @overload
    def predict(self, ref: str | Ref, inputs: Sequence[Text], /) -> list[Prediction]: ...

    @overload
    def predict(self, inputs: Sequence[Text], /) -> list[Prediction]: ...

    def predict(self, *arguments: Any) -> list[Prediction]:
        """Predict with one adapter: ``predict("sst2", texts)``, or ``predict(texts)`` inside ``active``.

        Args:
            *arguments: The ref, unless one is active, and the inputs: texts, or pairs of texts for a task of pairs.

        Returns:
            A prediction for each input, in their order.

        Raises:
            SettingsError: No ref where none is active, or inputs that are not what the task takes.
            NotFoundError and the other errors of ``load``.
        """
        match arguments:
            case (str() | Ref() as ref, inputs):
                return self._predict(Ref.parse(ref), inputs)
            case (inputs,) if not isinstance(inputs, str | Ref):
                active = self._active.get()
                if active is None:
                    raise SettingsError("no adapter is active: name one, predict('sst2', texts), or use active('sst2')")
                return self._predict(active, inputs)
        raise SettingsError("predict takes a ref and a list of inputs, or a list of inputs inside active(ref)")

    def predict_mixed(self, rows: Sequence[tuple[str | Ref, Text]]) -> list[Prediction]:
        """Predict rows that each name their own adapter.

        Args:
            rows: ``(ref, text or pair)``, any adapters in any order.

        Returns:
            A prediction for each row, from its own adapter and head, in the order of the rows.

        Raises:
            As ``predict``; nothing is predicted if any row is wrong.
        """
        groups: dict[Ref, list[int]] = defaultdict(list)
        for index, (ref, _) in enumerate(rows):
            groups[Ref.parse(ref)].append(index)
        for ref, indices in groups.items():
            self._check(self._find(ref).task, [rows[index][1] for index in indices])
        predictions: list[Prediction | None] = [None] * len(rows)
        for ref, indices in groups.items():
            for index, prediction in zip(indices, self._predict(ref, [rows[i][1] for i in indices]), strict=True):
                predictions[index] = prediction
        return [prediction for prediction in predictions if prediction is not None]

    def predict_stream(self, ref: str | Ref, inputs: Iterable[Text]) -> Iterator[Prediction]:
        """Predict inputs of any number in constant memory, in their order, some at a time."""
        waiting = iter(inputs)
        while chunk := list(itertools.islice(waiting, STREAM_ROWS)):
            yield from self._predict(Ref.parse(ref), chunk)

    def logits(self, ref: str | Ref, inputs: Sequence[Text]) -> torch.Tensor:
        """The head's outputs, ``(inputs, labels)`` in float32 on the CPU, or ``(inputs, 1)`` for a regression."""
        return self._logits(Ref.parse(ref), inputs)[1]

    def task(self, ref: str | Ref) -> Task:
        """The task of a version, loading it if need be."""
        return self._find(Ref.parse(ref)).task

    def close(self) -> None:
        """Free the base and everything loaded; any later call raises SettingsError."""
        with self._lock.alone():
            self._closed = True
            self._loaded, self._meant, self._model = {}, {}, None
        if self._owns_registry:
            self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _predict(self, ref: Ref, inputs: Sequence[Text]) -> list[Prediction]:
        task, logits = self._logits(ref, inputs)
        if task.is_regression:
            return [Prediction(None, value) for value in logits[:, 0].tolist()]
        return [
            Prediction(label, probabilities[label], probabilities)
            for row in logits.softmax(dim=1).tolist()
            for probabilities in [dict(zip(task.labels, row, strict=True))]
            for label in [max(probabilities, key=probabilities.__getitem__)]
        ]

    def _logits(self, ref: Ref, inputs: Sequence[Text]) -> tuple[Task, torch.Tensor]:
        while True:
            found = self._find(ref)
            rows = self._check(found.task, inputs)
            if not rows:
                return found.task, torch.empty(0, found.task.num_labels)
            tokens = tokenise(self._tokenizer, rows, max_length=found.version.max_length)
            with self._lock.shared():
                # Between finding it and coming here, another thread may have unloaded it: then find it again.
                if self._loaded.get(found.version.ref) is found:
                    logits = outputs(
                        self._model, found.slot, tokens, exact_lengths=found.exact_lengths, autocast=self._autocast
                    )
                    return found.task, logits

    def _find(self, ref: Ref) -> _Loaded:
        """The loaded version that ``ref`` means, loaded first if need be."""
        if self._closed:
            raise SettingsError("this Switcher is closed: make another")
        meant = self._meant.get(ref)
        found = None if meant is None else self._loaded.get(meant)
        if found is not None:
            return found
        version = self._registry.version(ref if meant is None else meant)
        if version.base.fingerprint != self._base.fingerprint:
            raise BaseMismatchError(
                f"{version.ref} was trained on the base '{version.base.name}' ({version.base.fingerprint[:12]}), "
                f"not on '{self._base.name}' ({self._base.fingerprint[:12]}): open a Switcher on that base"
            )
        files = {file.name: self._registry.read_file(version, file.name) for file in version.files}
        task = Task.from_dict(version.task)
        with self._lock.alone():
            if self._closed:
                raise SettingsError("this Switcher is closed: make another")
            found = self._loaded.get(version.ref)
            if found is None:
                slot = weights.slot_name(next(self._slots))
                weights.insert(self._model, slot, files)
                self._model.eval().requires_grad_(False)
                found = self._loaded[version.ref] = _Loaded(
                    version=version,
                    task=task,
                    slot=slot,
                    exact_lengths=reads_padding(version.config, self._model.config),
                )
            self._meant = {**self._meant, ref: version.ref, Ref(version.name, version.number): version.ref}
        return found

    @staticmethod
    def _check(task: Task, inputs: Sequence[Text]) -> list[tuple[str, ...]]:
        """Inputs as rows of one text or two, refused where they are not what the task takes."""
        if isinstance(inputs, str):
            raise SettingsError("inputs are a list of texts, or of pairs; found one string: put it into a list")
        rows = [(item,) if isinstance(item, str) else tuple(item) for item in inputs]
        due = f"pairs of texts ({', '.join(task.text)})" if task.is_pair else "single texts"
        for index, row in enumerate(rows):
            if len(row) != len(task.text) or not all(isinstance(text, str) for text in row):
                raise SettingsError(f"'{task.name}' takes {due}: input {index} is {str(inputs[index])[:80]!r}")
            try:
                "".join(row).encode()
            except UnicodeEncodeError as error:  # tokenizers would refuse the type, without saying which text
                raise SettingsError(f"input {index} is not valid Unicode: {error}") from error
        return rows
