"""Histories thinned out and cut to windows, and what is kept about them. The points themselves are in test_runs.py."""

import math
import random
import sqlite3
from collections import Counter
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman.registry import MetricPoint
from pointsman.registry.errors import AdapterNotFoundError, InvalidNameError, MetricNotFoundError, SettingsError
from pointsman.registry.metrics.buckets import SIZES

pytestmark = pytest.mark.databases

NAN, INFINITY = math.nan, math.inf
START = 1_800_000_000.0
"""When the first point of a series was logged. Steps of a quarter of a second have no rounding in a datetime."""


def at(seconds):
    return datetime.fromtimestamp(START + seconds, UTC)


def plain(points):
    """The same for the same points, NaN included."""
    return [(step, str(float(value)), epoch, time) for step, value, epoch, time in points]


def in_order(points):
    """Points in the order of their steps; those of one step stay in the order they were logged in."""
    return sorted(points, key=lambda point: point[0])


def execute(registry, statement, *parameters):
    with closing(sqlite3.connect(registry.home / "registry.db")) as connection, connection:
        return connection.execute(statement, parameters).fetchall()


def buckets(registry, run):
    """All that is kept about the stretches of a run's points, without the run itself."""
    columns = [name for _, name, *_ in execute(registry, "PRAGMA table_info(metric_bucket)") if name != "run_id"]
    return execute(
        registry,
        f"SELECT {', '.join(columns)} FROM metric_bucket WHERE run_id = (SELECT id FROM run WHERE uid = ?) "
        "ORDER BY key_id, level, bucket",
        run.removeprefix("run:"),
    )


# Windows


@pytest.fixture
def ten(registry, log_points):
    """A run with the steps 0, 10, … 90, logged a second apart."""
    return log_points(registry, [(10 * number, float(number), None, START + number) for number in range(10)])


WINDOWS = [
    ({}, range(10)),
    ({"first_step": 30}, range(3, 10)),
    ({"first_step": 31}, range(4, 10)),
    ({"last_step": 30}, range(4)),
    ({"last_step": 29}, range(3)),
    ({"first_step": 20, "last_step": 40}, range(2, 5)),
    ({"first_step": 30, "last_step": 30}, range(3, 4)),
    ({"first_step": 40, "last_step": 30}, range(0)),
    ({"first_step": 91}, range(0)),
    ({"first_step": -(2**63), "last_step": 2**63 - 1}, range(10)),
    ({"since": at(3)}, range(3, 10)),
    ({"since": at(3.25)}, range(4, 10)),
    ({"until": at(3)}, range(4)),
    ({"until": at(2.75)}, range(3)),
    ({"since": at(2), "until": at(4)}, range(2, 5)),
    ({"since": at(2).astimezone(timezone(timedelta(hours=5)))}, range(2, 10)),
    ({"since": at(10)}, range(0)),
    ({"first_step": 20, "until": at(4)}, range(2, 5)),
    ({"last_step": 40, "since": at(2)}, range(2, 5)),
    ({"first_step": 10, "last_step": 80, "since": at(3), "until": at(5)}, range(3, 6)),
    ({"first_step": 80, "until": at(3)}, range(0)),
]


@pytest.mark.parametrize(("window", "numbers"), WINDOWS, ids=[repr(window) for window, _ in WINDOWS])
@pytest.mark.parametrize("more", [{}, {"max_points": 10}], ids=repr)
def test_a_window_has_both_its_ends(registry, ten, window, numbers, more):
    expected = [MetricPoint(10 * number, float(number), None, START + number) for number in numbers]
    assert registry.history(ten, "loss", **window, **more) == expected


def test_an_unknown_metric_in_a_window_lists_those_known(registry, ten):
    for window in ({"first_step": 1_000}, {"since": at(1), "max_points": 8}):
        with pytest.raises(MetricNotFoundError, match=r"unknown metric 'los'; did you mean loss[?]; known: loss"):
            registry.history(ten, "los", **window)


@pytest.mark.parametrize("max_points", [7, 1, 0, -1])
def test_too_few_points_are_refused(registry, ten, max_points):
    with pytest.raises(SettingsError, match=f"max_points {max_points} is not valid: it must be at least 8"):
        registry.history(ten, "loss", max_points=max_points)


def test_a_step_that_is_no_number_of_the_database_is_refused(registry, ten):
    with pytest.raises(SettingsError, match="64 bits"):
        registry.history(ten, "loss", first_step=2**63)


# Thinned out


