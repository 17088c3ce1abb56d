"""Every command and every block of Python in README and docs runs, page by page, from top to bottom."""

import csv
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pointsman.sdk.data import sample
from pointsman.sdk.tasks import GLUE

from examples import PAGES, ROOT, Block, Session, blocks

RUNNABLE = ("console", "python")
PLAIN = ("text", "")
TEAM = ROOT / "docs" / "how-to" / "team.md"
FEWEST_RUN = 100
MOST_NOT_RUN = 0.15


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in RUNNABLE]


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A directory with what the pages name: a base, GLUE in the hub's layout (of synthetic rows), files of rows."""
    desk = tmp_path_factory.mktemp("desk")
    shutil.copytree(tiny_base, desk / "bert-tiny")
    for name, task in GLUE.items():
        (desk / "glue" / name).mkdir(parents=True)
        for split, rows in sample.generate(name, sizes={"train": 64, "validation": 32, "test": 16}).items():
            hidden = split.startswith("test") and task.trainable
            columns = {column: [texts[place] for texts, _ in rows] for place, column in enumerate(task.text)}
            labels = [(type(label)(-1) if hidden else label) for _, label in rows]
            table = pa.table({**columns, "label": labels, "idx": range(len(rows))})
            pq.write_table(table, desk / "glue" / name / f"{split}-00000-of-00001.parquet")
    reviews = sample.generate("sst2", sizes={"train": 120})["train"]
    with (desk / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([texts[0], "good" if label else "bad"] for texts, label in reviews)
    with (desk / "notes.tsv").open("w", encoding="utf-8") as file:
        file.write("text\tlabel\n")
        file.writelines(f'" {texts[0]} " he said\t{"good" if label else "bad"}\n' for texts, label in reviews)
        file.write("torn off\n")
    pairs = sample.generate("mrpc", sizes={"train": 120})["train"]
    with (desk / "pairs.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"a": a, "b": b, "same": bool(label)}) + "\n" for (a, b), label in pairs)
    return desk


@pytest.fixture
def session(request: pytest.FixtureRequest, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A reader at that desk, with an empty home."""
    for path in desk.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    replaced = {}
    if request.node.callspec.params["page"] == TEAM:
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
        replaced["postgresql://ann@db.example/pointsman"] = request.getfixturevalue("postgres_url")
    return Session(monkeypatch, replaced)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server with a bucket called bucket."""
    import boto3
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    for name, value in (
        ("ACCESS_KEY_ID", "testing"),
        ("SECRET_ACCESS_KEY", "testing"),
        ("DEFAULT_REGION", "eu-west-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    where = {"LocationConstraint": "eu-west-1"}
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="bucket", CreateBucketConfiguration=where)
    S3FileSystem.clear_instance_cache()
    yield url
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if runnable(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_page_runs(page: Path, session: Session) -> None:
    run = [block for block in runnable(page) if block.not_run is None]
    for block in run:
        session.run(block)
    assert run, f"{page} shows commands and runs none"


def test_few_blocks_are_not_run() -> None:
    found = [block for page in PAGES for block in runnable(page)]
    left_out = [block for block in found if block.not_run is not None]
    assert len(found) - len(left_out) >= FEWEST_RUN
    assert len(left_out) <= MOST_NOT_RUN * len(found), "\n".join(f"{block}: {block.not_run}" for block in left_out)


def test_commands_stand_in_blocks_that_run() -> None:
    for page in PAGES:
        for block in blocks(page):
            assert block.language in RUNNABLE + PLAIN, f"{block}: {block.language}"
            if block.language in PLAIN:
                assert not re.search(r"^(\$ |>>> |from pointsman|import pointsman)", block.text, re.M), block
