"""A real server on loopback: what callers get, and what they are told when something is wrong."""

import json
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError
from pointsman.sdk import Switcher
from pointsman.sdk.serving.app import Server
from pointsman.sdk.serving.payloads import MAX_INPUTS, MAX_LETTERS

from helpers import TEXTS, MakeVersion
from served import HOSTS, Running, serving


def close(found: dict[str, Any], expected: Any) -> None:
    assert found["label"] == expected.label
    assert found["score"] == pytest.approx(expected.score, abs=1e-5)
    if expected.probabilities is not None:
        assert found["labels"] == list(expected.probabilities)
        assert found["probs"] == pytest.approx(list(expected.probabilities.values()), abs=1e-5)
        assert found["num_classes"] == len(found["probs"])


@pytest.mark.parametrize("path", ["/v1/classify", "/classify"])
def test_a_call_is_answered_as_in_process(running: Running, path: str) -> None:
    versions = {"a": "a@1", "b": "b@1", "a@1": "a@1", "average(a, b)": "average(a@1, b@1)"}
    for ref, version in versions.items():
        response = running.post(path, {"model": ref, "input": TEXTS})
        assert response.status_code == 200
        answer = response.json()
        assert (answer["model"], answer["version"]) == (ref, version)
        assert [item["index"] for item in answer["data"]] == list(range(len(TEXTS)))
        for found, expected in zip(answer["data"], running.switcher.predict(ref, TEXTS), strict=True):
            close(found, expected)
    (one,) = running.post(path, {"model": "a", "input": TEXTS[0]}).json()["data"]
    close(one, running.switcher.predict("a", TEXTS[:1])[0])


def test_pairs_and_scores(running: Running) -> None:
    pairs = [["a film", "a movie"], ["no", "yes"]]
    for ref in ("pairs", "score"):
        answer = running.post("/v1/classify", {"model": ref, "input": pairs}).json()
        for found, expected in zip(answer["data"], running.switcher.predict(ref, pairs), strict=True):
            close(found, expected)


