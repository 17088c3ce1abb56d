"""Changes of aliases, tags and notes: each only if it is what the caller saw, and only by admins."""

import json
import threading
from typing import Any

import pytest

from dashboards import Dashboard, error_of

ALIAS = "/api/adapters/sst2/aliases/production"
TAGS = "/api/versions/sst2@1/tags"
NOTE = "/api/versions/cola@1/note"


def test_an_alias_moves_and_goes(shown: Dashboard) -> None:
    moved = shown.change("PUT", ALIAS, {"number": 1, "if_currently": 2})
    assert (moved.status_code, moved.json()) == (200, {"ref": "sst2@1", "aliases": ["production"]})
    error = error_of(shown.change("PUT", ALIAS, {"number": 2, "if_currently": 2}), 409, "points to sst2@1")
    assert (error["type"], error["current"]) == ("ChangedError", 1)
    absent = "/api/adapters/sst2/aliases/canary"
    assert error_of(shown.change("PUT", absent, {"number": 2, "if_currently": 2}), 409)["current"] == 0
    assert shown.change("PUT", absent, {"number": 2, "if_currently": 0}).status_code == 200
    assert error_of(shown.change("DELETE", f"{ALIAS}?if_currently=2"), 409)["current"] == 1
    assert shown.change("DELETE", f"{ALIAS}?if_currently=1").json() == {}
    assert shown.change("DELETE", absent).json() == {}
    assert shown.registry.adapter("sst2").aliases == {}
    error_of(shown.change("DELETE", absent), 404, "unknown alias")
    error_of(shown.change("PUT", absent, {"number": 9}), 404, "sst2@9")
    assert [event.action for event in shown.registry.events(limit=4)] == ["unalias", "unalias", "alias", "alias"]


def test_tags_change(shown: Dashboard) -> None:
    changed = shown.change("PUT", TAGS, {"set": {"stage": "old", "owner": "ann"}, "if_currently": {"stage": "live"}})
    assert changed.json() == {"tags": {"owner": "ann", "stage": "old"}}
    stale = {"set": {"stage": None}, "if_currently": {"stage": "live", "team": None}}
    assert error_of(shown.change("PUT", TAGS, stale), 409)["current"] == {"stage": "old", "team": None}
    assert shown.change("PUT", TAGS, {"set": {"stage": None}}).json() == {"tags": {"owner": "ann"}}


def test_a_note_changes(shown: Dashboard) -> None:
    assert shown.change("PUT", NOTE, {"note": "new", "if_currently": "a\nb"}).json() == {"note": "new"}
    for stale in ("a\nb", None):
        assert error_of(shown.change("PUT", NOTE, {"note": "x", "if_currently": stale}), 409)["current"] == "new"
    assert shown.change("PUT", NOTE, {"note": None}).json() == {"note": None}
    error = error_of(shown.change("PUT", NOTE, {"note": "x", "if_currently": "a"}), 409, "is empty")
    assert error["current"] is None
    assert shown.change("PUT", NOTE, {"note": "x", "if_currently": None}).json() == {"note": "x"}


def test_of_many_that_change_at_once_one_wins(shown: Dashboard) -> None:
    barrier = threading.Barrier(6)
    statuses = []

    def race(name: str) -> None:
        barrier.wait()
        body = {"note": name, "if_currently": "a\nb"}
        statuses.append(shown.change("PUT", NOTE, body).status_code)

    threads = [threading.Thread(target=race, args=(f"note {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 5


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (ALIAS, {}, 422, "'number' is missing"),
        (ALIAS, {"number": "1"}, 422, "found a text"),
        (ALIAS, {"number": True}, 422, "found a boolean"),
        (ALIAS, {"number": 0}, 422, "found 0"),
        (ALIAS, {"number": 1.0}, 422, "found a number"),
        (ALIAS, {"number": 10**30}, 422, "found a number"),
        (ALIAS, {"number": 1, "if_currently": -1}, 422, "'if_currently' must be"),
        (ALIAS, {"number": 1, "if": 2}, 422, "unknown field 'if'"),
        (ALIAS, [1], 422, "must be a JSON object"),
        ("/api/adapters/sst2/aliases/latest", {"number": 1}, 422, "reserved"),
        ("/api/adapters/sst2/aliases/A%00", {"number": 1}, 422, "alias"),
        ("/api/adapters/sst2@2/aliases/a", {"number": 1}, 422, "adapter name"),
        ("/api/adapters/lost/aliases/a", {"number": 1}, 404, "unknown adapter"),
        (TAGS, {}, 422, "'set' is missing"),
        (TAGS, {"set": None}, 422, "found null"),
        (TAGS, {"set": ["a"]}, 422, "found a list"),
        (TAGS, {"set": {"a": 1}}, 422, "'set.a' must be a text or null; found a number"),
        (TAGS, {"set": {"a b": "1"}}, 422, "tag"),
        (TAGS, {"set": {"a": "\ud800"}}, 400, "half of a surrogate pair"),
        (TAGS, {"set": {"\ud800": "a"}}, 400, "half of a surrogate pair"),
        (TAGS, {"set": {"a": "v" * 5_001}}, 422, "at most 5,000"),
        (TAGS, {"set": {f"k{number}": "v" for number in range(101)}}, 422, "101 tags; 100 are allowed"),
        (TAGS, {"set": {"a": "b"}, "if_currently": {"a": []}}, 422, "'if_currently.a'"),
        ("/api/versions/lost/tags", {"set": {"a": "b"}}, 404, "unknown adapter"),
        (NOTE, {}, 422, "'note' is missing"),
        (NOTE, {"note": 1}, 422, "found a number"),
        (NOTE, {"note": "n" * 65_537}, 422, "at most 65,536"),
        (NOTE, {"note": "\x1b"}, 422, "plain text"),
        (NOTE, {"note": "a", "if_currently": {}}, 422, "found an object"),
    ],
    ids=lambda value: str(value)[:60].encode("ascii", "backslashreplace").decode(),
)
def test_a_change_that_cannot_be(path: str, body: Any, status: int, said: str, shown: Dashboard) -> None:
    before = shown.registry.events()
    content = json.dumps(body)  # which escapes what UTF-8 has no bytes for
    error_of(shown.reader.put(path, content=content, headers=shown.admin), status, said)
    assert shown.registry.events() == before


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 400), (b"{", 400), (b"\xff", 400), (b"NaN", 400), (b"[" * 100_000, 400)]
)
def test_a_body_that_is_no_json(content: bytes, status: int, shown: Dashboard) -> None:
    error_of(shown.reader.put(NOTE, content=content, headers=shown.admin), status, "the body is")


def test_only_admins_change_anything(shown: Dashboard) -> None:
    calls: list[tuple[str, str, Any]] = [
        ("PUT", ALIAS, {"number": 1}),
        ("DELETE", ALIAS, None),
        ("PUT", TAGS, {"set": {"a": "b"}}),
        ("PUT", NOTE, {"note": None}),
    ]
    before = shown.registry.events()
    for method, path, body in calls:
        error_of(shown.reader.request(method, path, json=body), 403, "callers without a token have the role read")
        stranger = {"Authorization": f"Bearer {'x' * 43}"}
        error_of(shown.reader.request(method, path, json=body, headers=stranger), 401, "the token is unknown")
    assert shown.registry.events() == before