def assert_thinned(thinned, whole, max_points):
    """What has to hold of a history thinned out, whatever the way it is done."""
    if len(whole) <= max_points:
        assert plain(thinned) == plain(whole)
        return
    assert len(thinned) <= max_points
    assert not Counter(plain(thinned)) - Counter(plain(whole))
    assert [point.step for point in thinned] == sorted(point.step for point in thinned)
    assert {plain(whole)[0], plain(whole)[-1]} <= set(plain(thinned))
    numbers = [point.value for point in whole if not math.isnan(point.value)]
    kept = [point.value for point in thinned if not math.isnan(point.value)]
    assert (min(kept, default=None), max(kept, default=None)) == (
        min(numbers, default=None),
        max(numbers, default=None),
    )
    assert (len(kept) < len(thinned)) == (len(numbers) < len(whole))


@pytest.fixture(scope="module")
def long(shared, log_points):
    """A run of 40,000 points, five of which are unlike all others."""
    points = [(number, math.sin(number / 100), number / 1_000, START + number / 4) for number in range(40_000)]
    for number, value in ((1_234, 5.0), (20_000, -7.0), (30_001, INFINITY), (30_002, -INFINITY), (35_555, NAN)):
        points[number] = (number, value, *points[number][2:])
    return log_points(shared, points)


@pytest.mark.parametrize("max_points", [8, 9, 50, 100, 999, 5_000, 39_999, 40_000])
@pytest.mark.parametrize(
    "window",
    [
        {},
        {"first_step": 1_000},
        {"last_step": 25_000},
        {"first_step": 1_234, "last_step": 20_000},
        {"first_step": 20_001, "until": at(30_000 / 4)},
        {"since": at(35_555 / 4)},
        {"first_step": 35_556},
    ],
    ids=repr,
)
def test_what_is_unlike_all_others_is_kept(shared, long, window, max_points):
    whole = shared.history(long, "loss", **window)
    thinned = shared.history(long, "loss", **window, max_points=max_points)
    assert_thinned(thinned, whole, max_points)
    # Not much fewer than there is room for, either; a stretch may have one NaN, which costs a third of the room.
    assert len(thinned) > min(len(whole), max_points) / 4


