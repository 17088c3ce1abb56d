"""A server under load while its registry changes: every answer is compared with one that was computed beforehand.

    python tests/soak.py --seconds 600 --clients 64 --adapters 200 --capacity 50

Clients ask ``registry serve`` for versions, aliases, newest versions and averages, in calls of one text, of several,
and of rows that each name their own ref; some hang up. Meanwhile aliases move, versions arrive, and others are removed.
An answer names the version that gave it. It is *wrong* if its numbers are not that version's, or if the ref did not
stand for that version at any time of the call; *crossed* if the version is another adapter's. A call is *unanswered* if
it gets neither an answer nor a refusal that fits.
"""

import argparse
import asyncio
import itertools
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from pointsman.registry import Registry, Version
from pointsman.sdk import Switcher

from helpers import TEXTS, make_tiny_base
from random_versions import add_random_version

REFRESH_SECONDS = 1
"""How often the server looks refs up."""

SLACK_SECONDS = 15.0
"""So long a ref may stand for what it stood for: until the server has looked it up, on a busy machine."""


@dataclass
class Outcome:
    """What came of a soak."""

    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    crossed: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    refused: int = 0
    """Calls of versions that had been removed."""
    hung_up: int = 0
    moved: int = 0
    arrived: int = 0
    removed: int = 0
    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    """Of every call."""
    megabytes: list[float] = field(default_factory=list)
    """The server's resident memory, once a second."""
    exit_code: int | None = None
    waiting: int = 0
    """Inputs that wait when all callers have gone."""

    def growth(self) -> float:
        """Megabytes that the server grew by, from the second fifth of the time to the last."""
        fifth = max(1, len(self.megabytes) // 5)
        early, late = self.megabytes[fifth : 2 * fifth] or self.megabytes, self.megabytes[-fifth:]
        return max(late) - max(early)

    def summary(self) -> dict[str, Any]:
        """For people and programs."""
        times = sorted(self.milliseconds)
        return {
            "answers": self.answers,
            "answers a second": round(self.answers / self.seconds, 1),
            "wrong": len(self.wrong),
            "crossed": len(self.crossed),
            "unanswered": len(self.unanswered),
            "refused": self.refused,
            "hung up": self.hung_up,
            "aliases moved": self.moved,
            "versions arrived": self.arrived,
            "versions removed": self.removed,
            "p50 ms": round(times[len(times) // 2], 1),
            "p99 ms": round(times[int(0.99 * len(times))], 1),
            "MB": [round(self.megabytes[0]), round(max(self.megabytes)), round(self.megabytes[-1])],
            "grown MB": round(self.growth(), 1),
            "exit code": self.exit_code,
            "examples": [*self.wrong, *self.crossed, *self.unanswered][:5],
        }


class Expected:
    """The right answers, and what refs stood for when."""

    def __init__(self, switcher: Switcher) -> None:
        self._switcher = switcher
        self._answers: dict[str, list[tuple[str | None, float]]] = {}
        self._meanings: dict[str, list[tuple[str, float]]] = {}
        self._removed: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, version: str) -> None:
        """Compute what a version, or a composition of versions, answers to every text."""
        with self._lock:
            if version not in self._answers:
                answers = self._switcher.predict(version, TEXTS)
                self._answers[version] = [(answer.label, answer.score) for answer in answers]

    def stands_for(self, ref: str, version: str) -> None:
        """A ref stands for a version from now on."""
        self._meanings.setdefault(ref, []).append((version, time.monotonic()))

    def remove(self, version: str) -> None:
        """A version is about to be removed."""
        self._removed[version] = time.monotonic()

    def was_removed(self, ref: str) -> bool:
        """Whether a ref that is a version has been removed."""
        return ref in self._removed

    def check(
        self, outcome: Outcome, row: tuple[str, int], item: dict[str, Any], version: str, *, began: float
    ) -> None:
        """Compare an answer to a ref and the number of a text."""
        ref, text = row
        outcome.answers += 1
        said = f"{ref} '{TEXTS[text]}': {version} {item['label']} {item['score']}"
        if version.partition("@")[0] != ref.partition("@")[0]:
            outcome.crossed.append(said)
            return
        meanings = self._meanings.get(ref, [(ref, 0.0)])
        ends = [start for _, start in meanings[1:]] + [time.monotonic()]
        meant = {found for (found, _), end in zip(meanings, ends, strict=True) if end >= began - SLACK_SECONDS}
        if version not in meant and ref != version:
            outcome.wrong.append(f"{said}; it stood for {meant}")
            return
        self.add(version)
        label, score = self._answers[version][text]
        if item["label"] != label or abs(item["score"] - score) > 1e-4:
            outcome.wrong.append(f"{said}; right: {label} {score}")


class Changes(threading.Thread):
    """Moves aliases, adds versions and removes versions, until it is told to stop."""

    def __init__(self, registry: Registry, base: Path, names: list[str], expected: Expected, outcome: Outcome) -> None:
        super().__init__(name="changes")
        self._registry, self._base, self._names, self._expected = registry, base, names, expected
        self._outcome = outcome
        self._random = random.Random(1)
        self._seeds = itertools.count(10_000)
        self.versions = {name: [1, 2] for name in names}
        """Those that explicit refs name, by adapter; the first two stay."""
        self.stop = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        """One change after another."""
        try:
            while not self.stop.wait(0.05):
                name = self._random.choice(self._names)
                self._random.choice([self._move, self._move, self._add, self._remove])(name)
        except BaseException as error:
            self.error = error
            raise

    def _move(self, name: str) -> None:
        number = self._random.choice(self.versions[name][:2])
        self._expected.stands_for(f"{name}@production", f"{name}@{number}")
        self._registry.set_alias(f"{name}@{number}", "production")
        self._outcome.moved += 1

    def _add(self, name: str) -> None:
        version = add_random_version(self._registry, name, seed=next(self._seeds), base=self._base)
        self._expected.add(version.ref)
        self._expected.stands_for(name, version.ref)
        self.versions[name].append(version.number)
        self._outcome.arrived += 1

    def _remove(self, name: str) -> None:
        if len(self.versions[name]) > 3:
            number = self.versions[name].pop(2)
            self._expected.remove(f"{name}@{number}")
            self._registry.remove(f"{name}@{number}")
            self._outcome.removed += 1


async def client(
    url: str, number: int, remaining: Iterator[bool], *, changes: Changes, expected: Expected, outcome: Outcome
) -> None:
    """One call after another, on a connection of its own."""
    chance = random.Random(number)
    names = list(changes.versions)

    def ref() -> str:
        name = chance.choice(names)
        kind = chance.random()
        if kind < 0.3:
            return name
        if kind < 0.6:
            return f"{name}@production"
        if kind < 0.65:
            return f"average({name}@1, {name}@2)"
        return f"{name}@{chance.choice(changes.versions[name])}"

    async with httpx.AsyncClient(base_url=url, timeout=120) as http:
        while next(remaining):
            if chance.random() < 0.05:
                await hang_up(url, ref(), chance)
                outcome.hung_up += 1
                continue
            rows = [(ref(), chance.randrange(len(TEXTS))) for _ in range(chance.choice([1, 1, 1, 4]))]
            is_mixed = chance.random() < 0.3
            if is_mixed:
                body: dict[str, Any] = {"rows": [{"model": ref, "input": TEXTS[text]} for ref, text in rows]}
            else:
                rows = [(rows[0][0], text) for _, text in rows]
                body = {"model": rows[0][0], "input": [TEXTS[text] for _, text in rows]}
            began = time.monotonic()
            try:
                response = await http.post("/v1/mixed" if is_mixed else "/v1/classify", json=body)
            except httpx.HTTPError as error:
                outcome.unanswered.append(f"{body}: {error!r}")
                continue
            outcome.milliseconds.append((time.monotonic() - began) * 1000)
            if response.status_code == 404 and any(expected.was_removed(ref) for ref, _ in rows):
                outcome.refused += 1
                continue
            if response.status_code != 200:
                outcome.unanswered.append(f"{body}: {response.status_code} {response.text}")
                continue
            answer = response.json()
            for row, item in zip(rows, answer["data"], strict=True):
                version = item["version"] if is_mixed else answer["version"]
                if row[0].startswith("average("):
                    await asyncio.to_thread(expected.add, version)
                expected.check(outcome, row, item, version, began=began)


async def hang_up(url: str, ref: str, chance: random.Random) -> None:
    """Ask, and go before the answer comes: at once, or in the midst of the call."""
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"model": ref, "input": TEXTS * 20}).encode()
    head = f"POST /v1/classify HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    writer.write((head + body)[: chance.choice([len(head) // 2, len(head) + 5, len(head + body)])])
    await writer.drain()
    writer.close()


