"""The pages' own modules: short, each with what it is for at its head, and none that makes markup of a text."""

import re
from importlib.resources import files
from pathlib import Path

STATIC = Path(str(files("pointsman.sdk.dashboard"))) / "static"
MODULES = sorted(path for path in STATIC.rglob("*.js") if "vendor" not in path.parts)
FEWEST = 40
LONGEST = 400
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|\beval\(|new Function")


def test_there_are_modules_to_look_at():
    assert len(MODULES) >= FEWEST


def test_a_module_is_short_explained_and_makes_no_markup():
    texts = {path.relative_to(STATIC).as_posix(): path.read_text(encoding="utf-8") for path in MODULES}
    assert [name for name, text in texts.items() if text.count("\n") > LONGEST] == []
    assert [name for name, text in texts.items() if not text.startswith("// ")] == []
    assert [name for name, text in texts.items() if MARKUP.search(text)] == []


def test_nothing_is_asked_of_another_server():
    for path in (*MODULES, STATIC / "index.html", *STATIC.glob("style/*.css")):
        assert not re.findall(r"(?:https?:)?//[a-z]+\.[a-z]", path.read_text(encoding="utf-8")), path
