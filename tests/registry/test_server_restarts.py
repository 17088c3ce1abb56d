"""A PostgreSQL server that is restarted, or whose answers are lost: nothing is lost, and nothing is there twice."""

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pointsman.registry import Registry, RunStatus
from pointsman.registry.database import backends, outcome
from pointsman.registry.errors import DatabaseError
from pointsman.registry.upkeep import export_bundle, import_bundle, verify

from postgres import Server, server

MODES = ("fast", "immediate") * 3


@pytest.fixture(scope="module")
def restartable():
    with server() as started:
        yield started


@pytest.fixture
def on_server(restartable, tmp_path):
    """A registry on a server of its own, in a database of its own."""
    import psycopg

    name = f"d{secrets.token_hex(6)}"
    with psycopg.connect(restartable.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with Registry(tmp_path / "home", database=f"{restartable.url.removesuffix('postgres')}{name}") as opened:
        yield opened


def steps(registry, uid):
    return [point.step for point in registry.history(f"run:{uid}", "loss")]


@pytest.mark.slow
def test_restarts_in_the_midst_of_writing_lose_nothing_and_double_nothing(
    on_server, restartable, start_run, add_version
):
    run, errors, stop = start_run(on_server), [], threading.Event()
    done = {"points": 0, "versions": 0}
    progress = threading.Condition()

    def log():
        run.log({"loss": 1.0}, step=done["points"])
        done["points"] += 1
        run.flush()

    def add():
        add_version(on_server, "sst2", note=str(done["versions"]))
        done["versions"] += 1

    def repeat(work):
        try:
            while not stop.is_set():
                with suppress(DatabaseError):  # while the server is down; what was logged is flushed later
                    work()
                with progress:
                    progress.notify_all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in (log, add)]
    for thread in threads:
        thread.start()
    for mode in MODES:
        before = dict(done)
        with progress:
            assert progress.wait_for(lambda before=before: all(done[key] > before[key] + 5 for key in done), 60)
        restartable.restart(mode)
    stop.set()
    for thread in threads:
        thread.join(120)
    assert errors == []
    run.finish()
    assert steps(on_server, run.uid) == list(range(done["points"]))
    added = on_server.versions(sort="created", reverse=True)
    assert added.total == done["versions"] > 5 * len(MODES)
    assert [version.note for version in added] == [str(number) for number in range(done["versions"])]
    assert verify(on_server).problems == ()


class Cutter:
    """A way to the server that cuts a connection between the commit of rows that it asks for and the answer."""

    def __init__(self, port: int) -> None:
        self.cuts = 0
        """The commits whose answers are yet to be lost."""
        self.before = False
        """Lose the question instead of the answer."""
        self.refuses = False
        """Let nobody through any more once a connection was cut."""
        self.lost = 0
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self.refuses and self.lost:
                    client.close()
                    continue
                upstream = socket.create_connection(("127.0.0.1", self._port))
                wrote, cut = threading.Event(), threading.Event()
                for work, ends in ((self._ask, (client, upstream)), (self._answer, (upstream, client))):
                    threading.Thread(target=work, args=(*ends, wrote, cut), daemon=True).start()

    def _ask(self, source: socket.socket, target: socket.socket, wrote: threading.Event, cut: threading.Event) -> None:
        with closing_both(source, target):
            while content := source.recv(65_536):
                if b"COMMIT" in content and wrote.is_set():
                    wrote.clear()
                    if self.cuts:
                        self.cuts -= 1
                        self.lost += 1
                        cut.set()
                        if self.before:
                            break
                target.sendall(content)

    def _answer(
        self, source: socket.socket, target: socket.socket, wrote: threading.Event, cut: threading.Event
    ) -> None:
        with closing_both(source, target):
            while content := source.recv(65_536):
                if cut.is_set():
                    break
                if b"INSERT 0 " in content or b"UPDATE " in content:
                    wrote.set()
                target.sendall(content)


@contextmanager
def closing_both(*ends: socket.socket) -> Iterator[None]:
    try:
        with suppress(OSError):
            yield
    finally:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting(restartable: Server, on_server: Registry) -> Iterator[tuple[Cutter, Registry]]:
    cutter = Cutter(restartable.port)
    url = on_server.database.backend.url.set(port=cutter.port).render_as_string(hide_password=False)
    with Registry(on_server.home, database=url) as through:
        yield cutter, through
    cutter.close()


