"""The dashboard in a real Chromium: a browser a module, a context a window, and a server of the test's own registry."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from pointsman.registry import Registry
from pointsman.registry.metrics.points import insert_points
from pointsman.registry.records import LoggedPoint
from pointsman.registry.runs import runs
from pointsman.sdk.dashboard.app import dashboard
from pointsman.sdk.web.access import Access, Role, Tokens, new_token

from served import HOSTS, serving
from shapes import FIELDS, RUN
from windows import HOSTILE, OpenPage, Site

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 20
"""What a page may take on a machine that does other things, too."""

expect.set_options(timeout=SECONDS * 1000)


# Not of the session: while Playwright runs, no other test of this process may run an event loop of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, with a profile of its own."""
    path = shutil.which("chromium")
    assert path, "the tests of the dashboard need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def site(registry: Registry) -> Iterator[Site]:
    """The dashboard of the test's registry."""
    token, line = new_token(Role.ADMIN)
    app = dashboard(registry, access=Access(tokens=Tokens.of_lines([line]), anonymous=Role.READ), hosts=HOSTS)
    with serving(app) as client:
        yield Site(str(client.base_url), token)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open a page in a window of its own; whatever a browser complains of there fails the test.

    A complaint is an error of a script, a breach of the Content-Security-Policy, or a file that is not there. Answers
    that a test expects to be refused are named with ``refused``, by their status; 0 stands for a server that has ended.
    """
    complaints: list[str] = []
    contexts = []

    def opened(
        site: Site, address: str = "", *, token: str | None = None, refused: tuple[int, ...] = (), **options: Any
    ) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS * 1000)

        def heard(message: ConsoleMessage) -> None:
            expected = any((f"status of {code} " if code else "CONNECTION_REFUSED") in message.text for code in refused)
            if message.type in ("error", "warning") and not expected:
                complaints.append(f"{message.type}: {message.text}")

        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        if token:
            page.add_init_script(f"sessionStorage.setItem('pointsman.token', '{token}')")
        page.goto(f"{site.url}/{address}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def filled(registry: Registry) -> Registry:
    """Three versions of sst2, one with a run, made into another by a merge; one of cola with hostile labels."""
    with registry.start_run("sst2", **RUN) as run:
        for step in range(100):
            run.log({"train/loss": 1 / (step + 1), "eval/accuracy": step / 100}, step=step)
    registry.add_version("sst2", **FIELDS, run=run.uid)
    registry.add_version("sst2", **{**FIELDS, "method": "lora", "config": {"r": 4}, "metrics": {"eval/accuracy": 0.9}})
    registry.add_version("sst2", **{**FIELDS, "metrics": {"eval/accuracy": 0.7}})
    registry.add_version("mix", **FIELDS, parents=[("merged", "sst2@1"), ("merged", "sst2@2")])
    task = {"name": "cola", "labels": [HOSTILE, "acceptable"], "description": HOSTILE}
    registry.add_version("cola", **{**FIELDS, "task": task})
    registry.set_alias("sst2@1", "production")
    registry.set_tags("sst2@1", {"owner": "ann"})
    registry.set_tags("cola@1", {"owner": HOSTILE})
    registry.set_note("cola@1", HOSTILE)
    return registry


@pytest.fixture
def long_run(registry: Registry) -> str:
    """The ref of a run of 100,000 steps, with one spike and one NaN that thinning must keep."""
    with registry.start_run("long", **RUN) as recorder, registry.database.writing() as connection:
        values = [1 + (step % 7) / 100 for step in range(100_000)]
        values[70_001], values[30_003] = 9.5, float("nan")
        logged = [LoggedPoint("train/loss", step, value, None, 1e9 + step) for step, value in enumerate(values)]
        insert_points(connection, runs.run_id(connection, recorder.uid), logged)
    return f"run:{recorder.uid}"
