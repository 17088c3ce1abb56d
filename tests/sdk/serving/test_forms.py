"""The forms of other servers: Hugging Face's, TEI's and the Open Inference Protocol's; and refs that move."""

from typing import Any

import pytest

from helpers import TEXTS
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
        ("/predict?model=a", {"inputs": "no", "parameters": 3}, 422, "'parameters' must be an object"),
        ("/predict?model=a", {"inputs": "no", "parameters": {"top_k": 0}}, 422, "at least 1"),
        ("/predict?model=a", {"inputs": "no", "parameters": {"top_k": True}}, 422, "at least 1"),
        ("/predict?model=a", {"inputs": "no", "parameters": {"function_to_apply": "sigmoid"}}, 422, "found sigmoid"),
        ("/predict?model=a", {"inputs": "no", "parameters": {"x": 1}}, 422, "unknown field 'x' in 'parameters'"),
        ("/v2/models/a/infer", {}, 422, "'inputs' is missing"),
        ("/v2/models/a/infer", {"inputs": []}, 422, "a list of one tensor"),
        ("/v2/models/a/infer", {"inputs": [{"name": "x"}]}, 422, "'inputs[0].datatype' is missing"),
        ("/v2/models/zz/infer", {"inputs": []}, 404, "zz"),
        ("/v2/models/a/versions/9/infer", {"inputs": []}, 404, "a@9"),
        ("/v2/models/a/versions/x/infer", {"inputs": []}, 404, "a@x"),
    ],
)
def test_a_call_that_is_wrong_is_told_so(running: Running, path: str, body: Any, status: int, message: str) -> None:
    response = running.post(path, body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


def tensor(data: Any, shape: list[int], datatype: str = "BYTES") -> dict[str, Any]:
    return {"id": "7", "inputs": [{"name": "text", "datatype": datatype, "shape": shape, "data": data}]}


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
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("a", "a@1", "7")
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
    response = running.post(f"/v2/models/{model}/infer", body)
    assert (response.status_code, response.json()["error"]["code"]) == (422, 422)
