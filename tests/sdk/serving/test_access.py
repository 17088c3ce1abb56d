"""Who may call the server: a real one that asks for tokens."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.serving.app import Server
from pointsman.sdk.tasks import GLUE
from pointsman.sdk.web.access import Role, read_tokens

from helpers import TEXTS, MakeVersion
from served import serving

TOKENS = {role: f"a-token-for-a-test-with-the-role-{role}" for role in Role}
CALLS: dict[tuple[str, str], Role] = {
    ("GET", "/v1/models"): Role.READ,
    ("HEAD", "/v1/models"): Role.READ,
    ("GET", "/v1/models/a"): Role.READ,
    ("GET", "/v1/status"): Role.READ,
    ("POST", "/v1/classify"): Role.PREDICT,
    ("POST", "/classify"): Role.PREDICT,
    ("POST", "/v1/mixed"): Role.PREDICT,
    ("POST", "/predict?model=a"): Role.PREDICT,
    ("POST", "/v2/models/a/infer"): Role.PREDICT,
    ("POST", "/v2/models/a/versions/1/infer"): Role.PREDICT,
    ("POST", "/v1/refresh"): Role.ADMIN,
    ("GET", "/api/versions"): Role.READ,
    ("PUT", "/api/versions/a@1/note"): Role.ADMIN,
}


def digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


@pytest.fixture
def switcher(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Iterator[Switcher]:
    make_version("a", seed=0)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        yield switcher


@pytest.fixture
def client(switcher: Switcher, registry: Registry, tmp_path: Path) -> Iterator[httpx.Client]:
    lines = "".join(f"{role} {digest(token)}  # for {role}\n" for role, token in TOKENS.items())
    (tmp_path / "tokens").write_text(lines)
    (tmp_path / "tokens").chmod(0o600)
    tokens = read_tokens(tmp_path / "tokens")
    with serving(
        Server(switcher, registry, max_batch_tokens=1000, max_queue=100, hosts=None, tokens=tokens).app
    ) as client:
        yield client


def call(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    body: dict[str, Any] = {"model": "a", "input": "no"}
    if path == "/v1/mixed":
        body = {"rows": [body]}
    if path.startswith("/predict"):
        body = {"inputs": "no"}
    if path.endswith("/infer"):
        body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["no"]}]}
    if path.endswith("/note"):
        body = {"note": "x"}
    return client.request(method, path, json=body if method in ("POST", "PUT") else None, **options)


def test_each_role_may_what_those_before_it_may(client: httpx.Client) -> None:
    for (method, path), needed in CALLS.items():
        for role, token in TOKENS.items():
            response = call(client, method, path, headers={"Authorization": f"Bearer {token}"})
            if role >= needed:
                assert response.status_code == 200, (method, path, role)
                continue
            assert response.status_code == 403, (method, path, role)
            assert response.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{needed}"'
            error = response.json()["error"]
            message = f"this call needs the role {needed}; the token has the role {role}"
            is_protocol = path.startswith("/v2/")
            assert error == (message if is_protocol else {"message": message, "type": "ForbiddenError", "code": 403})


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Bearer"],
        [TOKENS[Role.ADMIN]],
        [f"Basic {TOKENS[Role.ADMIN]}"],
        [f"Bearer {TOKENS[Role.READ]}", f"Bearer {TOKENS[Role.ADMIN]}"],
    ],
)
def test_a_call_without_a_token_is_told_to_name_one(client: httpx.Client, values: list[str]) -> None:
    headers = [("Authorization", value) for value in values]
    for method, path in (*CALLS, ("GET", "/v1/nothing"), ("OPTIONS", "/v1/classify"), ("PATCH", "/v1/models")):
        response = call(client, method, path, headers=headers)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert "access-control-allow-origin" not in response.headers
    for path in ("live", "ready"):
        assert client.get(f"/v2/health/{path}", headers=headers).status_code == 200


def test_a_token_that_is_wrong_opens_nothing(client: httpx.Client) -> None:
    token = TOKENS[Role.ADMIN]
    for wrong in (token[:-1], f"{token}x", token.upper(), digest(token), f"{token} {token}", "é" * 40):
        response = call(client, "GET", "/v1/models", headers={"Authorization": f"Bearer {wrong}".encode()})
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert wrong not in response.text
    for scheme in ("bearer", "BEARER"):
        assert client.get("/v1/models", headers={"Authorization": f"{scheme} {token}"}).status_code == 200


def test_a_call_that_no_route_answers_needs_a_token_of_any_role(client: httpx.Client) -> None:
    authorized = {"Authorization": f"Bearer {TOKENS[Role.READ]}"}
    for method, path, status in (
        ("POST", "/v1/nothing", 404),
        ("DELETE", "/v1/models", 405),
        ("PUT", "/classify", 405),
    ):
        assert call(client, method, path, headers=authorized).status_code == status


def test_without_a_file_all_may_read_and_predict(switcher: Switcher, registry: Registry) -> None:
    with serving(Server(switcher, registry, max_batch_tokens=1000, max_queue=100, hosts=("127.0.0.1",)).app) as client:
        for (method, path), needed in CALLS.items():
            response = call(client, method, path)
            assert response.status_code == (403 if needed is Role.ADMIN else 200)
        error = call(client, "POST", "/v1/refresh").json()["error"]
        assert error["message"] == "this call needs the role admin; callers without a token have the role predict"


def test_an_alias_moves_when_an_admin_refreshes(
    client: httpx.Client, switcher: Switcher, registry: Registry, make_version: MakeVersion
) -> None:
    client.headers["Authorization"] = f"Bearer {TOKENS[Role.ADMIN]}"
    make_version("a", GLUE["sst2"], seed=9)
    registry.set_alias("a@1", "production")
    body = {"model": "a@production", "input": TEXTS}
    before = client.post("/v1/classify", json=body).json()
    registry.set_alias("a@2", "production")
    assert client.post("/v1/classify", json=body).json()["data"] == before["data"]
    changes = client.post("/v1/refresh").json()["changes"]
    assert changes["a@production"] == "a@2"
    after = client.post("/v1/classify", json=body).json()
    assert (before["version"], after["version"]) == ("a@1", "a@2")
    assert [item["label"] for item in after["data"]] == [each.label for each in switcher.predict("a@2", TEXTS)]
