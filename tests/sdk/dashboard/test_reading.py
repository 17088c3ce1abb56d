"""What the API answers to those who look."""

import math
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from pointsman.registry import Registry
from pointsman.registry.search.run_fields import RUNS
from pointsman.registry.search.version_fields import VERSIONS

from dashboards import Dashboard, recorded
from shapes import FIELDS, RUN

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"


def test_about(shown: Dashboard) -> None:
    about = shown.get("/api/about")
    assert about == {
        "version": about["version"],
        "registry": shown.registry.database.identity,
        "role": "read",
        "can_change": False,
        "serves": False,
        "base": None,
        "adapters": 3,
        "versions": 4,
        "runs": 1,
    }
    admin = shown.change("GET", "/api/about").json()
    assert (admin["role"], admin["can_change"]) == ("admin", True)


def test_a_list_of_versions(shown: Dashboard) -> None:
    page = shown.get("/api/versions")
    assert [item["ref"] for item in page["items"]] == ["cola@1", "mix@1", "sst2@1", "sst2@2"]
    assert (page["total"], page["offset"], page["damaged"]) == (4, 0, [])
    second = page["items"][3]
    assert second == {
        **{name: second[name] for name in ("size", "created_at")},
        "ref": "sst2@2",
        "name": "sst2",
        "number": 2,
        "task": "sst2",
        "kind": "adapter",
        "method": "seq_bn",
        "base": {"name": "tiny", "fingerprint": "ab" * 32},
        "parameters": 100,
        "primary_metric": "eval/accuracy",
        "score": 0.75,
        "metrics": {"eval/accuracy": 0.75, "eval/f1": "NaN"},
        "aliases": ["production"],
        "tags": {},
        "note": None,
        "run": None,
    }
    assert page["items"][2]["run"] == shown.registry.version("sst2@1").run
    assert page["items"][0]["note"] == "a\nb"


@pytest.mark.parametrize(
    ("query", "refs", "total"),
    [
        ({"where": "eval/accuracy > 0.6"}, ["sst2@2"], 1),
        ({"where": ""}, ["cola@1", "mix@1", "sst2@1", "sst2@2"], 4),
        ({"sort": "score", "limit": 1}, ["sst2@2"], 4),
        ({"sort": "created", "reverse": 1, "limit": 2, "offset": 1}, ["sst2@2", "cola@1"], 4),
        ({"newest": 1}, ["cola@1", "mix@1", "sst2@2"], 3),
        ({"name": "sst2", "newest": "0"}, ["sst2@1", "sst2@2"], 2),
        ({"name": "unknown"}, [], 0),
        ({"offset": 2**63 - 1}, [], 4),
    ],
    ids=str,
)
def test_a_page_of_versions(query: dict[str, Any], refs: list[str], total: int, shown: Dashboard) -> None:
    page = shown.get("/api/versions", **query)
    assert ([item["ref"] for item in page["items"]], page["total"]) == (refs, total)


def test_one_version(shown: Dashboard) -> None:
    version = shown.registry.version("sst2@1")
    found = shown.get("/api/versions/sst2@1")
    assert found["ref"] == "sst2@1"
    assert (found["digest"], found["max_length"]) == (version.digest, 128)
    assert (found["labels"], found["text"], found["description"]) == (["negative", "positive"], [], None)
    assert [(file["name"], file["size"]) for file in found["files"]] == [
        ("adapter.safetensors", 7),
        ("adapter_config.json", 2),
    ]
    assert {"name": "reduction_factor", "value": 16, "default": 16, "differs": False} in found["config"]
    assert (found["base"]["model_type"], found["base"]["fingerprint"]) == ("bert", "ab" * 32)
    assert (found["run"]["uid"], found["run"]["version"]) == (version.run, "sst2@1")
    assert found["siblings"] == [2, 1]
    assert (found["parents"], found["composition"], found["evaluation"]) == ([], None, None)
    assert shown.get("/api/versions/sst2@production")["ref"] == "sst2@2"
    assert shown.get("/api/versions/sst2%40best")["ref"] == "sst2@2"


