"""Histories: thinned with every extreme kept; a zoom fetches what lies between; live runs go on by themselves."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from pointsman.registry import Registry

from shapes import RUN
from windows import OpenPage, Site


def drag(page: Page, chart: Locator, start: float, end: float) -> None:
    """Select a part of a chart, in parts of its width."""
    box = chart.locator(".u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + start * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()


def points(page: Page) -> Locator:
    return page.locator("[data-points]")


def test_a_long_history_is_thinned_and_a_zoom_fetches_the_points_between(
    long_run: str, site: Site, open_page: OpenPage
):
    page = open_page(site, f"#/charts?of={long_run}")
    expect(points(page)).to_have_text(re.compile(r"^\d{3}|1,000 of 100,000 points; drag"))
    chart = page.get_by_role("img", name="train/loss")
    with page.expect_response(re.compile(r"/api/history\?.*first=\d+")) as fetched:
        drag(page, chart, 0.5, 0.52)
    answer = fetched.value.json()
    assert answer["total"] == 100_000
    expect(points(page)).to_have_text(re.compile(r"in steps [\d,]+ to [\d,]+$"))
    shown, first, last = (
        int(text.replace(",", ""))
        for text in re.match(
            r"([\d,]+) of 100,000 points in steps ([\d,]+) to ([\d,]+)", points(page).inner_text()
        ).groups()
    )
    assert 48_000 < first < last < 54_000
    assert shown > (last - first) / 8  # of 1,000 points, the whole history had one in this part for every hundred
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    expect(points(page)).not_to_contain_text("reading")
    shown, first, last = (
        int(text.replace(",", ""))
        for text in re.match(
            r"([\d,]+) of 100,000 points in steps ([\d,]+) to ([\d,]+)", points(page).inner_text()
        ).groups()
    )
    assert shown == last - first + 1  # every single one
    page.get_by_role("button", name="All", exact=True).click()
    expect(points(page)).to_contain_text("drag over a part")


def test_extremes_and_what_is_no_number_are_kept(long_run: str, site: Site, open_page: OpenPage):
    page = open_page(site, f"#/charts?of={long_run}")
    row = page.locator(".legend tbody tr")
    expect(row).to_contain_text("9.5")
    expect(row).to_contain_text(re.compile(r"≥ 1 NaN"))


def test_a_history_without_a_finite_value_has_axes(registry: Registry, site: Site, open_page: OpenPage):
    with registry.start_run("nan", **RUN) as run:
        for step in range(3):
            run.log({"train/loss": float("nan")}, step=step)
    for query in ("", "&log=1"):
        page = open_page(site, f"#/charts?of=run:{run.uid}{query}")
        expect(points(page)).to_have_text("3 of 3 points")
        chart, drawn = (page.locator(name).bounding_box() for name in (".chart", ".u-over"))
        assert chart
        assert drawn
        assert drawn["x"] - chart["x"] >= 60  # where the numbers of the y axis stand


def test_a_run_of_many_metrics_is_drawn_in_parts(registry: Registry, site: Site, open_page: OpenPage):
    with registry.start_run("many", **RUN) as run:
        run.log({f"layer/{number:03}": number for number in range(300)}, step=1)
    page = open_page(site, f"#/run/{run.uid}")
    expect(page.locator(".charts .history")).to_have_count(4)
    expect(page.locator(".tile", has_text="Progress")).to_contain_text(re.compile("1 step$"))
    page.get_by_role("button", name="20 more of 300 charts").click()
    expect(page.locator(".charts .history")).to_have_count(24)
    rows = page.get_by_role("group", name="Metrics in numbers").locator("tbody tr")
    expect(rows).to_have_count(0)
    page.get_by_text("All metrics in numbers").click()
    expect(rows).to_have_count(200)
    page.get_by_label("Part of a metric's name").fill("/29")
    expect(rows).to_have_count(10)
    expect(page.get_by_text("10 of 300 metrics")).to_be_visible()


@pytest.mark.usefixtures("filled")
def test_several_histories_share_one_chart(registry: Registry, site: Site, open_page: OpenPage):
    with registry.start_run("other", **RUN) as run:
        for step in range(0, 100, 7):
            run.log({"train/loss": 0.5 - step / 150}, step=step)
    page = open_page(site, "#/charts?of=sst2%401")
    expect(points(page)).to_have_text("100 of 100 points")
    page.get_by_label("Version or run").fill(f"run:{run.uid}")
    page.get_by_role("button", name="Add").click()
    expect(points(page)).to_have_text("115 of 115 points")
    expect(page.locator(".legend tbody tr")).to_have_count(2)
    drawn = page.locator(".chart canvas")
    images = [drawn.evaluate("canvas => canvas.toDataURL()")]
    page.get_by_role("checkbox", name="log scale").check()
    expect(page).to_have_url(re.compile("log=1"))
    images.append(drawn.evaluate("canvas => canvas.toDataURL()"))
    page.get_by_role("slider").fill("0.9")
    expect(page.get_by_role("status").first).to_be_visible()
    expect(page.locator(".smoothing")).to_have_text("0.90")
    images.append(drawn.evaluate("canvas => canvas.toDataURL()"))
    page.get_by_role("button", name="Draw sst2@1").click()
    expect(page.get_by_role("button", name="Draw sst2@1")).to_have_attribute("aria-pressed", "false")
    images.append(drawn.evaluate("canvas => canvas.toDataURL()"))
    assert len(set(images)) == 4
    page.get_by_role("button", name=f"Remove run:{run.uid}").click()
    expect(points(page)).to_have_text("100 of 100 points")
    page.get_by_label("Metric").select_option("eval/accuracy")
    expect(page.get_by_role("img", name="eval/accuracy")).to_be_visible()


def test_what_has_no_history_is_named_and_the_others_are_drawn(filled: Registry, site: Site, open_page: OpenPage):
    page = open_page(site, "#/charts?of=sst2%401&of=sst2%402", refused=(404,))
    expect(page.get_by_role("alert").first).to_contain_text("sst2@2 was made by no run")
    expect(points(page)).to_have_text("100 of 100 points")


def test_a_run_is_drawn_while_it_trains(registry: Registry, site: Site, open_page: OpenPage):
    with registry.start_run("sst2", **{**RUN, "settings": {"max_steps": 200}}) as run:
        run.log({"train/loss": 0.75, "train/samples_per_second": 812.0}, step=10)
        run.flush()
        page = open_page(site, f"#/run/{run.uid}")
        expect(page.locator(".title .status")).to_have_text("running")
        expect(page.get_by_text("812 rows/s")).to_be_visible()
        expect(points(page).first).to_have_text("1 of 1 points")
        run.log({"train/loss": 0.25, "train/samples_per_second": 950.0}, step=100)
        run.flush()
        expect(page.locator(".tile", has_text="Loss")).to_contain_text("0.25")
        expect(page.get_by_text("950 rows/s")).to_be_visible()
        expect(points(page).first).to_have_text("2 of 2 points")
        expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
        expect(page.get_by_text("100 / 200")).to_be_visible()
        expect(page.get_by_text(re.compile("left$"))).to_be_visible()
    expect(page.locator(".title .status")).to_have_text("finished")


def test_the_list_of_runs_is_live(registry: Registry, site: Site, open_page: OpenPage):
    page = open_page(site, "#/runs")
    expect(page.get_by_text("There is no run yet.")).to_be_visible()
    with registry.start_run("sst2", **RUN) as run:
        run.log({"train/loss": 0.5}, step=1)
        run.flush()
        expect(page.get_by_role("link", name=run.uid)).to_be_visible()
        expect(page.locator(".status")).to_have_text("running")
    expect(page.locator(".status")).to_have_text("finished")


@pytest.mark.usefixtures("filled")
def test_a_metric_is_drawn_from_version_to_version(site: Site, open_page: OpenPage):
    page = open_page(site, "#/adapter/sst2")
    expect(page.get_by_role("img", name="eval/accuracy of the versions of sst2")).to_be_visible()
    expect(page.locator(".legend tbody tr")).to_contain_text("0.7")
