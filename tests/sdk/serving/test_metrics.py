"""What a real server tells of itself: its metrics, its access log and the ids of calls."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.serving import metrics
from pointsman.sdk.serving.app import Server

from helpers import TEXTS
from served import HOSTS, serving


@pytest.fixture
def client(switcher: Switcher, registry: Registry) -> Iterator[httpx.Client]:
    server = Server(switcher, registry, max_batch_tokens=10_000, max_queue=100, hosts=HOSTS)
    with serving(server.app) as client:
        yield client


def classify(client: httpx.Client, model: str, inputs: Any, **options: Any) -> httpx.Response:
    return client.post("/v1/classify", json={"model": model, "input": inputs}, **options)


def scraped(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels in the order of the labels' names."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "pointsman.access"]


def test_calls_by_path_and_status(client: httpx.Client) -> None:
    for _ in range(3):
        assert classify(client, "a", TEXTS).status_code == 200
    classify(client, "unknown", "no")
    client.get("/v1/models/a")
    client.get("/v1/models/average(a, b)")
    client.get("/v1/classify")
    client.get("/v1/nothing")
    client.get("/v1/status", headers={"host": "evil.example"})
    found = scraped(client)
    counts = {key[1:]: value for key, value in found.items() if key[0] == "te_request_count_total"}
    assert counts == {
        ("/v1/classify", "200"): 3,
        ("/v1/classify", "404"): 1,
        ("/v1/models/{ref}", "200"): 2,
        ("/v1/classify", "405"): 1,
        ("other", "404"): 1,
        ("other", "400"): 1,
    }
    assert found["te_request_duration_count", "/v1/classify"] == 5
    assert found["te_request_duration_bucket", "+Inf", "/v1/classify"] == 5
    assert found["te_request_duration_sum", "/v1/classify"] > 0
    assert scraped(client)["te_request_count_total", "/metrics", "200"] == 1


def test_batches(client: httpx.Client) -> None:
    before = scraped(client)
    assert before["te_batch_next_size_count",] == before["te_request_queue_duration_count",] == 0
    classify(client, "a", ["x" * 40, "y" * 80])  # of 12 and 22 tokens
    classify(client, "b", ["x" * 8])  # of 4
    found = scraped(client)
    for name in ("te_batch_next_size", "te_batch_next_tokens"):
        assert found[f"{name}_count",] == 2
    assert (found["te_batch_next_size_sum",], found["te_batch_next_tokens_sum",]) == (3, 38)
    assert found["te_batch_next_size_bucket", "1.0"] == 1
    assert found["te_batch_next_size_bucket", "2.0"] == 2
    for name in ("te_request_queue_duration", "te_request_inference_duration"):
        assert found[f"{name}_count",] == 2
        assert found[f"{name}_sum",] > 0
    whole = found["te_request_duration_sum", "/v1/classify"]
    assert found["te_request_queue_duration_sum",] + found["te_request_inference_duration_sum",] < whole
    assert found["te_queue_size",] == 0


def test_inputs_that_wait(client: httpx.Client, switcher: Switcher, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go, answer = threading.Event(), threading.Event(), switcher._executor.execute

    def execute(*arguments: Any, **options: Any) -> Any:
        began.set()
        assert go.wait(60)
        return answer(*arguments, **options)

    monkeypatch.setattr(switcher._executor, "execute", execute)
    callers = [threading.Thread(target=classify, args=(client, "a", TEXTS[:1]))]
    callers[0].start()
    assert began.wait(60)
    callers += [threading.Thread(target=classify, args=(client, name, TEXTS[:2])) for name in "ab"]
    for caller in callers[1:]:
        caller.start()
    while (found := scraped(client))["te_queue_size",] < 4:
        assert all(caller.is_alive() for caller in callers)
    assert found["te_queue_size",] == 4
    go.set()
    for caller in callers:
        caller.join(60)
    found = scraped(client)
    assert found["te_queue_size",] == 0
    assert (found["te_batch_next_size_count",], found["te_batch_next_size_sum",]) == (2, 5)
    assert found["te_request_queue_duration_count",] == found["te_request_inference_duration_count",] == 3


def test_adapters_in_memory(client: httpx.Client, switcher: Switcher) -> None:
    names = ("pointsman_loaded_adapters", "pointsman_adapter_loads_total", "pointsman_adapter_evictions_total")
    seen = [tuple(scraped(client)[name,] for name in names)]
    for name in "aabca":
        classify(client, name, "no")
        seen.append(tuple(scraped(client)[name,] for name in names))
    assert seen == [(0, 0, 0), (1, 1, 0), (1, 1, 0), (2, 2, 0), (2, 3, 1), (2, 4, 2)]
    status = switcher.status()
    assert (status.loads, status.evictions) == (4, 2)
    assert client.get("/v1/status").json()["loads"] == 4


def test_rows_by_version_have_a_bounded_number_of_labels(
    client: httpx.Client, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MAX_VERSIONS", 2)
    registry.set_alias("b@1", "production")
    classify(client, "a", TEXTS[:2])
    classify(client, "b@production", TEXTS[:3])
    classify(client, "average(a, b)", "no")
    classify(client, "c", TEXTS[:2])
    rows = [{"model": "a", "input": "no"}, {"model": "stack(b, a)", "input": "no"}, {"model": "b", "input": "no"}]
    client.post("/v1/mixed", json={"rows": rows})
    classify(client, "unknown", "no")
    found = {key[1]: value for key, value in scraped(client).items() if key[0] == "pointsman_rows_total"}
    assert found == {"a@1": 3, "b@1": 4, "composition": 2, "other": 2}


def test_rows_are_counted_once_they_are_answered(client: httpx.Client, registry: Registry) -> None:
    digest = registry.version("b").files[0].sha256
    path = registry.home / "objects" / digest[:2] / digest[2:]
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert classify(client, "b", "no").status_code == 503
    assert classify(client, "parallel(a, c)", TEXTS[:2]).status_code == 200
    found = scraped(client)
    assert {key[1]: value for key, value in found.items() if key[0] == "pointsman_rows_total"} == {"a@1": 2, "c@1": 2}
    assert found["te_request_queue_duration_count",] == 2
    assert found["te_request_inference_duration_count",] == 1


def test_servers_count_for_themselves(client: httpx.Client, switcher: Switcher, registry: Registry) -> None:
    classify(client, "a", "no")
    other = Server(switcher, registry, max_batch_tokens=10, max_queue=1, hosts=HOSTS)
    assert b"te_request_count_total{" not in other._metrics.text()


@pytest.mark.parametrize("given", ["1", "job-7.retry_2", "x" * 100])
def test_the_callers_id_is_kept(client: httpx.Client, given: str) -> None:
    for response in (
        classify(client, "a", "no", headers={"x-request-id": given}),
        client.get("/v1/nothing", headers={"x-request-id": given}),
    ):
        assert response.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", [None, "", "x" * 101, "two words", 'a"b', "é".encode(), "a;b", "<b>"])
def test_other_calls_get_an_id_of_their_own(client: httpx.Client, given: Any) -> None:
    headers = {} if given is None else {"x-request-id": given}
    responses = [client.get(path, headers=headers) for path in ("/v2/health/live", "/v1/nothing", "/v1/classify")]
    responses.append(client.get("/v1/status", headers={**headers, "host": "evil.example"}))
    assert [response.status_code for response in responses] == [200, 404, 405, 400]
    ids = {response.headers["x-request-id"] for response in responses}
    assert len(ids) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


def test_a_failure_of_the_server_has_an_id_and_is_counted(
    client: httpx.Client, switcher: Switcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pointsman.access")
    monkeypatch.setattr(switcher, "status", lambda: 1 / 0)
    response = client.get("/v1/status", headers={"x-request-id": "mine"})
    monkeypatch.undo()
    assert (response.status_code, response.headers["x-request-id"]) == (500, "mine")
    with httpx.Client(base_url=client.base_url) as another:  # uvicorn has closed the first one's connection
        assert scraped(another)["te_request_count_total", "/v1/status", "500"] == 1
    assert [(line["request_id"], line["status"]) for line in lines(caplog)][:1] == [("mine", 500)]


def test_the_access_log_has_a_line_for_each_call(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pointsman.access")
    responses = [
        classify(client, "a", TEXTS[:2], headers={"x-request-id": "first"}),
        classify(client, "unknown\n\u2028{", "no"),
        client.post("/v1/mixed", json={"rows": [{"model": name, "input": "no"} for name in "aba"]}),
        client.get("/v1/models/" + "x" * 300),
        client.post("/predict?model=b", json={"inputs": TEXTS[:3]}),
        client.post(
            "/v2/models/c/infer", json={"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["no"]}]}
        ),
    ]
    assert scraped(client)["te_request_count_total", "/v2/models/{name}/infer", "200"] == 1
    found = lines(caplog)[:6]
    assert all("\n" not in record.getMessage() for record in caplog.records if record.name == "pointsman.access")
    assert [line["request_id"] for line in found] == [response.headers["x-request-id"] for response in responses]
    for line in found:
        assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
        assert line.pop("seconds") > 0
        line.pop("request_id")
    classified = {"method": "POST", "path": "/v1/classify"}
    assert found == [
        {**classified, "status": 200, "ref": "a", "versions": ["a@1"], "inputs": 2},
        {**classified, "status": responses[1].status_code, "ref": "unknown\n\u2028{"},
        {"method": "POST", "path": "/v1/mixed", "status": 200, "versions": ["a@1", "b@1"], "inputs": 3},
        {"method": "GET", "path": ("/v1/models/" + "x" * 300)[:200], "status": responses[3].status_code},
        {"method": "POST", "path": "/predict", "status": 200, "ref": "b", "versions": ["b@1"], "inputs": 3},
        {"method": "POST", "path": "/v2/models/c/infer", "status": 200, "ref": "c", "versions": ["c@1"], "inputs": 1},
    ]
    assert all(400 <= responses[number].status_code < 500 for number in (1, 3))