def test_the_tokens_that_were_read_are_counted(running: Running, tiny_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokens = {text: len(tokenizer(text)["input_ids"]) for text in TEXTS}
    pair = len(tokenizer("a film", "a movie")["input_ids"])
    long, cut = "film " * 1000, running.switcher.resolve("a").routes_of_row(0, 1)[0].max_length
    for path, body, expected in (
        ("/v1/classify", {"model": "a", "input": TEXTS}, sum(tokens.values())),
        ("/v1/classify", {"model": "a", "input": [long, long]}, 2 * cut),
        ("/v1/classify", {"model": "parallel(a, b)", "input": TEXTS[0]}, 2 * tokens[TEXTS[0]]),
        (
            "/v1/mixed",
            {"rows": [{"model": "b", "input": TEXTS[1]}, {"model": "pairs", "input": ["a film", "a movie"]}]},
            tokens[TEXTS[1]] + pair,
        ),
    ):
        usage = running.post(path, body).json()["usage"]
        assert usage == {"prompt_tokens": expected, "total_tokens": expected, "completion_tokens": 0}


def test_parallel_gives_an_answer_of_each_member(running: Running) -> None:
    (item,) = running.post("/v1/classify", {"model": "parallel(a, b)", "input": "a film"}).json()["data"]
    assert [member["version"] for member in item["parallel"]] == ["a@1", "b@1"]
    for found, expected in zip(
        item["parallel"], running.switcher.predict("parallel(a, b)", ["a film"])[0], strict=True
    ):
        close(found, expected)


def test_rows_that_each_name_their_own_ref(running: Running) -> None:
    rows = [("a", "a film"), ("pairs", ["no", "yes"]), ("b", "a film"), ("stack(a, b)", "no")]
    answer = running.post("/v1/mixed", {"rows": [{"model": ref, "input": text} for ref, text in rows]}).json()
    assert [item["model"] for item in answer["data"]] == [ref for ref, _ in rows]
    assert [item["version"] for item in answer["data"]][:3] == ["a@1", "pairs@1", "b@1"]
    for found, expected in zip(answer["data"], running.switcher.predict_mixed(rows), strict=True):
        close(found, expected)


def test_many_callers_at_once_get_their_own_answers(running: Running) -> None:
    expected = {ref: running.switcher.predict(ref, TEXTS) for ref in "ab"}
    wrong: list[object] = []

    def call(number: int) -> None:
        ref, text = "ab"[number % 2], number % len(TEXTS)
        (found,) = running.post("/v1/classify", {"model": ref, "input": TEXTS[text]}).json()["data"]
        try:
            close(found, expected[ref][text])
        except AssertionError as error:
            wrong.append((number, error))

    threads = [
        threading.Thread(target=lambda start=start: [call(start + 7 * i) for i in range(8)]) for start in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_models(running: Running, registry: Registry) -> None:
    registry.set_alias("a@1", "production")
    listed = running.client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["a", "b", "pairs", "score"]
    first = listed["data"][0]
    assert (first["version"], first["task"], first["labels"]) == ("a@1", "sst2", ["negative", "positive"])
    assert first["aliases"] == ["production"]
    assert [len(model["text"]) for model in listed["data"]] == [1, 1, 2, 2]
    for ref in ("a@production", "a", "average(a, b)"):
        model = running.client.get(f"/v1/models/{ref}").json()
        assert model["id"] == ref
        assert model["tasks"] == {"sst2": ["negative", "positive"]}
        assert [version["id"] for version in model["versions"]] == (["a@1", "b@1"] if "(" in ref else ["a@1"])


def test_a_list_of_models_has_pages(running: Running) -> None:
    pages: list[list[str]] = []
    after: dict[str, str] = {}
    while True:
        page = running.client.get("/v1/models", params={"limit": "3", **after}).json()
        pages.append([model["id"] for model in page["data"]])
        assert (page["first_id"], page["last_id"]) == (pages[-1][0], pages[-1][-1])
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert pages == [["a", "b", "pairs"], ["score"]]
    none = running.client.get("/v1/models", params={"after": "zz"}).json()
    assert none == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    for limit in ("0", "1001", "-1", "x", "1.0", "", "²", "9" * 5000):
        wrong = running.client.get("/v1/models", params={"limit": limit})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "limit")
    assert running.client.get("/v1/models", params={"after": "A b"}).status_code == 422


def test_a_canary_is_watched(running: Running, registry: Registry, make_version: MakeVersion) -> None:
    def model(ref: str) -> dict[str, Any]:
        answer: dict[str, Any] = running.client.get(f"/v1/models/{ref}").json()
        return answer

    def moved(number: int) -> str:
        registry.set_alias(f"a@{number}", "production")
        return registry.events(f"a@{number}", limit=1)[0].at.isoformat()

    first = moved(1)
    begun = datetime.now(UTC)
    before = model("a@production")
    assert (before["version"], before["registry"], before["since"]) == ("a@1", "a@1", first)
    assert begun <= datetime.fromisoformat(before["answered_since"]) <= datetime.now(UTC)
    second = make_version("a", seed=9)
    then = moved(2)
    meanwhile = model("a@production")
    assert meanwhile == {**before, "registry": "a@2"}
    running.switcher.refresh()
    after = model("a@production")
    assert (after["version"], after["registry"], after["since"]) == ("a@2", "a@2", then)
    assert after["answered_since"] > before["answered_since"]
    assert model("a")["since"] == model("a@2")["since"] == second.created_at.isoformat()
    assert model("a@best")["since"] is None
    pair = model("average(a@production, b)")
    assert (pair["version"], pair["since"]) == ("average(a@2, b@1)", then)
    registry.remove_alias("a", "production")
    assert (model("a@production")["version"], model("a@production")["registry"]) == ("a@2", None)


def test_health_and_status(running: Running) -> None:
    assert running.client.get("/v2/health/live").json() == {"live": True}
    assert running.client.get("/v2/health/ready").json() == {"ready": True}
    running.post("/v1/classify", {"model": "a", "input": "no"})
    status = running.client.get("/v1/status").json()
    assert [version["ref"] for version in status["versions"]] == ["a@1"]
    assert status["waiting"] == 0


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "the body is no JSON"),
        (b"{", 400, "the body is no JSON"),
        (b'{"model": "a", "input": NaN}', 400, "NaN is no JSON number"),
        (b'{"model": "a", "input": "\xff"}', 400, "the body is no JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b"[]", 422, "must be a JSON object; found an empty list"),
        ({}, 422, "'model' is missing"),
        ({"model": "a"}, 422, "'input' is missing"),
        ({"input": "no"}, 422, "'model' is missing"),
        ({"model": 3, "input": "no"}, 422, "'model' must be a ref or composition as a text; found a number"),
        ({"model": "a", "input": None}, 422, "'input' must be a text, or a list of texts or pairs; found null"),
        ({"model": "a", "input": []}, 422, "'input' must be a text, or a list of texts or pairs; found an empty list"),
        ({"model": "a", "input": ["no", {}]}, 422, r"'input[1]' must be a text or a pair of texts; found an object"),
        ({"model": "a", "input": [["no", "yes"]]}, 422, "'sst2' takes single texts"),
        ({"model": "pairs", "input": ["no"]}, 422, "'mrpc' takes pairs of texts"),
        ({"model": "a", "input": "\ud800"}, 400, "half of a surrogate pair"),
        (b'{"model": "a", "input": "\xed\xa0\x80"}', 400, "the body is no JSON"),
        ('{"model": "a", "input": "no"}'.encode("utf-16"), 400, "the body is no JSON"),
        (b'{"model": "a", "model": "b", "input": "no"}', 400, "the name 'model' appears twice in one object"),
        (b'{"model": "a", "input": 1' + b"0" * 5000 + b"}", 400, "the body is no JSON"),
        (b'{"model": "a", "input": ' + b"[" * 500 + b"]" * 500 + b"}", 422, "'input[0]' must be a text or a pair"),
        ({"model": "a", "input": "no", "temperature": 1}, 422, "unknown field 'temperature'; known: model, input"),
        ({"model": "a", "input": ["no"] * (MAX_INPUTS + 1)}, 413, "'input' has 1,025 items; 1,024 are allowed"),
        ({"model": "a", "input": "x" * (MAX_LETTERS + 1)}, 413, "1,000,000 are allowed"),
        ({"model": f"average({', '.join('ab' * 33)})", "input": "no"}, 413, "has 66 refs; 64 are allowed"),
        ({"model": "aa", "input": "no"}, 404, "aa"),
        ({"model": "a@9", "input": "no"}, 404, "a@9"),
        ({"model": "average(a", "input": "no"}, 422, "average(a"),
        ({"model": "average(a, score)", "input": "no"}, 422, ""),
        ({"model": "", "input": "no"}, 422, ""),
    ],
)
def test_a_call_that_is_wrong_is_told_so(running: Running, body: Any, status: int, message: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = running.client.post("/v1/classify", content=content)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, status)
    assert message in error["message"]
    assert set(error) <= {"message", "type", "code", "param", "position"}
    assert ("position" in error) == (error["type"] == "CompositionError" and "average(a" in message)


