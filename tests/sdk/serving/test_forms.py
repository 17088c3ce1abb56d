"""The forms of other servers: Hugging Face's, TEI's and the Open Inference Protocol's; and refs that move."""

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch

from pointsman.registry import Registry
from pointsman.sdk import Prediction
from pointsman.sdk.serving.payloads import PredictCall

from helpers import TEXTS, PlainAdapters
from served import Running


def ranked(answer: Any) -> list[dict[str, Any]]:
    return [
        {"label": label, "score": pytest.approx(score, abs=1e-5)}
        for label, score in sorted(answer.probabilities.items(), key=lambda item: -item[1])
    ]


def test_predict_in_the_form_of_pipelines(running: Running) -> None:
    expected = [ranked(answer) for answer in running.switcher.predict("a", TEXTS)]
    response = running.post("/predict?model=a", {"inputs": TEXTS})
    assert (response.json(), response.headers["x-version"]) == (expected, "a@1")
    assert running.post("/predict", {"inputs": TEXTS[0]}, headers={"X-Model": "a"}).json() == expected[0]
    first = running.post("/predict?model=a", {"inputs": TEXTS, "parameters": {"top_k": 1}}).json()
    assert first == [classes[:1] for classes in expected]


def test_a_pair_is_one_input_of_a_task_of_pairs(running: Running) -> None:
    pair = ["a film", "a movie"]
    (answer,) = running.switcher.predict("pairs", [pair])
    assert running.post("/predict?model=pairs", {"inputs": pair}).json() == ranked(answer)
    assert running.post("/predict?model=pairs", {"inputs": [pair, pair]}).json() == [ranked(answer)] * 2
    assert len(running.post("/predict?model=a", {"inputs": pair}).json()) == 2
    (score,) = running.switcher.predict("score", [pair])
    found = running.post("/predict?model=score", {"inputs": pair}).json()
    assert found == [{"label": None, "score": pytest.approx(score.score, abs=1e-5)}]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/predict", {"inputs": "no"}, 422, "'model' or the header X-Model"),
        ("/predict?model=zz", {"inputs": "no"}, 404, "zz"),
        ("/predict?model=parallel(a,b)", {"inputs": "no"}, 422, "more than one answer"),
        ("/predict?model=a", {}, 422, "'inputs' is missing"),
        ("/predict?model=a", {"inputs": "no", "parameters": []}, 422, "found an empty list"),
        ("/predict?model=a", {"inputs": "no", "parameters": 3}, 422, "'parameters' must be an object or null"),
        ("/predict?model=a", {"inputs": "no", "parameters": {"top_k": 0}}, 422, "at least 1"),
        ("/predict?model=a", {"inputs": "no", "parameters": {"top_k": True}}, 422, "at least 1"),
        ("/predict?model=a", {"inputs": "no", "parameters": {"function_to_apply": "relu"}}, 422, "found 'relu'"),
        ("/predict?model=a&model=b", {"inputs": "no"}, 422, "the one ref that answers; found 'a' and 'b'"),
        ("/predict?model=a", {"inputs": "no", "parameters": {"x": 1}}, 422, "unknown field 'x' in 'parameters'"),
    ],
)
def test_a_call_that_is_wrong_is_told_so(running: Running, path: str, body: Any, status: int, message: str) -> None:
    response = running.post(path, body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_functions_of_classes_are_those_of_the_heads_outputs(
    running: Running, registry: Registry, tiny_base: Path, tmp_path: Path, function: str
) -> None:
    registry.export("a", tmp_path / "a")
    logits = PlainAdapters(tiny_base).logits(tmp_path / "a", TEXTS)
    rows = {"softmax": logits.softmax(1), "sigmoid": logits.sigmoid(), "none": logits}[function]
    body = {"inputs": TEXTS, "parameters": {"function_to_apply": function}}
    for found, row in zip(running.post("/predict?model=a", body).json(), rows.tolist(), strict=True):
        scores = dict(zip(("negative", "positive"), row, strict=True))
        assert [item["label"] for item in found] == sorted(scores, key=lambda label: -scores[label])
        assert {item["label"]: item["score"] for item in found} == pytest.approx(scores, abs=1e-4)
    first = running.post(
        "/predict?model=a", {**body, "parameters": {"function_to_apply": function, "top_k": 1.0}}
    ).json()
    assert [len(classes) for classes in first] == [1] * len(TEXTS)


def test_a_regression_has_its_value_and_no_function(running: Running) -> None:
    body = {"inputs": ["a film", "a movie"]}
    values = [
        running.post("/predict?model=score", {**body, "parameters": {"function_to_apply": function}})
        for function in (None, "none", "softmax", "sigmoid")
    ]
    assert [response.status_code for response in values] == [200, 200, 422, 422]
    assert values[0].json() == values[1].json()
    assert "has no classes; found 'softmax'" in values[2].json()["error"]["message"]


@pytest.mark.parametrize("logit", [-1000.0, -40.0, 0.0, 40.0, 1000.0])
def test_the_sigmoid_of_any_logit(logit: float) -> None:
    call = PredictCall(inputs=["no"], is_batch=False, top_k=None, function="sigmoid")
    (found,) = call.classes(Prediction("yes", 1.0, {"yes": 1.0}, logits=(logit,)))
    expected = float(torch.tensor(logit, dtype=torch.float64).sigmoid())
    assert found["score"] == pytest.approx(expected, rel=1e-12)


def test_what_is_not_finite_is_null() -> None:
    call = PredictCall(inputs=["no"], is_batch=False, top_k=None, function=None)
    assert call.classes(Prediction("yes", nan, {"yes": nan, "no": 0.5})) == [
        {"label": "yes", "score": None},
        {"label": "no", "score": 0.5},
    ]
    assert call.classes(Prediction(None, inf)) == [{"label": None, "score": None}]


def tensor(data: Any, shape: list[int], datatype: str = "BYTES") -> dict[str, Any]:
    return {"id": "7", "inputs": [{"name": "text", "datatype": datatype, "shape": shape, "data": data}]}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("a", {}, 422, "'inputs' is missing"),
        ("a", {"inputs": []}, 422, "a list of one tensor"),
        ("a", {"inputs": [{"name": "text"}]}, 422, "'inputs[0].shape' is missing"),
        ("a", {"inputs": [{**tensor(["no"], [1])["inputs"][0], "name": "x"}]}, 422, "must be 'text'; found 'x'"),
        ("a", {**tensor(["no"], [1]), "outputs": [{"name": "x"}]}, 422, "must be label or probabilities; found 'x'"),
        ("score", {**tensor(["a", "b"], [1, 2]), "outputs": [{"name": "label"}]}, 422, "must be score; found 'label'"),
        ("zz", tensor(["no"], [1]), 404, "zz"),
        ("a/versions/9", tensor(["no"], [1]), 404, "a@9"),
        ("a/versions/x", tensor(["no"], [1]), 404, "a@x"),
        ("a", tensor(["no"] * 1025, [1025]), 413, "1,025 rows"),
        ("a", tensor(["no"] * 2049, [2049]), 413, "2,049 items"),
    ],
)
def test_errors_of_the_open_inference_protocol_are_texts(
    running: Running, path: str, body: Any, status: int, message: str
) -> None:
    response = running.post(f"/v2/models/{path}/infer", body)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert message in response.json()["error"]


