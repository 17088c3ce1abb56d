"""The examples of README and docs: fenced blocks of a page, and a session that runs them from top to bottom.

A block of ``console`` holds commands after ``$ `` and, below each, lines that it prints; ``…`` in such a line stands
for any text, and lines may be left out. A block of ``python`` shares its names with those above it on the page. A
comment ``<!-- not run: REASON -->`` directly above a block keeps it from being run.
"""

import contextlib
import io
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pointsman.cli.main import main
from pointsman.registry import Registry

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
RUN_UID = "3fa9"
"""Stands on every page for the newest run."""

_FENCE = re.compile(r"(?P<indent> *)```(?P<language>[\w+-]*)")
_NOT_RUN = re.compile(r" *<!-- not run: (?P<reason>.+) -->")
_SHELL = re.compile(r"[|<>;&`$]")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    """Of its first line, from 1."""
    language: str
    text: str
    not_run: str | None
    """Why it is not run."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    above, start, held, fence = "", 0, list[str](), None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if fence is None:
            if fence := _FENCE.match(line):
                start, held = number + 1, []
            elif line.strip():
                above = line
        elif line.strip() == "```":
            reason = _NOT_RUN.fullmatch(above)
            yield Block(
                page=page,
                line=start,
                language=fence["language"],
                text="\n".join(held),
                not_run=None if reason is None else reason["reason"],
            )
            above, fence = "", None
        else:
            held.append(line.removeprefix(fence["indent"]))
    assert fence is None, f"{page}: a block is never closed"


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it prints."""
    command, printed = "", list[str]()
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, printed
            command, printed = line[2:], []
        elif command.endswith("\\"):
            command = command[:-1] + line.strip()
        elif line.strip():
            assert command, f"{block}: a line before the first command"
            printed.append(line)
    assert command, f"{block}: no command"
    yield command, printed


class Session:
    """One reader's terminal: a directory, a home, and Python names that last from block to block.

    Args:
        monkeypatch: For what a page exports.
        replaced: Texts of the page that stand for others here, as a server's URL.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, replaced: Mapping[str, str]) -> None:
        self._monkeypatch = monkeypatch
        self._replaced = replaced
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, block: Block) -> None:
        """Run a block, and check what its commands print."""
        if block.language == "python":
            text = "\n" * (block.line - 1) + self._written(block.text)
            exec(compile(text, str(block.page), "exec"), self._names)
            return
        for command, printed in commands(block):
            print(f"$ {command}")
            code, output = self._command(self._written(command))
            print(output)
            refused = any(line.startswith("error:") for line in printed)
            assert code == (1 if refused else 0), f"{block}: {command}\n{output}"
            check(output, printed, f"{block}: {command}")

    def _written(self, text: str) -> str:
        for given, taken in self._replaced.items():
            text = text.replace(given, taken)
        if RUN_UID in text:
            with Registry() as registry:
                text = text.replace(RUN_UID, registry.runs(limit=1)[0].uid[:8])
        return text

    def _command(self, command: str) -> tuple[int, str]:
        words = shlex.split(command, comments=True)
        if words[0] == "export":
            for word in words[1:]:
                name, _, value = word.partition("=")
                self._monkeypatch.setenv(name, value)
            return 0, ""
        if words[0] == "registry" and not any(_SHELL.search(word) for word in _unquoted(command)):
            return self._program(words)
        done = subprocess.run(
            ["bash", "-ec", command], check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return done.returncode, done.stdout

    def _program(self, words: list[str]) -> tuple[int, str]:
        """The program in this process: importing torch anew for every command would take minutes."""
        self._monkeypatch.setattr(sys, "argv", words)
        handler = signal.getsignal(signal.SIGTERM)
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                main()
        except SystemExit as ended:
            return int(ended.code or 0), output.getvalue()
        finally:
            signal.signal(signal.SIGTERM, handler)
        raise AssertionError("the program ends with an exit status")


def _unquoted(command: str) -> list[str]:
    """The words of a command without quoted ones and comments."""
    lexer = shlex.shlex(command, posix=False)
    lexer.whitespace_split = True
    return [word for word in lexer if word[0] not in "'\"" and "='" not in word and '="' not in word]


def check(output: str, printed: list[str], where: str) -> None:
    """Check that a page's lines are among those of an output, in that order."""
    rest = iter([" ".join(line.split()) for line in output.splitlines()])
    for line in printed:
        pattern = ".*".join(re.escape(part) for part in re.split(r"\s*…\s*", " ".join(line.split())))
        if pattern == ".*":
            continue
        assert any(re.fullmatch(pattern, found) for found in rest), f"{where}\nwithout the line: {line}\n{output}"