def test_a_commit_whose_answer_is_lost_is_not_made_again(on_server, restartable, start_run, add_version):
    with cutting(restartable, on_server) as (cutter, through):
        add_version(through, "first")
        cutter.cuts = 1
        run = start_run(through)
        assert cutter.lost == 1
        for number in range(3):
            cutter.cuts = 1
            run.log({"loss": 1.0}, step=number)
            run.flush()
            cutter.cuts = 2  # that of the store's generation, too
            assert add_version(through, "sst2").number == number + 1
        cutter.cuts = 1
        run.finish()
        assert cutter.lost == 11
    assert on_server.run(run.uid).status == RunStatus.FINISHED
    assert steps(on_server, run.uid) == [0, 1, 2]
    assert on_server.versions().total == 4
    assert on_server.runs().total == 1
    assert verify(on_server).problems == ()


def test_a_lost_answer_to_any_change_that_the_log_names(on_server, restartable, start_run, add_version, tmp_path):
    """Each is made once, and returns what it would have returned."""
    run = start_run(on_server)
    run.log({"loss": 1.0}, step=0)
    run.log({"loss": 0.5}, step=1)
    run.finish(RunStatus.FAILED, "stopped")
    add_version(on_server, "sst2")
    add_version(on_server, "sst2")
    with Registry(tmp_path / "other") as other:
        add_version(other, "cola")
        add_version(other, "cola")
        export_bundle(other, ["cola@1", "cola@2"], tmp_path / "cola.tar")
    known = len(on_server.events())
    with cutting(restartable, on_server) as (cutter, through):
        changes = {
            "alias": lambda: through.set_alias("sst2@1", "production").aliases,
            "tag": lambda: through.set_tags("sst2@1", {"owner": "ann"}).tags,
            "note": lambda: through.set_note("sst2@1", "kept").note,
            "unalias": lambda: through.remove_alias("sst2", "production"),
            "resume": lambda: through.resume_run(run.uid, last_step=0).uid,
            "remove": lambda: str(through.remove("sst2@2")),
        }
        returned = {}
        for action, change in changes.items():
            cutter.cuts = 1
            returned[action] = change()
        cutter.cuts = 2  # that of the store's generation, too
        imported = import_bundle(through, tmp_path / "cola.tar")
        assert cutter.lost == 8
    assert returned == {
        "alias": ("production",),
        "tag": {"owner": "ann"},
        "note": "kept",
        "unalias": None,
        "resume": run.uid,
        "remove": "sst2@2",
    }
    assert [(version.ref, version.new) for version in imported] == [("cola@1", True), ("cola@2", True)]
    recorded = [event.action for event in reversed(on_server.events())][known:]
    assert recorded == [*changes, "import", "import"]
    assert steps(on_server, run.uid) == [0]
    assert on_server.versions().total == 3
    assert verify(on_server).problems == ()


def test_a_change_that_never_reached_the_server_has_failed(on_server, restartable, add_version):
    add_version(on_server, "sst2")
    with cutting(restartable, on_server) as (cutter, through):
        cutter.before, cutter.cuts = True, 1
        with pytest.raises(DatabaseError, match=r"^the database postgresql\+psycopg://.* cannot be used: "):
            through.set_alias("sst2@1", "production")
        assert through.version("sst2@1").aliases == ()
        assert through.set_alias("sst2@1", "production").aliases == ("production",)
        assert cutter.lost == 1


def test_a_commit_that_never_reached_the_server_is_made_again(on_server, restartable, start_run, add_version):
    with cutting(restartable, on_server) as (cutter, through):
        cutter.before = True
        run = start_run(through)
        cutter.cuts = 1
        with pytest.raises(DatabaseError, match=r"^the database postgresql\+psycopg://.* cannot be used: "):
            add_version(through, "sst2")
        assert add_version(through, "sst2").number == 1
        run.log({"loss": 1.0}, step=0)
        cutter.cuts = 1
        with pytest.raises(DatabaseError, match=r"^the database postgresql\+psycopg://.* cannot be used: "):
            run.flush()
        run.finish()
        assert cutter.lost == 2
    assert steps(on_server, run.uid) == [0]
    assert on_server.versions().total == 1


def test_a_server_that_cannot_be_asked_how_a_commit_ended(on_server, restartable, start_run, monkeypatch):
    monkeypatch.setattr(backends, "BUSY_SECONDS", 0.3)
    monkeypatch.setattr(outcome, "_PAUSE", 0.01)
    said = r"was lost during a commit, and for 0\.3 s it could not be asked whether the change was made: look before"
    with cutting(restartable, on_server) as (cutter, through):
        cutter.cuts, cutter.refuses = 1, True
        with pytest.raises(DatabaseError, match=said):
            start_run(through)
    assert on_server.runs().total == 1
