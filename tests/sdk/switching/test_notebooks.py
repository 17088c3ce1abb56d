"""A real Jupyter kernel: what one cell activates is active in the next, whatever the kernel does to its context."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from pointsman.registry import Registry

from helpers import MakeVersion

SETUP = """
import asyncio
from pathlib import Path
from pointsman.registry import Registry
from pointsman.sdk import Switcher

home, base = {places!r}
texts = ["a gripping film", "two dull hours"]
registry = Registry(home)
model = Switcher(base, registry=registry)
expected = {{name: model.predict(name, texts) for name in "abc"}}

def active():
    answers = model.predict(texts)
    return "".join(name for name in expected if expected[name] == answers)
"""


class Kernel:
    """Runs cells, and gives what each printed or the error that it raised."""

    def __init__(self, directory: Path) -> None:
        # Not over TCP, and not the kernel that the user installed last: the one of this environment.
        self._manager = KernelManager(transport="ipc", ip=str(directory / "kernel"))
        self._manager.kernel_spec.argv[0] = sys.executable
        self._manager.start_kernel()
        self._client: Any = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def run(self, cell: str) -> str:
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            match message["msg_type"]:
                case "stream" if content["name"] == "stdout":
                    said.append(content["text"])
                case "error":
                    said.append(f"{content['ename']}: {content['evalue']}")

        self._client.execute_interactive(cell, output_hook=hear, allow_stdin=False, timeout=60)
        return "".join(said).strip()

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    started = Kernel(tmp_path)
    yield started
    started.close()


def test_what_a_cell_activates_is_active_in_all_cells_after_it(
    kernel: Kernel, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    for seed, name in enumerate("abc"):
        make_version(name, seed=seed)
    assert kernel.run(SETUP.format(places=(str(registry.home), str(tiny_base)))) == ""
    pause = "await asyncio.sleep(0)\n"
    plain, awaiting = "print(active())", pause + "print(active())"
    assert kernel.run(plain).startswith("SettingsError: no adapter is active in this thread")
    for number, (first, second) in enumerate([("", ""), ("", pause), (pause, ""), (pause, pause)]):
        one, two = "abc"[number % 3], "abc"[(number + 1) % 3]
        kernel.run(f"{first}model.activate('{one}')")
        assert [kernel.run(cell) for cell in (plain, awaiting, plain)] == [one] * 3
        kernel.run(f"{second}model.activate('{two}'); print(active())")
        assert [kernel.run(cell) for cell in (awaiting, plain, awaiting)] == [two] * 3
    kernel.run("async def turn():\n    await asyncio.sleep(0)\n    model.activate('c')")
    kernel.run("await turn()")  # a cell that waits for it does nothing else meanwhile
    assert kernel.run(plain) == "c"
    kernel.run("model.activate('a')")
    assert kernel.run("await asyncio.create_task(turn())").startswith(
        "SettingsError: activate holds for the whole thread, and other tasks run in this one: use active('sst2')"
    )
    assert kernel.run(plain) == "a"
    block = "with model.active('b'):\n    print(active())\n    await asyncio.sleep(0)\n    print(active())\n"
    assert kernel.run(block + plain) == "b\nb\na"
    kernel.run(pause + "block = model.active('b')\nblock.__enter__()")
    assert kernel.run("block.__exit__(None, None, None)").startswith(
        "SettingsError: active('b') was entered in another task or cell"
    )
    assert kernel.run("model.activate(None); print(active())").startswith("SettingsError: no adapter is active")