@pytest.mark.parametrize("count", [9, 63, 64, 65, 500, 1_025])
def test_a_picture_of_few_points_is_as_fine_as_it_may_be(registry, log_points, count):
    points = [(number, math.sin(number), None, START + number) for number in range(count)]
    run = log_points(registry, points)
    for max_points in range(8, count, max(1, count // 20)):
        thinned = registry.history(run, "loss", max_points=max_points)
        assert_thinned(thinned, registry.history(run, "loss"), max_points)
        assert len(thinned) > max_points / 2.5


@pytest.fixture(scope="module")
def zigzag(shared, log_points):
    """A run that rises in pairs, 3 2 5 4 7 6 …: in many windows, an extreme or both are no end of them."""
    return log_points(shared, [(step, float(step + step % 2 * 2), None, START + step) for step in range(1, 5_001)])


@pytest.mark.parametrize("width", [8, 40, 63, 64, 65, 200, 1_023, 1_025, 3_000])
def test_windows_that_cut_a_stretch_in_two(shared, zigzag, width):
    starts = {edge + shift for edge in (64, 128, 1_024, 1_088) for shift in (-64, -62, -1, 0, 1, 2)}
    for start in sorted(starts - {0}):
        for window in (
            {"first_step": start, "last_step": start + width},
            {"since": at(start), "until": at(start + width)},
        ):
            whole = shared.history(zigzag, "loss", **window)
            assert len(whole) == width + 1
            assert_thinned(shared.history(zigzag, "loss", **window, max_points=8), whole, 8)


def test_points_of_one_step_and_one_moment_are_thinned_out_too(registry, log_points):
    points = [(7, math.cos(number), None, START) for number in range(300)]
    run = log_points(registry, points)
    thinned = registry.history(run, "loss", max_points=20)
    assert_thinned(thinned, registry.history(run, "loss"), 20)


@contextmanager
def counted(registry):
    """How much SQLite has to do, as a function that says it so far."""
    steps = 0

    def count():
        nonlocal steps
        steps += 1

    with registry.database.reading() as connection:
        # The pool hands the same connection out again.
        driver = connection.connection.driver_connection
    driver.set_progress_handler(count, 10)
    yield lambda: steps
    driver.set_progress_handler(None, 10)


def test_a_picture_takes_as_long_whatever_the_length(shared, long, log_points):
    short = log_points(shared, [(number, math.sin(number), None, START + number) for number in range(2_000)])

    def cost(run, **criteria):
        with counted(shared) as steps:
            shared.history(run, "loss", **criteria)
            return steps()

    assert cost(long) > 15 * cost(short)
    assert cost(long, max_points=20) < 2 * cost(short, max_points=20)
    window = {"first_step": 101, "last_step": 1_899}
    assert cost(long, max_points=20, **window) < 3 * cost(short, max_points=20, **window)
    steps = random.Random(0).sample(range(20_000), 20_000)
    shuffled = log_points(shared, [(step, math.sin(step), None, START) for step in steps])
    assert cost(shuffled, max_points=20, **window) < 3 * cost(shuffled, **window)


# Any series, any window


@st.composite
def series(draw):
    """Points in the order they are logged in: of a training, one that was resumed, or anything."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    count = draw(st.one_of(st.integers(1, 200), st.integers(1, 3_000), st.sampled_from([64, 1_024, 1_025, 17_000])))
    order = draw(st.sampled_from(["rising", "repeated", "resumed", "shuffled", "any"]))
    steps = {
        "rising": list(range(0, 3 * count, 3)),
        "repeated": [number // 7 for number in range(count)],
        "resumed": [*range(count * 2 // 3), *range(count // 3, count)][:count],
        "shuffled": rng.sample(range(count), count),
        "any": [rng.choice([rng.randrange(50), rng.randrange(2**62)]) for _ in range(count)],
    }[order]
    odd = draw(st.sampled_from([0.0, 0.001, 0.2, 1.0]))
    values = [
        rng.choice([NAN, INFINITY, -INFINITY, 0.0, 1e300]) if rng.random() < odd else rng.gauss(0, 1)
        for _ in range(count)
    ]
    clock = draw(st.sampled_from(["steady", "still", "set back"]))
    times = {
        "steady": [START + number / 4 for number in range(count)],
        "still": [START] * count,
        "set back": [START + (number if number < count / 2 else number - count / 4) / 4 for number in range(count)],
    }[clock]
    epochs = [None if rng.random() < 0.1 else number / 100 for number in range(count)]
    return list(zip(steps, values, epochs, times, strict=True))


def ends(draw, values):
    """Two ends of a window over values, either of which may be missing."""
    low, high = min(values), max(values)
    return [draw(st.none() | st.sampled_from(values) | st.just(low - 1) | st.just(high + 1)) for _ in range(2)]


@settings(max_examples=60, deadline=None)
@given(points=series(), data=st.data())
def test_any_picture_of_any_series(shared, log_points, points, data):
    flushes = data.draw(st.lists(st.sampled_from([1, 2, 63, 64, 65, 500, 1_100]), max_size=20))
    run = log_points(shared, points, flushes)
    everything = shared.history(run, "loss")
    assert plain(everything) == plain(in_order(points))
    for _ in range(4):
        first_step, last_step = ends(data.draw, [point[0] for point in points])
        since, until = ends(data.draw, [point[3] for point in points])
        whole = [
            point
            for point in everything
            if (first_step is None or point.step >= first_step)
            and (last_step is None or point.step <= last_step)
            and (since is None or point.wall_time >= since)
            and (until is None or point.wall_time <= until)
        ]
        window = {
            "first_step": first_step,
            "last_step": last_step,
            "since": None if since is None else datetime.fromtimestamp(since, UTC),
            "until": None if until is None else datetime.fromtimestamp(until, UTC),
        }
        assert plain(shared.history(run, "loss", **window)) == plain(whole)
        max_points = data.draw(st.integers(8, 40) | st.integers(8, 1_500))
        assert_thinned(shared.history(run, "loss", **window, max_points=max_points), whole, max_points)


def bucket(points):
    """What has to be kept about a stretch of points, from all of them at once."""
    numbers = [point for point in points if not math.isnan(point[1])]
    steps, times = [point[0] for point in points], [point[3] for point in points]
    row = [min(steps), max(steps), min(times), max(times)]
    for best in (min, max):
        point = best(numbers, key=lambda point: point[1], default=None)
        row += [None] * 4 if point is None else [point[1], point[0], point[2], point[3]]
    missing = next((point for point in points if math.isnan(point[1])), None)
    row += [None] * 3 if missing is None else [missing[0], missing[2], missing[3]]
    return tuple(row)


@settings(max_examples=40, deadline=None)
@given(points=series(), flushes=st.lists(st.sampled_from([1, 2, 3, 63, 64, 65, 500, 1_100]), max_size=40))
@example(points=[(1, NAN, None, START)], flushes=[])
@example(points=[(1, NAN, None, START), (0, 2.0, 0.5, START - 1), (0, 2.0, None, START)], flushes=[1, 1])
def test_many_small_flushes_leave_what_one_leaves(shared, log_points, points, flushes):
    at_once, bit_by_bit = log_points(shared, points), log_points(shared, points, flushes)
    rows = buckets(shared, at_once)
    assert buckets(shared, bit_by_bit) == rows
    assert [row[1:] for row in rows] == [
        (level, start // size, *bucket(points[start : start + size]))
        for level, size in enumerate(SIZES)
        for start in range(0, len(points), size)
    ]
    (one,), (many,) = shared.summaries(at_once), shared.summaries(bit_by_bit)
    for name, value in vars(one).items():
        expected = pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True) if isinstance(value, float) else value
        assert getattr(many, name) == expected, name
    for run in (at_once, bit_by_bit):
        counted = execute(
            shared,
            "SELECT seq, step FROM metric_point WHERE run_id = (SELECT id FROM run WHERE uid = ?) ORDER BY seq",
            run.removeprefix("run:"),
        )
        assert counted == list(enumerate(point[0] for point in points))


@pytest.mark.sqlite
def test_each_metric_is_counted_by_itself(registry, start):
    with start() as run:
        for step in range(100):
            run.log({"loss": step}, step=step)
            if step % 2:
                run.log({"eval/accuracy": -step}, step=step)
            if step % 30 == 0:
                run.flush()
    for metric, count in (("loss", 100), ("eval/accuracy", 50)):
        rows = execute(
            registry,
            "SELECT seq FROM metric_point WHERE key_id = (SELECT id FROM metric_key WHERE name = ?) ORDER BY seq",
            metric,
        )
        assert rows == [(number,) for number in range(count)]
    assert len(registry.history(f"run:{run.uid}", "eval/accuracy", max_points=10)) <= 10


# Across versions


def test_a_metric_across_versions(registry, add, log_points):
    def run(*values, metric="eval/accuracy"):
        points = [(step, value, None, START + step) for step, value in enumerate(values)]
        return log_points(registry, points, metric=metric).removeprefix("run:")

    add("cola", metrics={"eval/accuracy": 0.1}, primary_metric=None)
    versions = [
        add(metrics={"eval/accuracy": 0.5}),
        add(metrics={"eval/accuracy": 0.75}, run=run(0.25, 0.875, 0.5)),
        add(metrics={}, primary_metric=None, run=run(0.5, NAN, 0.25)),
        add(metrics={}, primary_metric=None, run=run(1.0, metric="loss")),
        add(metrics={"eval/accuracy": NAN}, run=run(0.5, NAN)),
        add(metrics={"loss": 0.5}, primary_metric=None),
        add(metrics={"eval/accuracy": 0.0}, run=run(NAN, NAN)),
    ]
    registry.remove("sst2@1")
    points = registry.version_history("sst2", "eval/accuracy")
    assert [point.number for point in points] == [2, 3, 5, 7]
    assert repr([(point.value, point.min, point.max) for point in points]) == repr(
        [(0.75, 0.25, 0.875), (0.25, 0.25, 0.5), (NAN, 0.5, 0.5), (0.0, NAN, NAN)]
    )
    assert [point.created_at for point in points] == [versions[point.number - 1].created_at for point in points]
    assert [point[:4] for point in registry.version_history("sst2", "loss")] == [
        (4, 1.0, 1.0, 1.0),
        (6, 0.5, None, None),
    ]
    assert [point[:4] for point in registry.version_history("cola", "eval/accuracy")] == [(1, 0.1, None, None)]


def test_an_unknown_metric_across_versions_lists_those_of_the_adapter(registry, add, start):
    with pytest.raises(AdapterNotFoundError, match="none exists yet"):
        registry.version_history("sst2", "eval/accuracy")
    with start() as run:
        run.log({"train/loss": 1.0}, step=1)
    add(run=run.uid)
    add("cola", metrics={"eval/mcc": 0.5}, primary_metric=None)
    with pytest.raises(MetricNotFoundError, match=r"unknown metric 'eval/mcc'.*; known: eval/accuracy, train/loss$"):
        registry.version_history("sst2", "eval/mcc")
    with pytest.raises(InvalidNameError):
        registry.version_history("sst2", "a b")
    with pytest.raises(InvalidNameError):
        registry.version_history("sst2@1", "eval/accuracy")
