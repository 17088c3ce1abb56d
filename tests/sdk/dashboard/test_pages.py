"""The pages: what is served, how browsers are bound, and what of it comes from others."""

import base64
import json
import re
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import pytest

import pointsman.sdk.dashboard
from pointsman.sdk.dashboard.pages import content_policy

from dashboards import Dashboard, error_of

STATIC = Path(str(files(pointsman.sdk.dashboard).joinpath("static")))
FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".json": "application/json"}
TYPES |= {".mjs": "text/javascript", ".svg": "image/svg+xml"}


def test_every_file_is_served_as_what_it_is(shown: Dashboard) -> None:
    assert len(FILES) >= 20
    for name in FILES:
        answer = shown.reader.get(f"/ui/{name}")
        assert answer.status_code == 200
        assert answer.content == (STATIC / name).read_bytes()
        kind = TYPES.get(Path(name).suffix, "text/plain")
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
        again = shown.reader.get(f"/ui/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_the_page_may_load_nothing_from_elsewhere(shown: Dashboard) -> None:
    answer = shown.reader.get("/")
    assert answer.text == (STATIC / "index.html").read_text(encoding="utf-8")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["referrer-policy"] == "no-referrer"
    (script,) = re.findall(r'<script type="importmap">(.*?)</script>', answer.text, re.DOTALL)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert answer.headers["content-security-policy"] == (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    for path in json.loads(script)["imports"].values():
        assert shown.reader.get(path).status_code == 200, path
    for path in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        assert path.startswith("/ui/")
        assert shown.reader.get(path).status_code == 200, path


def test_a_page_without_a_script_inside_allows_none() -> None:
    assert "script-src 'self';" in content_policy(b"<p>nothing</p>")


@pytest.mark.parametrize(
    "path",
    ["", "../app.py", "%2e%2e/app.py", "..%2fapp.py", "/etc/passwd", "vendor", "vendor/", "app.js/", "app.js%00"],
)
def test_no_path_leads_out_of_the_pages(path: str, shown: Dashboard) -> None:
    error_of(shown.reader.get(f"/ui/{path}"), 404)


def test_what_comes_from_others_is_listed_and_unchanged() -> None:
    vendor = STATIC / "vendor"
    packages = json.loads((vendor / "vendor.json").read_text(encoding="utf-8"))["packages"]
    assert len(packages) >= 2
    listed = {"vendor.json"}
    for package in packages:
        assert package["name"]
        assert re.fullmatch(r"[0-9]+(\.[0-9]+)+", package["version"])
        assert package["licence"] in ("MIT", "Apache-2.0", "BSD-3-Clause", "ISC")
        assert package["source"].startswith("https://registry.npmjs.org/")
        names = [file["file"] for file in package["files"]]
        assert any(Path(name).name.startswith("LICENSE") for name in names), package["name"]
        for file in package["files"]:
            assert sha256((vendor / file["file"]).read_bytes()).hexdigest() == file["sha256"], file["file"]
            assert file["from"]
        listed |= {*names}
    assert {path.relative_to(vendor).as_posix() for path in vendor.rglob("*") if path.is_file()} == listed
