"""``@best``: among versions scored with one metric on the same rows, and what it leaves out."""

import math

import pytest
from tars import change_index

from pointsman.registry import Evaluation, Registry
from pointsman.registry.database import tables
from pointsman.registry.errors import InvalidNameError, SettingsError, VersionNotFoundError
from pointsman.registry.refs import Ref
from pointsman.registry.upkeep import export_bundle, import_bundle, verify
from pointsman.registry.versions import evaluations

from helpers import interrupted_before
from shapes import FIELDS, RUN

pytestmark = pytest.mark.databases

FULL = Evaluation(fingerprint="f" * 64, rows=872)
FEW = Evaluation(fingerprint="3" * 64, rows=3)
DATA = {"source": "hub", "fingerprint": "d" * 64, "rows": {"train": 9, "eval": 872}, "given": {}}
"""The data of a run, as trainings of all releases record them."""


@pytest.fixture
def scored(add):
    """Add a version of sst2 with this score of a metric, on these rows."""

    def scored(value, evaluation=FULL, metric="accuracy", name="sst2", **changes):
        key = f"eval/{metric}"
        return add(name, metrics={key: value}, primary_metric=key, evaluation=evaluation, **changes)

    return scored


@pytest.fixture
def with_run(registry, scored):
    """Add a version that a run on these data made; without an evaluation, as an earlier release would have."""

    def with_run(value, evaluation=FULL, data=DATA, name="sst2"):
        with registry.start_run(name, **{**RUN, "data": data}) as run:
            pass
        return scored(value, evaluation, name=name, run=run.uid)

    return with_run


def refs(versions):
    return [version.ref for version in versions]


def test_it_is_among_those_of_the_metric_and_the_rows_of_the_newest(registry, scored):
    scored(1.0, FEW)
    scored(0.8268)
    scored(0.99, metric="pearson")
    scored(0.81)
    scored(0.97, None)
    scored(0.8)
    assert registry.version("sst2@best").ref == "sst2@2"
    best = registry.best("sst2")
    assert (best.version.ref, best.compared) == ("sst2@2", 3)
    assert (refs(best.left_out), best.left_out.total) == (["sst2@5", "sst2@3", "sst2@1"], 3)
    assert best.version.evaluation == FULL
    scored(0.4, FEW)  # now the newest
    assert registry.version("sst2@best").ref == "sst2@1"


def test_the_same_rows_in_another_number_are_others(registry, scored):
    scored(0.9, Evaluation(fingerprint=FULL.fingerprint, rows=40))
    scored(0.1)
    assert registry.best("sst2@best").version.ref == "sst2@2"


@pytest.mark.parametrize(
    ("ref", "found", "left_out"),
    [
        ("sst2@best", "sst2@2", ["sst2@4", "sst2@3", "sst2@1"]),
        ("sst2@best@latest", "sst2@2", ["sst2@4", "sst2@3", "sst2@1"]),
        ("sst2@best@1", "sst2@1", ["sst2@5", "sst2@4", "sst2@3", "sst2@2"]),
        ("sst2@best@odd", "sst2@4", ["sst2@5", "sst2@2", "sst2@1"]),
        ("sst2@best@any", "sst2@1", []),
    ],
)
def test_it_can_be_told_otherwise(registry, scored, ref, found, left_out):
    scored(1.0, FEW), scored(0.9), scored(0.5, None), scored(0.7, None), scored(0.8)
    registry.set_alias("sst2@3", "odd")
    assert registry.version(ref).ref == found
    best = registry.best(ref)
    assert (best.version.ref, best.compared, refs(best.left_out)) == (found, 5 - len(left_out), left_out)
    assert refs(registry.best(ref, limit=1).left_out) == left_out[:1]
    assert registry.best(ref, limit=1).left_out.total == len(left_out)


def test_versions_without_a_score_choose_no_rows(registry, scored, add):
    scored(0.5, FEW)
    scored(0.9)
    scored(math.nan, FEW)
    add(metrics={}, primary_metric=None)
    assert registry.best("sst2").version.ref == "sst2@2"
    # Named, a diverged version has a metric and rows, and one without a metric has none.
    assert registry.best("sst2@best@3").version.ref == "sst2@1"
    with pytest.raises(SettingsError, match=r"sst2@4, which has no score: .* or write sst2@best@any"):
        registry.version("sst2@best@4")
    with pytest.raises(VersionNotFoundError, match="unknown version 'sst2@9'"):
        registry.version("sst2@best@9")
    with pytest.raises(SettingsError, match="'sst2@1' is one version: write sst2@best"):
        registry.best("sst2@1")
    alone = registry.best(add("none", metrics={}, primary_metric=None).name)
    assert (alone.version.ref, alone.compared, alone.left_out.total) == ("none@1", 0, 0)


@pytest.mark.parametrize(
    "text", ["sst2@3@1", "sst2@latest@any", "sst2@any@best", "sst2@best@best", "sst2@best@", "a@best@1@2"]
)
def test_a_second_at_follows_best_only(text):
    with pytest.raises(InvalidNameError):
        Ref.parse(text)


def test_refs_with_best_are_written_as_they_are_read():
    for text in ("sst2@best", "sst2@best@3", "sst2@best@any", "sst2@best@production"):
        assert str(Ref.parse(text)) == text
    assert Ref.parse("sst2@best@3").scored_as == 3


@pytest.mark.sqlite
def test_an_index_answers_it(registry, scored):
    scored(0.5), scored(0.5, None)
    for ref in ("sst2@best@1", "sst2@best@2"):
        with interrupted_before(0) as seen:
            registry.version(ref)
        (statement,) = (statement for statement in seen if "NULLS LAST" in statement)
        with registry.database.reading() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?")).all()
        assert any("ix_version_best" in row.detail for row in plan), plan


