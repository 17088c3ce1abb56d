"""Of every page: it is whole in narrow windows, needs keys only, is light or dark, and there at once."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from pointsman.registry import Registry
from pointsman.registry.database import tables as t
from pointsman.sdk.dashboard.app import dashboard
from pointsman.sdk.web.access import Access, Role

from served import HOSTS, serving
from shapes import FIELDS
from windows import OpenPage, Site

PAGES = {
    "#/versions?all=1": "cola@1",
    "#/version/sst2%401": "production",
    "#/version/cola%401": "cola",
    "#/adapter/sst2": "From version to version",
    "#/runs": "finished",
    "#/charts?of=sst2%401&smooth=0.5": "100 of 100 points",
    "#/compare?ref=sst2%401&ref=sst2%402": "method",
    "#/glue": "There is no benchmark yet.",
    "#/log": "alias",
    "#/nowhere": "There is no such page.",
}
"""Every page that needs no model, and a text of it."""


@pytest.mark.usefixtures("filled")
def test_every_page_is_whole_in_a_narrow_window(site: Site, open_page: OpenPage):
    page = open_page(site, token=site.admin, viewport={"width": 400, "height": 800})
    for address, text in PAGES.items():
        page.goto(f"{site.url}/{address}")
        expect(page.locator("main").get_by_text(text).first).to_be_visible()
        expect(page.locator("main").get_by_text(re.compile("^Reading "))).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") == 400, address
        assert page.evaluate(UNNAMED) == [], address
        current = page.get_by_role("navigation").locator("[aria-current=page]")
        expect(current).to_have_count(0 if "nowhere" in address else 1)


def test_a_short_page_ends_where_the_window_ends(site: Site, open_page: OpenPage):
    page = open_page(site, "#/glue")
    expect(page.get_by_text("There is no benchmark yet.")).to_be_visible()
    box = page.locator("footer").bounding_box()
    assert box
    assert box["y"] + box["height"] == 800


def test_a_page_that_cannot_be_loaded_says_so(registry: Registry, open_page: OpenPage):
    app = dashboard(registry, access=Access(tokens=None, anonymous=Role.READ), hosts=HOSTS)
    with serving(app) as client:
        page = open_page(Site(str(client.base_url), ""), "#/glue", refused=(0,))
        expect(page.get_by_text("There is no benchmark yet.")).to_be_visible()
    page.get_by_role("link", name="Log").click()
    expect(page.get_by_role("alert")).to_have_text(
        "this page did not load: the server does not answer; is it still running?"
    )
    expect(page.get_by_role("button", name="Load it again")).to_be_visible()
    page.get_by_role("link", name="GLUE").click()
    expect(page.get_by_role("button", name="Load it again")).to_have_count(0)


@pytest.mark.usefixtures("filled")
def test_keys_alone_are_enough(site: Site, open_page: OpenPage):
    page = open_page(site)
    expect(page.get_by_role("link", name="sst2@3")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("/")
    field = page.get_by_role("combobox", name="Search versions")
    expect(field).to_be_focused()
    page.keyboard.type("name = sst2")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1–3 of 3 versions")).to_be_visible()
    page.keyboard.press("Escape")
    expect(field).not_to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="sst2@2")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("sst2@1")
    expect(page.locator("main")).to_be_focused()
    chart = page.get_by_role("img", name="train/loss")
    chart.focus()
    page.keyboard.press("+")
    figure = page.locator("figure", has=chart)
    expect(figure.locator("[data-points]")).to_contain_text("in steps 25 to 74")
    page.keyboard.press("ArrowRight")
    expect(figure.locator("[data-points]")).to_contain_text("in steps 38 to 86")
    page.keyboard.press("0")
    expect(figure.locator("[data-points]")).to_have_text("100 of 100 points")


UNNAMED = """() => [...document.querySelectorAll("input, select, textarea, button")]
    .filter(each => !each.labels?.length && !each.ariaLabel && !each.innerText)
    .map(each => each.outerHTML)"""
"""Fields and buttons that a screen reader has no name for."""


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


@pytest.mark.usefixtures("filled")
def test_colours_are_the_systems_until_somebody_chooses(site: Site, open_page: OpenPage):
    light = open_page(site, "#/charts?of=sst2%401", color_scheme="light")
    dark = open_page(site, "#/charts?of=sst2%401", color_scheme="dark")
    drawn = {}
    for name, page in (("light", light), ("dark", dark)):
        expect(page.locator(".chart canvas")).to_be_visible()
        drawn[name] = (background(page), page.locator(".chart canvas").evaluate("canvas => canvas.toDataURL()"))
    assert drawn["light"][0] == "rgb(251, 251, 250)"
    assert drawn["dark"][0] == "rgb(21, 23, 26)"
    assert drawn["light"][1] != drawn["dark"][1]
    dark.get_by_role("button", name="auto").click()
    expect(dark.get_by_role("button", name="light")).to_be_visible()
    assert background(dark) == drawn["light"][0]
    dark.reload()
    expect(dark.get_by_role("button", name="light")).to_be_visible()
    assert background(dark) == drawn["light"][0]


def grow(registry: Registry, versions: int) -> None:
    """Copies of one version, ten an adapter: rows only, since no page opens their files."""
    registry.add_version("first", **FIELDS)
    with registry.database.writing() as connection:
        row = dict(connection.execute(sa.select(t.version)).mappings().one())
        scored = dict(connection.execute(sa.select(t.version_metric)).mappings().one())
        start, adapters = datetime(2026, 1, 1, tzinfo=UTC), range(2, versions // 10 + 2)
        connection.execute(
            t.adapter.insert(),
            [{"id": each, "name": f"adapter-{each:05}", "last_number": 10, "created_at": start} for each in adapters],
        )
        copies = [
            row
            | {
                "id": each,
                "adapter_id": adapters[(each - 2) // 10],
                "number": (each - 2) % 10 + 1,
                "digest": f"{each:064x}",
                "created_at": start + timedelta(minutes=each),
            }
            for each in range(2, versions + 2)
        ]
        connection.execute(t.version.insert(), copies)
        connection.execute(t.version_metric.insert(), [scored | {"version_id": copy["id"]} for copy in copies])


LOADED = """() => performance.getEntriesByType("resource").map(each => [each.name, each.encodedBodySize])"""


@pytest.mark.slow
def test_a_page_of_a_hundred_thousand_versions_loads_as_little_as_one_of_a_few(
    registry: Registry, site: Site, open_page: OpenPage
):
    grow(registry, 100_000)
    page = open_page(site)
    expect(page.get_by_text("1–50 of 10,001 adapters")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(50)
    sizes = dict(page.evaluate(LOADED))
    assert len(sizes) < 60
    assert sum(sizes.values()) < 300_000
    assert sum(size for name, size in sizes.items() if "/api/" in name) < 60_000
