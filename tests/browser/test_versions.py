"""Search, sort, open and compare versions; hostile texts stay texts."""

import re

import pytest
from playwright.sync_api import Page, expect

from pointsman.registry import Registry

from shapes import FIELDS
from windows import HOSTILE, OpenPage, Site

pytestmark = pytest.mark.usefixtures("filled")


def rows(page: Page) -> list[str]:
    return page.get_by_role("group", name="Versions", exact=True).locator("tbody th").all_inner_texts()


def search(page: Page, query: str) -> None:
    page.get_by_role("combobox", name="Search versions").fill(query)
    page.get_by_role("button", name="Search", exact=True).click()


def test_the_newest_version_of_each_adapter_comes_first_and_all_of_them_on_demand(site: Site, open_page: OpenPage):
    page = open_page(site)
    expect(page.get_by_text("1–3 of 3 adapters")).to_be_visible()
    assert rows(page) == ["cola@1", "mix@1", "sst2@3"]
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.get_by_text("1–5 of 5 versions")).to_be_visible()
    assert rows(page) == ["cola@1", "mix@1", "sst2@3", "sst2@2", "sst2@1"]


def test_a_query_finds_versions_and_is_kept_in_the_address(site: Site, open_page: OpenPage):
    page = open_page(site)
    search(page, "task = sst2 and eval/accuracy > 0.6 and name = sst2")
    expect(page.get_by_text("1–2 of 2 versions")).to_be_visible()
    assert rows(page) == ["sst2@3", "sst2@2"]
    page.reload()
    expect(page.get_by_text("1–2 of 2 versions")).to_be_visible()
    page.get_by_role("button", name="Score").click()
    expect(page.locator("tbody th").first).to_have_text("sst2@2")
    expect(page.get_by_role("columnheader", name="Score")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="Score").click()
    expect(page.locator("tbody th").first).to_have_text("sst2@3")


def test_a_mistake_in_a_query_is_pointed_at(site: Site, open_page: OpenPage):
    page = open_page(site, refused=(422,))
    search(page, "task in (sst2) foo")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("error at character 16")
    assert alert.locator("pre").inner_text() == "task in (sst2) foo\n" + " " * 15 + "^"
    search(page, "sst2")
    page.get_by_role("button", name="Search for name like '%sst2%'").click()
    expect(page.get_by_text("1–3 of 3 versions")).to_be_visible()


def test_fields_are_completed_and_explained(site: Site, open_page: OpenPage):
    page = open_page(site)
    field = page.get_by_role("combobox", name="Search versions")
    page.get_by_role("button", name="Help").click()
    expect(page.get_by_text("config.FIELD", exact=True)).to_be_visible()
    field.press_sequentially("metho")
    expect(page.get_by_role("option").first).to_contain_text("method")
    field.press("Tab")
    expect(field).to_have_value("method ")
    field.press_sequentially("= lora and last(eval")
    expect(page.get_by_role("option", name="last(eval/accuracy)")).to_be_visible()
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("method = lora and last(eval/accuracy) ")


def test_a_long_list_has_pages(registry: Registry, site: Site, open_page: OpenPage):
    for _ in range(60):
        registry.add_version("many", **FIELDS)
    page = open_page(site, "#/versions?all=1")
    expect(page.get_by_text("1–50 of 65 versions")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("51–65 of 65 versions")).to_be_visible()
    assert rows(page)[-1] == "sst2@1"


def test_a_version_shows_all_of_itself(registry: Registry, site: Site, open_page: OpenPage):
    page = open_page(site)
    page.get_by_role("link", name="mix@1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("mix@1")
    lineage = page.get_by_role("region", name="Lineage")
    expect(lineage.locator("a.node")).to_have_count(3)
    expect(lineage.locator("path")).to_have_count(2)
    lineage.get_by_role("link", name=re.compile("^sst2@1")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("sst2@1")
    expect(page).to_have_title("sst2@1 · pointsman")
    expect(page.get_by_role("region", name="Files")).to_contain_text("adapter.safetensors")
    expect(page.get_by_role("region", name="Metrics")).to_contain_text("eval/accuracy")
    expect(page.get_by_label("About")).to_contain_text(registry.version("sst2@1").digest[:16])
    expect(page.get_by_role("img", name="train/loss")).to_be_visible()
    page.get_by_role("link", name="newer →").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("sst2@2")


def test_a_configuration_shows_what_differs_from_the_defaults(registry: Registry, site: Site, open_page: OpenPage):
    registry.add_version("other", **{**FIELDS, "config": {"reduction_factor": 2, "non_linearity": "relu"}})
    page = open_page(site, "#/version/other%401")
    configuration = page.get_by_role("region", name="Configuration")
    expect(configuration.locator("tbody tr")).to_have_count(1)
    expect(configuration.locator("tbody tr")).to_contain_text(re.compile(r"reduction_factor\s*2\s*16"))
    configuration.get_by_role("checkbox").check()
    expect(configuration.locator("tbody tr")).to_have_count(2)


def test_an_unknown_version_is_an_error_in_words(site: Site, open_page: OpenPage):
    page = open_page(site, "#/version/sst%401", refused=(404,))
    expect(page.get_by_role("alert")).to_contain_text("sst2")


def test_picked_versions_are_compared(site: Site, open_page: OpenPage):
    page = open_page(site, "#/versions?all=1")
    page.get_by_role("checkbox", name="Pick sst2@1").check()
    page.get_by_role("checkbox", name="Pick sst2@2").check()
    page.get_by_role("link", name="Compare").last.click()
    fields = page.get_by_role("group", name="Fields side by side")
    expect(fields.get_by_role("row", name=re.compile("method seq_bn lora"))).to_be_visible()
    assert "max_length" not in fields.locator("tbody th").all_inner_texts()
    page.get_by_role("checkbox", name="also what is the same").check()
    expect(fields.get_by_role("row", name="max_length 128 128")).to_be_visible()


def test_hostile_texts_are_texts(site: Site, open_page: OpenPage):
    page = open_page(site)
    for address in ("#/versions?all=1", "#/version/cola%401", "#/adapter/cola", "#/log"):
        page.goto(f"{site.url}/{address}")
        expect(page.get_by_text(HOSTILE[:40]).first).to_be_attached()
        assert page.locator("main img, main script").count() == 0, address
        assert "pointsman" in page.title()


def test_what_an_address_says_is_text(site: Site, open_page: OpenPage):
    page = open_page(site, "#/version/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", refused=(404, 422))
    expect(page.get_by_role("heading", level=1)).to_have_text("<img src=x onerror=alert(1)>")
    assert page.locator("main img").count() == 0