def test_a_composition_and_its_lineage(shown: Dashboard) -> None:
    mix = shown.get("/api/versions/mix")
    assert mix["composition"] == "average(sst2@1, sst2@2)"
    assert [(parent["ref"], parent["role"], parent["present"]) for parent in mix["parents"]] == [
        ("sst2@1", "member", True),
        ("sst2@2", "member", True),
    ]
    shown.registry.remove("sst2@1", force=True)
    graph = shown.get("/api/lineage/sst2@2")
    assert graph["ref"] == "sst2@2"
    assert {node["ref"]: (node["present"], node["method"], node["score"]) for node in graph["nodes"]} == {
        "sst2@2": (True, "seq_bn", 0.75),
        "mix@1": (True, "average", 0.5),
        "sst2@1": (False, None, None),
    }
    assert graph["edges"] == [
        {"from": "sst2@1", "to": "mix@1", "role": "member"},
        {"from": "sst2@2", "to": "mix@1", "role": "member"},
    ]
    assert [node["ref"] for node in shown.get("/api/lineage/cola@1")["nodes"]] == ["cola@1"]


def test_an_adapter(shown: Dashboard) -> None:
    assert shown.get("/api/adapters/sst2") == {"name": "sst2", "numbers": [2, 1], "aliases": {"production": 2}}


def test_runs(shown: Dashboard) -> None:
    failing = pytest.raises(ValueError, match="out of luck")
    with failing, shown.registry.start_run("cola", **RUN | {"seed": 7}):
        raise ValueError("out of luck")
    page = shown.get("/api/runs")
    assert [(run["adapter"], run["status"], run["error"]) for run in page["items"]] == [
        ("cola", "failed", "out of luck"),
        ("sst2", "finished", None),
    ]
    assert (page["total"], page["offset"], page["damaged"]) == (2, 0, [])
    assert shown.get("/api/runs", adapter="cola")["items"] == page["items"][:1]
    assert shown.get("/api/runs", where="status = finished", limit=1)["items"] == page["items"][1:]
    assert page["items"][1]["version"] == "sst2@1"
    run = shown.get(f"/api/runs/{page['items'][1]['uid']}")
    assert run["last"] == {"eval/accuracy": 0.98, "train/loss": 0.02}
    assert run["settings"] == [
        {"name": "learning_rate", "value": 0.001, "default": None, "requested": False},
        {"name": "epochs", "value": 2.0, "default": None, "requested": True},
    ]
    assert (run["data"], run["environment"]) == (
        [{"name": "rows", "value": "3"}],
        [{"name": "python", "value": "3.11"}],
    )
    assert [metric["key"] for metric in run["metrics"]] == ["eval/accuracy", "train/loss"]
    assert shown.get("/api/summaries", of=f"run:{run['uid']}") == {"metrics": run["metrics"]}
    assert shown.get("/api/summaries", of="sst2@1") == {"metrics": run["metrics"]}


@pytest.mark.parametrize("settings", [{"steps": 80}, {"max_steps": 80}])
def test_a_run_that_runs_says_how_far_it_is(shown: Dashboard, settings: dict[str, Any]) -> None:
    with shown.registry.start_run("sst2", **RUN | {"settings": settings}) as recorder:
        (started, _) = shown.get("/api/runs")["items"]
        assert started["progress"] == {"step": 0, "steps": 80, "fraction": 0.0, "seconds_left": None}
        for step in range(1, 41):
            recorder.log({"train/loss": 0.5, "train/samples_per_second": 1000 + step}, step=step)
        recorder.log({"eval/accuracy": 0.5}, step=40)
        recorder.flush()
        (running, finished) = shown.get("/api/runs")["items"]
        assert running["status"] == "running"
        assert running["last"] == {"eval/accuracy": 0.5, "train/loss": 0.5, "train/samples_per_second": 1040.0}
        points = shown.registry.history(f"run:{recorder.uid}", "train/loss", first_step=31)
        pace = (points[-1].wall_time - points[0].wall_time) / 9
        assert running["progress"] == {
            "step": 40,
            "steps": 80,
            "fraction": 0.5,
            "seconds_left": pytest.approx(40 * pace),
        }
        assert (finished["progress"], finished["last"]) == (None, {"eval/accuracy": 0.98, "train/loss": 0.02})
    ended = shown.get(f"/api/runs/{recorder.uid}")
    assert (ended["status"], ended["progress"]) == ("finished", None)


