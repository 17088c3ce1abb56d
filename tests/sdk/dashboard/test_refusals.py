"""Calls that cannot be answered: one shape of errors, never a 500, and nothing of the machine."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards import Dashboard, error_of

PATHS = [
    "/api/about",
    "/api/fields",
    "/api/versions",
    "/api/versions/sst2",
    "/api/lineage/sst2",
    "/api/adapters/sst2",
    "/api/runs",
    "/api/runs/0123456789ab",
    "/api/summaries",
    "/api/history",
    "/api/across/sst2",
    "/api/compare",
    "/api/glue",
    "/api/events",
]


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_parameter_is_refused_by_name(path: str, shown: Dashboard) -> None:
    error = shown.refused(path, 422, "unknown parameter 'sotr'", sotr="name")
    assert error["param"] == "sotr"


@pytest.mark.parametrize(
    ("path", "query", "status", "said"),
    [
        ("versions", {"limit": 501}, 422, "'limit' must be a whole number of at least 1 and at most 500; found '501'"),
        ("versions", {"limit": 0}, 422, "found '0'"),
        ("versions", {"limit": "ten"}, 422, "found 'ten'"),
        ("versions", {"limit": "1_0"}, 422, "found '1_0'"),
        ("versions", {"limit": "٣"}, 422, "limit"),
        ("versions", {"limit": "9" * 5_000}, 422, "..."),
        ("versions", {"limit": [1, 2]}, 422, "the parameter 'limit' is given 2 times"),
        ("versions", {"offset": -1}, 422, "at least 0"),
        ("versions", {"offset": 2**63}, 422, "at least 0"),
        ("versions", {"reverse": "yes"}, 422, "must be 0 or 1; found 'yes'"),
        ("versions", {"sort": "eval/lost"}, 404, "unknown metric 'eval/lost'"),
        ("versions", {"sort": "a b"}, 422, "metric name"),
        ("versions", {"name": "../etc"}, 422, "adapter name"),
        ("versions", {"name": "a\0"}, 422, "adapter name"),
        ("versions", {"where": "eval/lost > 1"}, 404, "unknown metric"),
        ("runs", {"adapter": "A"}, 422, "adapter name"),
        ("runs", {"where": "status = lost"}, 422, "status"),
        ("summaries", {}, 422, "the parameter 'of' is missing"),
        ("summaries", {"of": "sst2@7"}, 404, "sst2@7"),
        ("summaries", {"of": "cola@1"}, 404, "was made by no run"),
        ("summaries", {"of": "run:"}, 404, "unknown run"),
        ("summaries", {"of": "run:x\0"}, 404, "unknown run"),
        ("history", {"of": "sst2@1"}, 422, "the parameter 'metric' is missing"),
        ("history", {"of": "sst2@1", "metric": "lost"}, 404, "known: eval/accuracy, train/loss"),
        ("history", {"of": "cola", "metric": "lost"}, 404, "was made by no run"),
        ("history", {"of": "sst2@1", "metric": "a\0"}, 422, "metric name"),
        ("history", {"of": "sst2@1", "metric": "train/loss", "points": 7}, 422, "at least 8 and at most 5,000"),
        ("history", {"of": "sst2@1", "metric": "train/loss", "points": 5001}, 422, "at most 5,000"),
        ("history", {"of": "sst2@1", "metric": "train/loss", "first": -1}, 422, "at least 0"),
        ("history", {"of": "sst2@1", "metric": "train/loss", "last": "1e3"}, 422, "whole number"),
        ("across/sst2@1", {}, 422, "adapter name"),
        ("across/lost", {}, 404, "unknown adapter"),
        ("adapters/lost", {}, 404, "unknown adapter"),
        ("compare", {"ref": "sst2"}, 422, "must be given 2 to 20 times; found 1"),
        ("compare", {"ref": ["sst2"] * 21}, 422, "found 21"),
        ("compare", {"ref": ["sst2", "run:zz"]}, 404, "unknown run"),
        ("versions/sst2@0", {}, 422, "after '@'"),
        ("versions/lost", {}, 404, "unknown adapter 'lost'"),
        ("versions/sst2@prodution", {}, 404, "sst2@production"),
        ("versions/%00", {}, 422, "adapter name"),
        ("versions/%1b%5b2J", {}, 422, "adapter name"),
        ("versions/" + "a" * 3_000, {}, 422, "adapter name"),
        ("lineage/sst2@best@best", {}, 422, "second '@'"),
        ("runs/0123456789ab", {}, 404, "unknown run"),
        ("runs/%ff", {}, 404, "unknown run"),
        ("glue", {"name": "A B"}, 422, "benchmark name"),
        ("events", {"ref": "sst2@lost"}, 404, "sst2@lost"),
        ("nothing", {}, 404, "Not Found"),
        ("versions/a/b/c", {}, 404, "Not Found"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_cannot_be(path: str, query: dict[str, Any], status: int, said: str, shown: Dashboard) -> None:
    error = shown.refused(f"/api/{path}", status, said, **query)
    assert error["message"].replace("\n", "").isprintable()
    assert len(error["message"]) < 1_000


def test_a_query_with_a_mistake_says_where(shown: Dashboard) -> None:
    for path in ("/api/versions", "/api/runs"):
        error = shown.refused(path, 422, "the query has an error at character 13", where="task = sst2 &")
        assert (error["type"], error["position"]) == ("QueryError", 12)
        assert "position" not in shown.refused(path, 422, "the query is empty", where=" ")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_method_that_a_path_has_not(method: str, shown: Dashboard) -> None:
    for path in PATHS:
        error_of(shown.change(method, path), 405)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["versions", "lineage", "adapters", "runs", "across", "versions?where=", "summaries?of="]),
    text=st.text(max_size=60),
)
def test_no_text_breaks_it(path: str, text: str, shown: Dashboard) -> None:
    escaped = str(httpx.QueryParams({"x": text})).removeprefix("x=").replace("+", "%20")
    separator = "" if "?" in path else "/"
    answer = shown.reader.get(f"/api/{path}{separator}{escaped}")
    assert answer.status_code in (200, 307, 404, 422), (answer.text, text)
    if answer.status_code != 200:
        error_of(answer, answer.status_code)
