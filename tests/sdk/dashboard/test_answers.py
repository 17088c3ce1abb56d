"""Headers of answers: ETags, what browsers may do, and who may call."""

from collections.abc import Iterator
from hashlib import sha256

import httpx
import pytest

from pointsman.registry import Registry
from pointsman.sdk.dashboard.app import dashboard
from pointsman.sdk.web.access import Access, Role, Tokens, new_token

from dashboards import Dashboard, error_of
from served import HOSTS, serving


def test_what_has_not_changed_is_not_sent_again(shown: Dashboard) -> None:
    first = shown.reader.get("/api/versions")
    etag = first.headers["etag"]
    assert etag == f'"{sha256(first.content).hexdigest()}"'
    assert first.headers["cache-control"] == "no-cache"
    for held in (etag, f'W/{etag}, "other"', "*"):
        again = shown.reader.get("/api/versions", headers={"If-None-Match": held})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert shown.reader.get("/api/versions", headers={"If-None-Match": '"other"'}).status_code == 200
    shown.registry.set_note("cola@1", "new")
    changed = shown.reader.get("/api/versions", headers={"If-None-Match": etag})
    assert (changed.status_code, changed.headers["etag"] == etag) == (200, False)


def test_head_is_get_without_a_body(shown: Dashboard) -> None:
    for path in ("/", "/api/versions"):
        got, head = shown.reader.get(path), shown.reader.head(path)
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", got.headers["etag"])


def test_another_name_is_refused(shown: Dashboard) -> None:
    for path in ("/", "/api/about"):
        error_of(shown.reader.get(path, headers={"host": "rebound.example"}), 400, "this server answers to")


@pytest.fixture
def guarded(filled: Registry) -> Iterator[tuple[httpx.Client, dict[Role, str]]]:
    """As with a token file, and a token of each role."""
    made = {role: new_token(role) for role in Role}
    tokens = Tokens.of_lines(line for _, line in made.values())
    app = dashboard(filled, access=Access(tokens=tokens, anonymous=None), hosts=HOSTS)
    with serving(app) as client:
        yield client, {role: token for role, (token, _) in made.items()}


def test_with_tokens_the_page_is_public_and_the_registry_is_not(
    guarded: tuple[httpx.Client, dict[Role, str]],
) -> None:
    client, tokens = guarded
    assert client.get("/").status_code == 200
    error_of(client.get("/api/about"), 401, "this call needs a token")
    for role, token in tokens.items():
        headers = {"Authorization": f"Bearer {token}"}
        about = client.get("/api/about", headers=headers).json()
        assert (about["role"], about["can_change"]) == (str(role), role is Role.ADMIN)
        changed = client.put("/api/versions/cola@1/note", json={"note": "x"}, headers=headers)
        assert changed.status_code == (200 if role is Role.ADMIN else 403)