@pytest.mark.parametrize("steps", [None, 0, -1, 2.5, "80", True, 10**400])
def test_odd_numbers_of_steps_are_no_progress(shown: Dashboard, steps: Any) -> None:
    settings = {"steps": str(steps) if isinstance(steps, int) and steps > 2**63 else steps}
    with shown.registry.start_run("sst2", **RUN | {"settings": settings}):
        assert shown.get("/api/runs")["items"][0]["progress"] is None


def test_a_history(shown: Dashboard) -> None:
    uid = shown.registry.version("sst2@1").run
    found = shown.get("/api/history", of="sst2@1", metric="train/loss", points=8)
    assert found == shown.get("/api/history", of=f"run:{uid}", metric="train/loss", points=8) | {"of": "sst2@1"}
    assert (found["version"], found["run"], found["metric"]) == ("sst2@1", uid, "train/loss")
    assert (found["total"], found["first_step"], found["last_step"]) == (50, 1, 50)
    assert (found["steps"][0], found["steps"][-1]) == (1, 50)
    assert 2 <= len(found["steps"]) <= 8
    assert found["values"] == [1 / step for step in found["steps"]]
    assert len(found["times"]) == len(found["steps"])
    window = shown.get("/api/history", of="sst2@1", metric="train/loss", first=10, last=12)
    assert (window["steps"], window["total"]) == ([10, 11, 12], 50)
    assert shown.get("/api/history", of="sst2@1", metric="train/loss", first=60)["steps"] == []


def test_numbers_that_json_has_not(shown: Dashboard) -> None:
    with shown.registry.start_run("sst2", **RUN) as recorder:
        for step, value in enumerate((math.nan, math.inf, -math.inf, 1.0)):
            recorder.log({"loss": value}, step=step)
    found = shown.get("/api/history", of=f"run:{recorder.uid}", metric="loss")
    assert found["values"] == ["NaN", "Infinity", "-Infinity", 1.0]
    (summary,) = shown.get("/api/summaries", of=f"run:{recorder.uid}")["metrics"]
    assert (summary["min"], summary["max"], summary["nan_count"]) == ("-Infinity", "Infinity", 1)


def test_a_metric_across_versions(shown: Dashboard) -> None:
    found = shown.get("/api/across/sst2")
    assert (found["metric"], found["metrics"]) == ("eval/accuracy", ["eval/accuracy", "eval/f1", "train/loss"])
    assert [(item["number"], item["value"], item["max"]) for item in found["items"]] == [
        (1, 0.5, 0.98),
        (2, 0.75, None),
    ]
    assert shown.get("/api/across/sst2", metric="train/loss")["items"][0]["value"] == 0.02
    shown.refused("/api/across/cola", 404, "no version of cola has a metric")
    shown.refused("/api/across/sst2", 404, "unknown metric 'eval/lost'", metric="eval/lost")


def test_side_by_side(shown: Dashboard) -> None:
    uid = shown.registry.version("sst2@1").run
    refs = ["sst2@1", "sst2@2", f"run:{uid}"]
    found = shown.get("/api/compare", ref=refs)
    assert found["refs"] == refs
    fields = {field["name"]: field["values"] for field in found["fields"]}
    assert fields["seed"] == [42, None, 42]
    assert fields["metrics.eval/f1"] == [None, "NaN", None]
    assert all(field["differs"] for field in found["fields"])
    every = shown.get("/api/compare", ref=refs, all=1)["fields"]
    assert {"name": "task", "values": ["sst2"] * 3, "differs": False} in every
    assert not [field for field in every if "asked" in field["name"]]


