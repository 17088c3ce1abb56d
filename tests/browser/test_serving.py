"""The pages of `registry serve`: what is in memory, and the box that tries texts, with trained adapters."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from pointsman.registry import Registry
from pointsman.sdk import Switcher, train
from pointsman.sdk.serving.app import Server

from served import HOSTS, serving
from windows import OpenPage, Site


@pytest.fixture
def served(registry: Registry, tiny_base: Path) -> Iterator[Site]:
    """Two adapters of single texts and one of pairs."""
    for task in ("sst2", "cola", "mrpc"):
        train(task, base=tiny_base, data="sample", max_steps=2, batch_size=4, max_train_rows=16, registry=registry)
    with Switcher(tiny_base, registry=registry) as switcher:
        server = Server(switcher, registry, max_batch_tokens=10_000, max_queue=100, hosts=HOSTS)
        with serving(server.app) as client:
            yield Site(str(client.base_url), "")


def test_a_text_is_tried_with_several_adapters(served: Site, open_page: OpenPage):
    page = open_page(served, "#/try?ref=sst2&ref=cola%401", refused=(422, 404))
    page.get_by_label("Text", exact=True).fill("a gripping film")
    page.get_by_label("Text", exact=True).press("Enter")
    expect(page.get_by_role("article")).to_have_count(2)
    first = page.get_by_role("article", name="sst2")
    expect(first.get_by_role("link", name="sst2@1")).to_be_visible()
    shares = [float(text) for text in re.findall(r"([\d.]+) %", first.inner_text())]
    assert len(shares) == 2
    assert sum(shares) == pytest.approx(100, abs=0.2)
    expect(page.get_by_text("for all in one call")).to_be_visible()
    page.get_by_label("Version or adapter").fill("mrpc")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_contain_text("mrpc")  # it takes pairs
    for ref in ("sst2", "cola@1"):
        page.get_by_role("button", name=f"Remove {ref}").click()
    page.get_by_role("checkbox", name="a pair of texts").check()
    page.get_by_label("Second text").fill("a dull film")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("article", name="mrpc")).to_be_visible()


def test_the_adapters_that_are_proposed_take_the_same_texts(served: Site, open_page: OpenPage):
    page = open_page(served, "#/try")
    page.get_by_label("Text", exact=True).fill("a gripping film")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("article")).to_have_count(2)
    for name in ("cola", "sst2"):
        expect(page.get_by_role("article", name=name)).to_be_visible()


def test_what_is_in_memory_is_shown_and_what_is_called_is_hot(served: Site, open_page: OpenPage):
    page = open_page(served, "#/serving")
    expect(page.get_by_text("Nothing is loaded yet")).to_be_visible()
    call = {"model": "sst2", "input": ["a film"]}
    assert page.request.post(f"{served.url}/v1/classify", data=call).ok
    row = page.get_by_role("row", name=re.compile("^sst2@1"))
    expect(row).to_be_visible()
    for _ in range(3):
        assert page.request.post(f"{served.url}/v1/classify", data=call).ok
    expect(page.locator("tr.hot")).to_contain_text("sst2@1")
    expect(row.get_by_role("img", name="4 calls in the last minute")).to_be_visible()
    expect(row.get_by_role("cell", name="4", exact=True)).to_be_visible()
    with page.expect_response("**/v1/status"):
        pass  # a quiet moment adds nothing
    expect(row.get_by_role("img", name="4 calls in the last minute")).to_be_visible()
    expect(page.locator(".tile", has_text="Loaded").first).to_contain_text("1")


def test_a_run_that_was_really_trained_has_its_charts(served: Site, open_page: OpenPage):
    page = open_page(served, "#/runs")
    page.get_by_role("row", name=re.compile("sst2@1")).get_by_role("link").first.click()
    expect(page.locator(".title .status")).to_have_text("finished")
    expect(page.get_by_role("img", name="train/loss")).to_be_visible()
    expect(page.get_by_role("region", name="Settings")).to_contain_text("max_steps")