@contextmanager
def serving(home: Path, base: Path, capacity: int) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """``registry serve`` as a process of its own."""
    program = Path(sys.executable).with_name("registry")
    options = ["--base", base, "--port", "0", "--capacity", capacity, "--refresh", REFRESH_SECONDS]
    command = list(map(str, [program, "--home", home, "serve", *options]))
    log = home / "server.log"
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file, text=True) as process:
        try:
            while not (found := re.search(r"on (http://\S+);", log.read_text())):
                with suppress(subprocess.TimeoutExpired):
                    raise RuntimeError(f"the server ended with {process.wait(0.1)}: {log.read_text()}")
            yield found[1], process
        finally:
            process.kill()


def soak(
    directory: Path, *, clients: int, adapters: int, capacity: int, seconds: float = 1e9, calls: int = sys.maxsize
) -> Outcome:
    """Load a server for so many seconds, or with so many calls.

    Args:
        directory: An empty one.
        clients: Calls at a time.
        adapters: Each with two versions at the start.
        capacity: The versions in memory at most.
        seconds: How long.
        calls: How many.
    """
    base = make_tiny_base(directory / "tiny-bert", seed=0)
    outcome = Outcome()
    with Registry(directory / "home") as registry, Switcher(str(base), registry=registry) as switcher:
        expected = Expected(switcher)
        names = [f"a{number}" for number in range(adapters)]
        for seed, (name, _) in enumerate(itertools.product(names, range(2))):
            version: Version = add_random_version(registry, name, seed=seed, base=base)
            expected.add(version.ref)
        for name in names:
            registry.set_alias(f"{name}@1", "production")
            expected.stands_for(f"{name}@production", f"{name}@1")
            expected.stands_for(name, f"{name}@2")
        changes = Changes(registry, base, names, expected, outcome)
        with serving(registry.home, base, capacity) as (url, process):
            began = time.monotonic()
            numbers = itertools.count()
            remaining = (next(numbers) < calls and time.monotonic() - began < seconds for _ in itertools.repeat(None))

            async def run() -> None:
                callers = asyncio.gather(
                    *(
                        client(url, number, remaining, changes=changes, expected=expected, outcome=outcome)
                        for number in range(clients)
                    )
                )
                while not callers.done():
                    outcome.megabytes.append(resident(process.pid))
                    await asyncio.wait([callers], timeout=1)
                await callers

            changes.start()
            try:
                asyncio.run(run())
            finally:
                changes.stop.set()
                changes.join()
            outcome.seconds = time.monotonic() - began
            if changes.error is not None:
                raise changes.error
            while (status := httpx.get(f"{url}/v1/status", timeout=60).json())["computing"]:
                pass
            outcome.waiting = status["waiting"]
            process.send_signal(signal.SIGTERM)
            outcome.exit_code = process.wait(60)
            log = (registry.home / "server.log").read_text()
            outcome.unanswered += [line for line in log.splitlines() if " failed" in line or "Traceback" in line]
    return outcome


def resident(process: int) -> float:
    """Megabytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1000


def main() -> None:
    """Print what came of it; exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"seconds": 600, "clients": 64, "adapters": 200, "capacity": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    with tempfile.TemporaryDirectory() as directory:
        outcome = soak(Path(directory), **vars(parser.parse_args()))
    print(json.dumps(outcome.summary(), indent=2))
    counts = Counter(wrong=len(outcome.wrong), crossed=len(outcome.crossed), unanswered=len(outcome.unanswered))
    sys.exit(1 if counts.total() or outcome.exit_code or outcome.waiting else 0)


if __name__ == "__main__":
    main()
