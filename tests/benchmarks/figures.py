"""Figures that take hours: one JSON line each, kept in ``figures`` as they are made."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DIRECTORY = HERE / "figures"
GLUE = HERE.parents[2] / "shared" / "glue" / "hub"


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, if there is one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def append(path: Path, line: dict[str, Any]) -> None:
    """Write one more line, and show it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