def test_binary_tensors_are_refused(running: Running) -> None:
    headers = {"Inference-Header-Content-Length": "7", "Content-Type": "application/octet-stream"}
    response = running.client.post("/v2/models/a/infer", content=b'{"a":1}\0', headers=headers)
    assert response.status_code == 415
    assert "no binary data extension" in response.json()["error"]


def test_outputs_are_those_that_a_call_asks_for(running: Running) -> None:
    every = running.post("/v2/models/a/infer", tensor(["no"], [1])).json()["outputs"]
    for asked in (["label"], ["probabilities"], ["probabilities", "label"], []):
        body = {**tensor(["no"], [1]), "outputs": [{"name": name} for name in asked]}
        outputs = running.post("/v2/models/a/infer", body).json()["outputs"]
        assert outputs == [output for output in every if output["name"] in asked or not asked]


def test_the_open_inference_protocol(running: Running) -> None:
    assert running.client.get("/v2").json()["name"] == "pointsman"
    about = running.client.get("/v2/models/a").json()
    assert (about["name"], about["versions"], about["inputs"]) == (
        "a",
        ["1"],
        [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
    )
    assert running.client.get("/v2/models/pairs/versions/1").json()["inputs"][0]["shape"] == [-1, 2]
    assert running.client.get("/v2/models/score").json()["outputs"] == [
        {"name": "score", "datatype": "FP32", "shape": [-1]}
    ]
    assert running.client.get("/v2/models/average(a, b)").json()["versions"] == []
    assert running.client.get("/v2/models/a/ready").json() == {"name": "a", "ready": True}
    assert running.client.get("/v2/models/zz/ready").status_code == 404

    answer = running.post("/v2/models/a/versions/1/infer", tensor(TEXTS, [len(TEXTS)])).json()
    expected = running.switcher.predict("a", TEXTS)
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("a", "1", "7")
    labels, probabilities = answer["outputs"]
    assert labels["data"] == [each.label for each in expected]
    assert probabilities["shape"] == [len(TEXTS), 2]
    assert probabilities["data"] == pytest.approx(
        [value for each in expected for value in (each.probabilities or {}).values()], abs=1e-5
    )
    pairs = [["a film", "a movie"], ["no", "yes"]]
    flat = [text for pair in pairs for text in pair]
    for ref in ("pairs", "score"):
        nested, flattened = (
            running.post(f"/v2/models/{ref}/infer", tensor(data, [2, 2])).json()["outputs"] for data in (pairs, flat)
        )
        assert nested == flattened
        expected = running.switcher.predict(ref, pairs)
        assert nested[0]["data"] == [
            each.label if each.label is not None else pytest.approx(each.score, abs=1e-5) for each in expected
        ]


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("a", tensor(["no"], [2])),
        ("a", tensor(["no", "no"], [1, 2])),
        ("a", tensor([1], [1])),
        ("a", tensor("no", [1])),
        ("a", tensor([], [0])),
        ("a", tensor(["no"], [1], "FP32")),
        ("pairs", tensor(["no", "no", "no"], [1, 2])),
        ("pairs", tensor(["no", "no"], [2])),
    ],
)
def test_tensors_that_do_not_fit_are_refused(running: Running, model: str, body: Any) -> None:
    assert running.post(f"/v2/models/{model}/infer", body).status_code == 422
