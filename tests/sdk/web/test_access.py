"""Files of tokens, and the role that each endpoint needs."""

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pointsman.registry.errors import SettingsError
from pointsman.sdk.web.access import Access, Role, Tokens, new_token, read_tokens
from pointsman.sdk.web.app import build_app
from pointsman.sdk.web.calls import call_of
from pointsman.sdk.web.endpoints import Endpoint

from served import serving

NEW = {role: new_token(role) for role in Role}
KNOWN = Tokens.of_lines(line for _, line in NEW.values())


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.unlink(missing_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


async def answer(http: Request) -> Response:
    role = call_of(http).role
    return JSONResponse({"route": call_of(http).route, "role": None if role is None else str(role)})


ENDPOINTS = [
    Endpoint("GET", "/health", answer, role=None),
    Endpoint("POST", "/models/{name:path}/infer", answer, role=Role.PREDICT),
    Endpoint("PUT", "/aliases/{alias:path}", answer, role=Role.ADMIN),
    Endpoint("GET", "/aliases/{alias:path}", answer, role=Role.READ),
]


def served(tokens: Tokens | None, anonymous: Role | None) -> Iterator[httpx.Client]:
    with serving(build_app(ENDPOINTS, access=Access(tokens=tokens, anonymous=anonymous), hosts=None)) as client:
        yield client


def test_the_route_decides_and_not_what_callers_write_into_the_path() -> None:
    for client in served(None, None):
        for method, path, status in (
            ("GET", "/health", 200),
            ("GET", "/health/../aliases/a", 401),
            ("POST", "/models/a/infer", 401),
            ("POST", "/aliases/health", 401),
            ("PUT", "/aliases/models/a/infer", 401),
            ("GET", "/aliases/health", 401),
            ("GET", "/nothing", 401),
            ("POST", "/health", 405),
        ):
            assert client.request(method, path).status_code == status, (method, path)


@pytest.mark.parametrize("anonymous", [None, *Role])
def test_callers_have_the_role_of_their_token_or_that_of_callers_without_one(anonymous: Role | None) -> None:
    roles = [(anonymous, {}), *((role, {"Authorization": f"Bearer {NEW[role][0]}"}) for role in Role)]
    for client in served(KNOWN, anonymous):
        for role, headers in roles:
            for method, path, needed in (
                ("GET", "/aliases/a", Role.READ),
                ("POST", "/models/a/infer", Role.PREDICT),
                ("PUT", "/aliases/a", Role.ADMIN),
            ):
                response = client.request(method, path, headers=headers)
                if role is None:
                    assert response.status_code == 401
                elif role < needed:
                    assert response.status_code == 403
                else:
                    assert response.json()["role"] == str(role)
        for wrong in ("", "Bearer", "Basic abc", f"Bearer {'x' * 40}"):
            assert client.get("/aliases/a", headers={"Authorization": wrong}).status_code == 401


def test_a_call_is_recorded_under_the_path_of_its_endpoint() -> None:
    for client in served(None, Role.ADMIN):
        assert client.get("/aliases/a/b").json()["route"] == "/aliases/{alias}"
        assert client.get("/aliases/a/b", headers={"X-Request-Id": "mine"}).headers["X-Request-Id"] == "mine"


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
