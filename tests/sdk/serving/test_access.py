"""Who may call the server: files of tokens, and a real server that asks for them."""

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError
from pointsman.sdk import Switcher
from pointsman.sdk.serving.access import Role, Tokens, needed_role, new_token, read_tokens
from pointsman.sdk.serving.app import Server
from pointsman.sdk.tasks import GLUE

from helpers import TEXTS, MakeVersion
from served import serving

TOKENS = {role: f"a-token-for-a-test-with-the-role-{role}" for role in Role}
NEW = {role: new_token(role) for role in Role}
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
}


def digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.unlink(missing_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.fixture
def switcher(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Iterator[Switcher]:
    make_version("a", seed=0)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        yield switcher


@pytest.fixture
def client(switcher: Switcher, registry: Registry, tmp_path: Path) -> Iterator[httpx.Client]:
    lines = "".join(f"{role} {digest(token)}  # for {role}\n" for role, token in TOKENS.items())
    tokens = read_tokens(write(tmp_path / "tokens", lines))
    with serving(Server(switcher, registry, max_batch_tokens=1000, max_queue=100, hosts=None, tokens=tokens)) as client:
        yield client


def call(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    body: dict[str, Any] = {"model": "a", "input": "no"}
    if path == "/v1/mixed":
        body = {"rows": [body]}
    if path.startswith("/predict"):
        body = {"inputs": "no"}
    if path.endswith("/infer"):
        body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["no"]}]}
    return client.request(method, path, json=body if method == "POST" else None, **options)


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
            assert error["message"] == f"this call needs the role {needed}; the token has the role {role}"
            assert (error["type"], error["code"]) == ("ForbiddenError", 403)


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
    with serving(Server(switcher, registry, max_batch_tokens=1000, max_queue=100, hosts=("127.0.0.1",))) as client:
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


def test_the_route_decides_and_not_what_callers_write_into_the_path() -> None:
    async def answer(_: Request) -> Response:
        return Response()

    app = Starlette(
        routes=[
            Route("/v2/health/live", answer),
            Route("/v2/models/{name:path}/infer", answer, methods=["POST", "DELETE"]),
            Route("/v1/aliases/{alias:path}", answer, methods=["GET", "POST", "PUT"]),
            Mount("/ui", routes=[Route("/{path:path}", answer, methods=["GET", "POST"])]),
        ]
    )
    for method, path, role in (
        ("GET", "/v2/health/live", None),
        ("GET", "/v2/health/../../v1/aliases/a", Role.READ),
        ("POST", "/v2/models/a/infer", Role.PREDICT),
        ("DELETE", "/v2/models/a/infer", Role.ADMIN),
        ("POST", "/v1/aliases/infer", Role.ADMIN),
        ("POST", "/v1/aliases/v2/health/live", Role.ADMIN),
        ("PUT", "/v1/aliases/a", Role.ADMIN),
        ("GET", "/ui/a", Role.READ),
        ("POST", "/ui/predict", Role.ADMIN),
    ):
        scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": [], "app": app}
        assert needed_role(scope) == role, (method, path)


def test_a_new_token_is_known_by_its_line(tmp_path: Path) -> None:
    tokens = read_tokens(write(tmp_path / "tokens", "\n".join(line for _, line in NEW.values())))
    for role, (token, line) in NEW.items():
        assert tokens.role_of(token.encode()) is role
        assert token not in line
    assert tokens.role_of(new_token(Role.ADMIN)[0].encode()) is None


def test_a_short_token_is_never_known() -> None:
    for token, role in ((b"x" * 31, None), (b"x" * 32, Role.ADMIN), (b"", None)):
        assert Tokens({sha256(token).digest(): Role.ADMIN}).role_of(token) is role


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no token"),
        ("# nobody\n\n", "has no token"),
        (f"# a comment\r\n\r\nwriter {'0' * 64}", "line 3 of .* found another first word"),
        (f"Read {'0' * 64}", "line 1 of .* found another first word"),
        ("read", "line 1 of .* found one word"),
        (f"read {'0' * 64} alice", "line 1 of .* found 3 words"),
        (f"read {'0' * 64}\nadmin {'0' * 63}", "line 2 of .* a second word of 63 characters that is no sha256"),
        (f"read {'g' * 64}", "a second word of 64 characters that is no sha256"),
        (f"read {'٣' * 64}", "a second word of 64 characters that is no sha256"),
        (f"read {'ab' * 32}\nadmin {'AB' * 32}", "line 2 of .* found the sha256 of an earlier line"),
        (b"read \xff", "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_wrong_is_told_so(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_tokens(write(tmp_path / "tokens", text))


LINES = st.one_of(
    st.text(max_size=100),
    st.tuples(st.sampled_from(["read", "predict", "admin", "root"]), st.binary(min_size=31, max_size=32)).map(
        lambda pair: f"{pair[0]} {pair[1].hex()}"
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, max_size=5))
@example([f"read {NEW[Role.READ][0]}"])
def test_any_text_is_read_or_refused_by_its_line_without_quoting_it(tmp_path: Path, lines: list[str]) -> None:
    path = write(tmp_path / "tokens", "\n".join(lines).encode(errors="replace"))
    try:
        tokens = read_tokens(path)
    except SettingsError as error:
        message = str(error).replace(str(path), "")
        assert re.match(r"(line \d+ of )?the token file ''", message)
        assert not any(len(word) >= 32 and word in message for line in lines for word in line.split())
    else:
        assert isinstance(tokens, Tokens)
        words = [line.partition("#")[0].split() for line in path.read_text().split("\n")]
        assert all(len(pair) == 2 and pair[0] != "root" for pair in words if pair)


def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path) -> None:
    for mode in (0o644, 0o640, 0o620, 0o602, 0o601):
        with pytest.raises(SettingsError, match=f"permissions {mode:04o}, so other users may read or change it"):
            read_tokens(write(tmp_path / "tokens", NEW[Role.READ][1], mode))
    for mode in (0o600, 0o400):
        read_tokens(write(tmp_path / "tokens", NEW[Role.READ][1], mode))
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_tokens(tmp_path / "nothing")
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        read_tokens(tmp_path)
