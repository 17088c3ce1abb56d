"""Aliases, tags and notes: changed with a token, and never over a change of somebody else."""

import pytest
from playwright.sync_api import Locator, Page, expect

from pointsman.registry import Registry
from pointsman.sdk.dashboard.app import dashboard
from pointsman.sdk.web.access import Access, Role, Tokens, new_token

from served import HOSTS, serving
from windows import OpenPage, Site

pytestmark = pytest.mark.usefixtures("filled")


def target(page: Page) -> Locator:
    """Where the alias production points to, in the table of aliases."""
    return page.get_by_role("group", name="Aliases").get_by_role("row", name="production").get_by_role("link")


def choose(page: Page, number: int) -> None:
    page.get_by_label("Version that production points to").select_option(str(number))


def test_an_alias_that_moved_meanwhile_is_a_conflict(registry: Registry, site: Site, open_page: OpenPage):
    here = open_page(site, "#/adapter/sst2", token=site.admin)
    there = open_page(site, "#/adapter/sst2", token=site.admin, refused=(409,))
    choose(here, 2)
    choose(there, 3)
    here.get_by_role("button", name="Move the alias production", exact=True).click()
    expect(target(here)).to_have_text("sst2@2")
    there.get_by_role("button", name="Move the alias production", exact=True).click()
    expect(there.get_by_role("alert")).to_contain_text("production points to sst2@2 now.")
    assert registry.version("sst2@production").number == 2
    there.get_by_role("button", name="Move it from 2 to 3").click()
    expect(target(there)).to_have_text("sst2@3")
    expect(there.get_by_role("alert")).to_have_count(0)
    assert registry.version("sst2@production").number == 3


def test_a_conflict_can_be_left_as_it_is(registry: Registry, site: Site, open_page: OpenPage):
    page = open_page(site, "#/adapter/sst2", token=site.admin, refused=(409,))
    choose(page, 3)
    registry.set_alias("sst2@2", "production")
    page.get_by_role("button", name="Move the alias production", exact=True).click()
    page.get_by_role("button", name="Keep it as it is now").click()
    expect(target(page)).to_have_text("sst2@2")
    assert registry.version("sst2@production").number == 2


def test_an_alias_is_added_and_removed(registry: Registry, site: Site, open_page: OpenPage):
    page = open_page(site, "#/version/sst2%403", token=site.admin, refused=(409,))
    page.get_by_label("New alias").fill("canary")
    page.get_by_role("button", name="Add alias").click()
    page.get_by_role("button", name="Remove the alias canary").click()
    expect(page.get_by_role("button", name="Remove the alias canary")).to_have_count(0)
    assert registry.version("sst2@3").aliases == ()
    page.get_by_label("New alias").fill("production")
    page.get_by_role("button", name="Add alias").click()
    page.get_by_role("button", name="Move it from 1 to 3").click()
    expect(page.get_by_role("button", name="Remove the alias production")).to_be_visible()
    assert registry.version("sst2@production").number == 3


def test_a_name_that_is_none_is_refused_in_words(site: Site, open_page: OpenPage):
    page = open_page(site, "#/version/sst2%403", token=site.admin, refused=(422,))
    page.get_by_label("New alias").fill("Not A Name")
    page.get_by_role("button", name="Add alias").click()
    expect(page.get_by_role("alert")).to_contain_text("is not valid")


def test_tags_are_set_and_removed(registry: Registry, site: Site, open_page: OpenPage):
    page = open_page(site, "#/version/sst2%401", token=site.admin, refused=(409,))
    page.get_by_label("Name of the tag").fill("stage")
    page.get_by_label("Value of the tag").fill("<b>live</b>")
    page.get_by_role("button", name="Set tag").click()
    expect(page.get_by_text("<b>live</b>")).to_be_visible()
    assert registry.version("sst2@1").tags == {"owner": "ann", "stage": "<b>live</b>"}
    registry.set_tags("sst2@1", {"owner": "bob"})
    page.get_by_role("button", name="Remove the tag owner").click()
    expect(page.get_by_role("alert")).to_contain_text("owner is bob now.")
    assert registry.version("sst2@1").tags["owner"] == "bob"
    page.get_by_role("button", name="Remove it all the same").click()
    expect(page.get_by_role("button", name="Remove the tag owner")).to_have_count(0)
    assert registry.version("sst2@1").tags == {"stage": "<b>live</b>"}


def test_a_note_is_rewritten_from_where_it_was_read(registry: Registry, site: Site, open_page: OpenPage):
    page = open_page(site, "#/version/sst2%401", token=site.admin, refused=(409,))
    page.get_by_role("button", name="Write a note").click()
    registry.set_note("sst2@1", "written meanwhile")
    page.get_by_label("Note", exact=True).and_(page.locator("textarea")).fill("mine\nin two lines")
    page.get_by_role("button", name="Keep the note").click()
    expect(page.get_by_role("alert")).to_contain_text("written meanwhile")
    assert registry.version("sst2@1").note == "written meanwhile"
    page.get_by_role("button", name="Replace it").click()
    expect(page.get_by_text("mine\nin two lines")).to_be_visible()
    assert registry.version("sst2@1").note == "mine\nin two lines"


def test_whoever_has_no_admin_token_may_look_only(site: Site, open_page: OpenPage):
    page = open_page(site, "#/version/sst2%401", refused=(401,))
    expect(page.get_by_role("heading", level=1)).to_have_text("sst2@1")
    expect(page.get_by_role("button", name="Add alias")).to_have_count(0)
    page.get_by_role("button", name="Token").click()
    page.get_by_label("Token", exact=True).and_(page.locator("input")).fill("x" * 40)
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("alert").first).to_contain_text("does not know this token")
    page.get_by_label("Token", exact=True).and_(page.locator("input")).fill(site.admin)
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("button", name="Add alias")).to_be_visible()


def test_the_token_of_the_address_is_taken_out_of_it(site: Site, open_page: OpenPage):
    page = open_page(site, f"#token={site.admin}")
    page.wait_for_url("**/#/versions")
    expect(page.locator(".role")).to_have_text("admin")
    page.reload()
    expect(page.locator(".role")).to_have_text("admin")
    assert page.evaluate("history.length") == 2  # the empty page of a new window, and this one


def test_a_server_that_answers_nobody_without_a_token_asks_for_one(registry: Registry, open_page: OpenPage):
    token, line = new_token(Role.READ)
    tokens = Tokens.of_lines([line])
    app = dashboard(registry, access=Access(tokens=tokens, anonymous=None), hosts=HOSTS)
    with serving(app) as client:
        page = open_page(Site(str(client.base_url), ""), refused=(401,))
        expect(page.get_by_role("alert")).to_contain_text("answers callers with a token only")
        expect(page.locator("main h1")).to_have_count(0)
        page.keyboard.type(token)
        page.keyboard.press("Enter")
        expect(page.locator(".role")).to_have_text("read")
        expect(page.get_by_role("link", name="cola@1")).to_be_visible()


def test_a_long_alias_leaves_room_for_its_button(registry: Registry, site: Site, open_page: OpenPage):
    alias = "a" * 64
    registry.set_alias("sst2@2", alias)
    page = open_page(site, "#/version/sst2%402", token=site.admin)
    button = page.get_by_role("button", name=f"Remove the alias {alias}")
    chip, cross = page.locator(".chip.alias", has=button).bounding_box(), button.bounding_box()
    assert chip
    assert cross
    assert chip["width"] <= 240
    assert cross["x"] + cross["width"] <= chip["x"] + chip["width"]
    button.click()
    expect(button).to_have_count(0)
    assert registry.version("sst2@2").aliases == ()
