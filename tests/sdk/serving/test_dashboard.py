"""The dashboard at the server of a base."""

from pointsman.registry import Registry

from served import Running


def test_the_server_shows_its_registry(running: Running, registry: Registry) -> None:
    base = running.switcher.base
    about = running.client.get("/api/about").json()
    assert (about["serves"], about["base"]["fingerprint"]) == (True, base.fingerprint)
    assert (about["role"], about["can_change"], about["versions"]) == ("predict", False, 4)
    listed = [item["ref"] for item in running.client.get("/api/versions").json()["items"]]
    assert listed == [version.ref for version in registry.versions()]
    assert running.client.get("/").status_code == 200
    version = running.client.get("/api/versions/a@1").json()
    assert version["config"][0].keys() >= {"name", "value", "differs"}
    answer = running.post("/v1/mixed", {"rows": [{"model": version["ref"], "input": "a film"}]})
    assert answer.json()["data"][0]["version"] == "a@1"


def test_without_tokens_nobody_changes_anything(running: Running, registry: Registry) -> None:
    before = registry.events()
    answer = running.client.put("/api/versions/a@1/note", json={"note": "x"})
    assert answer.status_code == 403
    assert "callers without a token have the role predict" in answer.json()["error"]["message"]
    assert registry.events() == before