def test_rows_that_are_wrong_are_named(running: Running) -> None:
    for rows, field in (
        ([], "rows"),
        ([3], "rows[0]"),
        ([{"model": "a", "input": "no"}, {"model": "a"}], "rows[1].input"),
        ([{"model": "a", "input": "no", "x": 1}], "x"),
    ):
        response = running.post("/v1/mixed", {"rows": rows})
        assert (response.status_code, response.json()["error"]["param"]) == (422, field)
    response = running.post("/v1/mixed", {"rows": [{"model": "a", "input": "no"}, {"model": "zz", "input": "no"}]})
    assert response.status_code == 404


def test_bodies_of_other_types_are_refused(running: Running) -> None:
    body = b'{"model": "a", "input": "no"}'
    for headers, status in (
        ({}, 200),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Content-Type": "APPLICATION/JSON"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Encoding": "identity"}, 200),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "gzip, identity"}, 415),
    ):
        response = running.client.post("/v1/classify", content=body, headers=headers)
        assert response.status_code == status, headers
        assert status == 200 or response.json()["error"]["code"] == 415


def test_unknown_paths_methods_and_hosts(running: Running) -> None:
    assert running.client.get("/v1/nothing").status_code == 404
    wrong = running.client.get("/v1/classify")
    assert (wrong.status_code, wrong.headers["allow"], wrong.json()["error"]["code"]) == (405, "POST", 405)
    for host, status in (("evil.example", 400), ("localhost:99", 200), ("127.0.0.1", 200), ("", 400)):
        assert running.client.get("/v2/health/live", headers={"host": host}).status_code == status
    with socket.create_connection((running.client.base_url.host, running.client.base_url.port or 0), 60) as twice:
        twice.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert twice.recv(100).startswith(b"HTTP/1.1 400 ")
    large = running.client.post("/v1/classify", content=b" " * 16_000_001)
    assert (large.status_code, large.json()["error"]["code"]) == (413, 413)


def test_a_damaged_version_fails_alone_and_no_path_is_told(running: Running, registry: Registry) -> None:
    digest = registry.version("b").files[0].sha256
    path = registry.home / "objects" / digest[:2] / digest[2:]
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    response = running.post("/v1/classify", {"model": "b", "input": "no"})
    assert (response.status_code, response.json()["error"]["type"]) == (503, "ObjectCorruptError")
    assert str(registry.home) not in response.text
    assert running.post("/v1/classify", {"model": "a", "input": "no"}).status_code == 200


def test_a_refresh_that_fails_is_not_the_last(
    switcher: Switcher, registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    again = threading.Event()
    failures: list[Exception] = [RuntimeError("nobody expected this"), SettingsError("nor this")]

    def refresh() -> dict[str, str]:
        if failures:
            raise failures.pop()
        again.set()
        return {}

    monkeypatch.setattr(switcher, "refresh", refresh)
    server = Server(switcher, registry, max_batch_tokens=1_000, max_queue=10, hosts=HOSTS, refresh_seconds=0.001)
    with serving(server.app) as client:
        assert again.wait(60)
        assert client.get("/v2/health/ready").status_code == 200
    assert {"refresh: nor this", "refresh failed"} <= {record.getMessage() for record in caplog.records}
