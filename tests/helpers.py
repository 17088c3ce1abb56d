"""What several tests compare with: texts, random weights, and plain adapters itself."""

import contextlib
import faulthandler
import hashlib
import json
import os
import select
import signal
import sqlite3
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from pointsman.registry import Version

if TYPE_CHECKING:
    import torch

TEXTS = [
    "a gripping film",
    "two dull hours",
    "the cat chased the dog away .",
    "no",
    "it is a good story and a great film",
]
PAIRS = [("the dog ate", "the cat ate"), ("profit rose 5 percent", "profit fell"), ("a film", "no film at all")]

WORDS = """
the a an i you he she it we they is are was were be not no and or but of to in on at for with this that
film movie story good great gripping warm awful boring dull bad fine never always dog cat house man woman
chased ate saw went home away said company profit rose fell percent school storm question answer
""".split()  # noqa: SIM905 - a list of this many short words is easier read as text

MakeVersion = Callable[..., Version]


def scramble(model: Any, slot: str) -> None:
    """Random weights for an adapter and its head; of orthogonal ones (ReFT) only what may be any number.

    Of these, torch takes the signs of the diagonal as they are, cut to integers: 0.9 there would make them nothing.
    """
    import torch

    from pointsman.sdk.engines.slots import adapter_tensors, head_tensors

    with torch.no_grad():
        for tensors in (adapter_tensors(model, slot), head_tensors(model, slot)):
            for key, tensor in tensors.items():
                noise = torch.randn_like(tensor) * 0.1
                if not key.endswith(".base"):
                    tensor.add_(noise.triu(1) if key.endswith(".original") else noise)


def weights_hash(switcher: Any) -> str:
    """Over the base's weights as they are in a Switcher's memory now, whatever adapters are beside them."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(switcher._model.base_model.named_parameters()):
        if "slot" not in name:
            digest.update(name.encode() + tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def base_outputs(switcher: Any) -> "torch.Tensor":
    """What a Switcher's model computes with nothing active."""
    import torch

    inputs = switcher._tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        found: torch.Tensor = switcher._model.base_model(**inputs).last_hidden_state.clone()
    return found


def on_torch_modules(switcher: Any) -> Any:
    """Take the fast engine away from a Switcher, so that the torch modules compute; returns it."""
    switcher._adapters.placement.encoder = None
    return switcher


class PlainAdapters:
    """What adapters alone makes of exported files: one model, and in it one adapter at a time."""

    def __init__(self, base: Path) -> None:
        from adapters import AutoAdapterModel
        from transformers import AutoTokenizer

        self._model = AutoAdapterModel.from_pretrained(base).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(base)

    def logits(
        self, files: Path, texts: Sequence[Any], *, inside: "contextlib.AbstractContextManager[Any] | None" = None
    ) -> "torch.Tensor":
        """The outputs of the exported adapter and head, text by text; once loaded, inside a context."""
        import torch

        name = self._model.load_adapter(str(files), use_safetensors=True)
        self._model.set_active_adapters(name)
        config = json.loads((files / "adapter_config.json").read_text(encoding="utf-8"))["config"]
        for part in config.get("configs", [config]):
            for module in self._model.modules() if "subtract_projection" in part else ():
                if hasattr(module, "subtract_projection"):  # the library drops the field as it reads it
                    module.subtract_projection = part["subtract_projection"]
        rows = []
        with torch.inference_mode(), inside or contextlib.nullcontext():
            for text in texts:
                columns = [text] if isinstance(text, str) else list(text)
                encoded = self._tokenizer(*columns, truncation=True, max_length=32, return_tensors="pt")
                rows.append(self._model.eval()(**encoded).logits[0])
        self._model.delete_adapter(name)
        self._model.delete_head(name)
        return torch.stack(rows)


def dump(path: Path) -> list[str]:
    """All of a database's schema and rows."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def lines(path: Path) -> list[str]:
    """All of a database's schema and rows, whatever the order that Alembic copies a table's constraints in."""
    return sorted(line.strip(" ,\t") for statement in dump(path) for line in statement.splitlines())


@contextlib.contextmanager
def interrupted_before(number: int, interruption: type[BaseException] = KeyboardInterrupt) -> Iterator[list[str]]:
    """Raise an interruption in place of this thread's statement of that number; yields those seen until then."""
    seen: list[str] = []
    thread = threading.get_ident()

    def count(*arguments: Any) -> None:
        # The recorder of a run that another test left open still says from time to time that it is alive.
        if threading.get_ident() != thread:
            return
        seen.append(arguments[2])
        if len(seen) == number:
            raise interruption

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)


def in_child(target: Callable[[], object], *, seconds: float = 180) -> None:
    """Fork, and run a function in the child; fails with its traceback if it raises, or does not end in time."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reader)
            faulthandler.dump_traceback_later(seconds * 0.9, file=writer)
            target()
            status = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(status)
    os.close(writer)
    said = b""
    ended = False
    while not ended and select.select([reader], [], [], seconds)[0]:  # the child's end closes the pipe
        said += (part := os.read(reader, 65_536))
        ended = not part
    os.close(reader)
    if not ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not ended:
        with tempfile.TemporaryFile() as here:  # a thread of the parent may hold what the child waits for
            faulthandler.dump_traceback(here)
            here.seek(0)
            pytest.fail(f"the child has not ended after {seconds} s\n{said.decode()}\nParent:\n{here.read().decode()}")
    assert status == 0, said.decode()


def make_tiny_base(directory: Path, *, seed: int) -> Path:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    directory.mkdir(parents=True)
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789.,?!'\"-")
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    vocabulary = list(dict.fromkeys(vocabulary))
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    BertTokenizerFast(vocab_file=str(directory / "vocab.txt"), model_max_length=64).save_pretrained(directory)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        # Weights as small as BERT's own make every output of two layers look the same.
        initializer_range=0.1,
    )
    BertModel(config).save_pretrained(directory)
    return directory
