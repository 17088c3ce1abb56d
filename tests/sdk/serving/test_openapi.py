"""The document of the server: it has every endpoint, and what it says is true of a real server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.serving.app import Server
from pointsman.sdk.serving.open_inference import INFER_CALL
from pointsman.sdk.serving.payloads import CLASSIFY_CALL, MIXED_CALL, PREDICT_CALL
from pointsman.sdk.tasks import GLUE
from pointsman.sdk.web.access import Role, Tokens
from pointsman.sdk.web.errors import BadRequestError
from pointsman.sdk.web.schemas import check

from helpers import MakeVersion
from served import HOSTS, Running, serving

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "10"))
"""Of each operation, beside those that its schema's bounds give; a larger number is a longer search by hand."""

TOKEN = "a-token-of-the-tests-with-the-role-admin"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture
def switcher(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Iterator[Switcher]:
    """With the adapters of the document's examples, and a regression."""
    for seed, name in enumerate(("sst2", "mrpc", "stsb")):
        make_version(name, GLUE[name], seed=seed)
    registry.set_alias("sst2@1", "production")
    with Switcher(str(tiny_base), registry=registry) as made:
        yield made


@pytest.fixture(params=["open", "tokens"])
def described(request: pytest.FixtureRequest, switcher: Switcher, registry: Registry) -> Iterator[Running]:
    tokens = Tokens({sha256(TOKEN.encode()).digest(): Role.ADMIN}) if request.param == "tokens" else None
    server = Server(switcher, registry, max_batch_tokens=10_000, max_queue=100, hosts=HOSTS, tokens=tokens)
    with serving(server.app) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield Running(server, switcher, client)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield method.upper(), path, operation


def test_the_document_has_every_endpoint_and_nothing_else(described: Running) -> None:
    document = described.client.get("/openapi.json").json()
    validate(document)
    found = [(method, path) for method, path, _ in operations(document)]
    endpoints = [
        (endpoint.method, endpoint.path_format) for endpoint in described.server.endpoints if endpoint.operation
    ]
    assert sorted(found) == sorted(endpoints)
    assert len(set(endpoints)) == len(endpoints) >= 18
    for method, path, operation in operations(document):
        named = {part["name"] for part in operation["parameters"] if part.get("in") == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}, (method, path)


def test_its_examples_are_answered(described: Running) -> None:
    document = described.client.get("/openapi.json").json()
    for method, path, operation in operations(document):
        parameters = [part for part in operation["parameters"] if "$ref" not in part]
        filled = path.format(**{part["name"]: part["example"] for part in parameters if part["in"] == "path"})
        query = {part["name"]: part["example"] for part in parameters if part["in"] == "query"}
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        response = described.client.request(method, filled, params=query, json=body)
        is_refused = path == "/v1/refresh" and "403" in operation["responses"] and not operation["security"]
        assert response.status_code == (403 if is_refused else 200), (method, path, response.text)


def test_calls_that_it_allows_or_forbids_are_answered_as_it_says(described: Running, tmp_path: Path) -> None:
    document = described.client.get("/openapi.json")
    # Of a document that comes from the server, the call that gives it would not be made.
    (tmp_path / "openapi.json").write_bytes(document.content)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", Path(__file__).with_name("schemathesis.toml")]
    command += ["run", "openapi.json", "--url", str(described.client.base_url), "--checks", "all"]
    command += ["--max-examples", str(EXAMPLES), "--header", f"Authorization: Bearer {TOKEN}"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-5000:]}{done.stderr[-2000:]}"
    tested = re.search(r"Tested: +(\d+)", done.stdout)
    assert tested is not None
    assert int(tested[1]) == len(list(operations(document.json())))


BODIES = {"classify": CLASSIFY_CALL, "mixed": MIXED_CALL, "predict": PREDICT_CALL, "infer": INFER_CALL}
NAMES = ["model", "input", "inputs", "rows", "user", "parameters", "top_k", "function_to_apply", "outputs", "id", "x"]
NAMES += ["name", "shape", "datatype", "data"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3) | st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["softmax", "none", "BYTES", "text", "sst2", ""]) | st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


def near(schema: Any, *, is_odd: bool) -> st.SearchStrategy[Any]:
    """Values that fit a schema; or that mostly do, so that what is near its edges is seen."""
    kinds = schema.get("type", "null")
    options: list[st.SearchStrategy[Any]] = [VALUES] if is_odd else []
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind == "object":
            fields = {name: near(field, is_odd=is_odd) for name, field in schema.get("properties", {}).items()}
            needed = {name: fields.pop(name) for name in schema.get("required", ())}
            options += [st.fixed_dictionaries({} if is_odd else needed, optional=fields)]
            options += [st.fixed_dictionaries(needed, optional=fields)] * 2
        if kind == "array":
            size = schema.get("minItems", 0)
            options += [st.lists(near(schema.get("items", {}), is_odd=is_odd), min_size=size, max_size=size + 2)] * 3
        if kind == "string":
            options += [st.sampled_from([each for each in schema.get("enum", ["sst2"]) if each is not None])] * 3
        if kind == "integer":
            options += [st.integers(schema.get("minimum", 0), 9)] * 3
    return st.one_of(options) if options else VALUES


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_accepted_where_the_schema_allows_it(name: str) -> None:
    validator = jsonschema_rs.Draft202012Validator(BODIES[name])
    seen: set[bool] = set()

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(near(BODIES[name], is_odd=False) | near(BODIES[name], is_odd=True))
    def run(value: Any) -> None:
        is_valid = validator.is_valid(value)
        seen.add(is_valid)
        if is_valid:
            check(BODIES[name], value)
        else:
            with pytest.raises(BadRequestError) as caught:
                check(BODIES[name], value)
            assert caught.value.status in (413, 422)

    run()
    assert seen == {True, False}