def test_events(shown: Dashboard) -> None:
    page = shown.get("/api/events")
    assert [(event["action"], event["subject"]) for event in page["items"]] == [
        ("alias", "sst2@2"),
        ("add", "mix@1"),
        ("add", "cola@1"),
        ("add", "sst2@2"),
        ("add", "sst2@1"),
    ]
    assert page["more"] is False
    assert page["items"][0]["details"] == {"alias": "production", "from": None}
    second = shown.get("/api/events", limit=2, offset=1)
    assert (second["items"], second["more"]) == (page["items"][1:3], True)
    assert [event["action"] for event in shown.get("/api/events", ref="sst2@2")["items"]] == ["alias", "add"]
    shown.refused("/api/events", 404, "unknown adapter 'sst3'", ref="sst3")


def test_what_a_query_can_name(shown: Dashboard) -> None:
    fields = shown.get("/api/fields")
    assert fields["metrics"] == ["eval/accuracy", "eval/f1", "train/loss"]
    assert "created" in fields["sorts"]
    for subject, found in ((VERSIONS, fields["versions"]), (RUNS, fields["runs"])):
        assert [field["name"] for field in found] == [name for name in subject.known if "/" not in name]
        assert all(field["help"] and field["kind"] in ("any", "text", "number", "time") for field in found)
    kind = next(field for field in fields["versions"] if field["name"] == "kind")
    assert kind["help"].endswith(": adapter, fusion, composition")


def test_a_damaged_row_is_told_of_and_the_others_are_listed(shown: Dashboard) -> None:
    uid = recorded(shown.registry, adapter="cola")
    path = shown.registry.home / "registry.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE version SET config = 'no json' WHERE number = 2")
        connection.execute("UPDATE run SET settings = 'no json' WHERE uid = ?", (uid,))
    page = shown.get("/api/versions")
    assert [item["ref"] for item in page["items"]] == ["cola@1", "mix@1", "sst2@1"]
    assert page["total"] == 4
    (damage,) = page["damaged"]
    assert "sst2@2" in damage
    runs = shown.get("/api/runs")
    assert (len(runs["items"]), runs["total"]) == (1, 2)
    assert uid in runs["damaged"][0]
    shown.refused("/api/versions/sst2@2", 503, "the server's log says why")
    shown.refused(f"/api/runs/{uid}", 503)
    nodes = {node["ref"]: node for node in shown.get("/api/lineage/mix")["nodes"]}
    assert (nodes["sst2@2"]["present"], nodes["sst2@2"]["method"]) == (True, None)


def test_a_version_whose_run_is_lost(shown: Dashboard) -> None:
    path = shown.registry.home / "registry.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET settings = 'no json'")
    assert shown.get("/api/versions/sst2@1")["run"] is None


def test_glue(shown: Dashboard, registry: Registry) -> None:
    from pointsman.sdk.benchmark.cells import Cell

    assert shown.get("/api/glue") == {"benchmarks": [], "name": None, "tasks": [], "rows": []}
    for name, source, scores in (("old", "hub", (0.5,)), ("glue", "sample (synthetic)", (0.5, 0.75))):
        for seed, score in enumerate(scores):
            for task in ("sst2", "rte"):
                origin = Cell(task, "seq_bn", seed).origin(name, {})
                data = {"source": source, "rows": 3}
                uid = recorded(registry, adapter=task, points=1, task=task, seed=seed, origin=origin, data=data)
                metrics = {"eval/accuracy": score} if (task, seed, name) != ("rte", 1, "glue") else {"eval/f1": 1.0}
                registry.add_version(
                    task, **FIELDS | {"run": uid, "metrics": metrics, "primary_metric": next(iter(metrics))}
                )
    found = shown.get("/api/glue")
    assert found["benchmarks"] == [{"name": "glue", "sample": True}, {"name": "old", "sample": False}]
    assert (found["name"], found["tasks"]) == ("glue", ["sst2", "rte"])
    assert found["rows"] == [
        {
            "method": "seq_bn",
            "base": "tiny",
            "seeds": 2,
            "average": 50.0,
            "scores": {"sst2": 62.5, "rte": 50.0},
            "spread": {"sst2": pytest.approx(17.677669), "rte": None},
        }
    ]
    assert shown.get("/api/glue", name="old")["rows"][0]["scores"] == {"sst2": 50.0, "rte": 50.0}
    shown.refused("/api/glue", 404, "unknown benchmark 'new'", "glue, old", name="new")