def test_scores_that_compare_stand_together_in_a_list(registry, scored, add):
    scored(1.0, FEW), scored(0.99, metric="pearson"), scored(0.8), add(metrics={}, primary_metric=None), scored(0.9)
    scored(0.2, FEW, name="other")
    assert refs(registry.versions(sort="score")) == ["sst2@1", "other@1", "sst2@5", "sst2@3", "sst2@2", "sst2@4"]
    assert refs(registry.versions(sort="score", name="sst2")) == ["sst2@5", "sst2@3", "sst2@2", "sst2@1", "sst2@4"]
    assert refs(registry.versions(sort="score", name="sst2", limit=2, offset=2)) == ["sst2@2", "sst2@1"]
    back = refs(registry.versions(sort="score", name="sst2", reverse=True))
    assert back == ["sst2@1", "sst2@2", "sst2@3", "sst2@5", "sst2@4"]


def test_it_is_searched_and_compared(registry, scored):
    scored(0.5), scored(0.5, FEW), scored(0.5, None)
    assert refs(registry.versions("evaluation_rows < 100")) == ["sst2@2"]
    assert refs(registry.versions(f"evaluation = '{FULL.fingerprint}'")) == ["sst2@1"]
    assert refs(registry.versions("evaluation is null")) == ["sst2@3"]
    fields = {field.name: field.values for field in registry.compare(["sst2@1", "sst2@2", "sst2@3"])}
    assert fields["scored on.rows"] == (872, 3, None)
    assert fields["scored on.fingerprint"] == (FULL.fingerprint, FEW.fingerprint, None)


@pytest.mark.parametrize("evaluation", [Evaluation(fingerprint="x", rows=3), Evaluation(fingerprint="a" * 64, rows=-1)])
def test_an_evaluation_that_cannot_be_is_refused(scored, evaluation):
    with pytest.raises(SettingsError, match=r"the evaluation's (fingerprint|rows) is .*: it must be a "):
        scored(0.5, evaluation)


# Versions of earlier releases


def forget_evaluations(registry):
    """Leave the versions as the migration leaves those of an earlier release."""
    with registry.database.writing() as connection:
        v, stand_in = tables.version, DATA["fingerprint"]
        connection.execute(v.update().where(v.c.run_id.is_not(None)).values(evaluation=stand_in))


def test_older_versions_are_compared_once_a_run_on_their_data_is_known(registry, with_run, scored):
    with_run(0.9), with_run(0.8)
    forget_evaluations(registry)
    scored(0.7)  # without a run, nothing tells that it is of the same data
    assert registry.best("sst2").version.ref == "sst2@3"
    assert registry.best("sst2@best@1").compared == 2
    with_run(0.1, data={**DATA, "rows": {"eval": 3}})
    assert registry.best("sst2@best@1").compared == 2
    with_run(0.6)
    best = registry.best("sst2")
    assert (best.version.ref, best.compared, best.left_out.total) == ("sst2@1", 5, 0)
    assert verify(registry).problems == ()


def test_a_bundle_keeps_what_was_scored_and_an_older_one_says_it_by_its_runs(registry, with_run, tmp_path):
    with Registry(tmp_path / "source") as source:
        with source.start_run("sst2", **{**RUN, "data": DATA}) as run:
            pass
        fields = {"task": {"name": "sst2"}, "files": {"a": b"a"}, "method": "m", "config": {}, "base": RUN["base"]}
        fields |= {
            "max_length": 8,
            "parameters": 1,
            "metrics": {"eval/accuracy": 0.9},
            "primary_metric": "eval/accuracy",
        }
        source.add_version("sst2", **fields, run=run.uid, evaluation=FULL)
        source.add_version("sst2", **fields, evaluation=FEW)
        export_bundle(source, ["sst2@1", "sst2@2"], tmp_path / "new.tar")

    def older(index):
        for version in index["versions"]:
            del version["evaluation"]

    change_index(tmp_path / "new.tar", older, tmp_path / "old.tar")
    with Registry(tmp_path / "new") as new:
        import_bundle(new, tmp_path / "new.tar")
        assert [version.evaluation for version in new.versions()] == [FULL, FEW]
    with Registry(tmp_path / "old") as old:
        import_bundle(old, tmp_path / "old.tar")
        known, unknown = (version.evaluation for version in old.versions())
        assert (known, unknown) == (Evaluation(fingerprint=DATA["fingerprint"], rows=872), None)
        # A newer version in a later bundle changes nothing that is here.
        import_bundle(old, tmp_path / "new.tar")
        assert old.version("sst2@1").evaluation == known
    with_run(0.7)
    import_bundle(registry, tmp_path / "old.tar")  # beside a version of this release on the same data
    assert registry.version("sst2@2").evaluation == FULL


def test_an_import_reads_the_data_of_each_run_once(registry, with_run, tmp_path, monkeypatch):
    with Registry(tmp_path / "source") as source:
        for number in range(12):
            data = {**DATA, "fingerprint": f"{number:064x}"}
            with source.start_run("sst2", **{**RUN, "data": data}) as run:
                pass
            source.add_version(
                "sst2",
                **{**FIELDS, "metrics": {"eval/accuracy": 0.9}, "primary_metric": "eval/accuracy"},
                run=run.uid,
                evaluation=Evaluation(fingerprint=data["fingerprint"], rows=872),
            )
        export_bundle(source, [f"sst2@{number}" for number in range(1, 13)], tmp_path / "older.tar")
    with_run(0.7)
    derived, calls = evaluations.derived, []
    monkeypatch.setattr(evaluations, "derived", lambda data: calls.append(data) or derived(data))
    import_bundle(registry, tmp_path / "older.tar")
    assert len(calls) == 13
