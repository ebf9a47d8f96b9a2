"""The supervisor with small real programs as children. A pipe that all of them hold tells when the last one is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway.supervisor import PARENT, PREPARED, AlreadyRunning, ChildSpec, Supervisor, check_port_free, only_one

CHILD = """
import os, signal, sys
from gateway.supervisor import die_with_parent
die_with_parent()
name, manner = sys.argv[1:]
def say(line):
    os.write(1, f"{name} {line}\\n".encode())
def stop(number, frame):
    say("stops")
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if manner == "stubborn" else stop)
if manner == "parent-of-one" and os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
say(f"ready {os.getpid()}")
while True:
    signal.pause()
"""

PARENT_PROGRAM = """
import sys
from gateway.supervisor import ChildSpec, Supervisor
program, grace, *manners = sys.argv[1:]
def child(name, manner):
    python = "/missing" if manner == "missing" else sys.executable
    return ChildSpec(name=name, command=[python, "-c", program, name, manner])
children = [child(f"c{n}", manner) for n, manner in enumerate(manners)]
sys.exit(Supervisor(children, grace_s=float(grace), log=lambda line: print(line, file=sys.stderr)).run())
"""

WAITING = """
import os, signal
from gateway.supervisor import await_preparation, die_with_parent
die_with_parent()
os.write(1, b"waits\\n")
await_preparation()
os.write(1, b"begins\\n")
signal.pause()
"""

PREPARATION = """
import os, sys
from gateway.supervisor import die_with_parent
die_with_parent()
if not os.read(0, 1):
    sys.exit("left alone")
os.write(1, b"prepared\\n")
sys.exit(int(sys.argv[1]))
"""

PREPARING_PARENT = """
import sys
from gateway.supervisor import ChildSpec, Supervisor
preparation, status, *children = sys.argv[1:]
first = ChildSpec(name="first", command=[sys.executable, "-c", preparation, status])
rest = [ChildSpec(name="then", command=[sys.executable, "-c", child]) for child in children]
sys.exit(Supervisor(rest, preparation=first, log=lambda line: print(line, file=sys.stderr)).run())
"""


class Family:
    """A supervisor in a process of its own, and its children."""

    def __init__(self, *manners: str, grace_s: float) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT_PROGRAM, CHILD, str(grace_s), *manners],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pids: dict[str, int] = {}
        wanted = len(manners) + manners.count("parent-of-one")
        for _ in range(wanted):
            name, _, pid = self._line().split()
            self.pids[f"{name}-grandchild" if name in self.pids else name] = int(pid)

    def _line(self) -> str:
        assert self.parent.stdout is not None
        return self.parent.stdout.readline()

    def rest(self) -> tuple[int, list[str], str]:
        """Wait until no process of the family is left; return the parent's status, the lines said and the log."""
        said, log = self.parent.communicate(timeout=20)
        return self.parent.returncode, said.splitlines(), log

    def end(self) -> None:
        self.parent.kill()
        for pid in self.pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.parent.wait(timeout=20)
        for pipe in (self.parent.stdout, self.parent.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def start() -> Iterator[type[Family]]:
    """Make families that end with the test."""
    families: list[Family] = []

    class Ours(Family):
        def __init__(self, *manners: str, grace_s: float = 15) -> None:
            super().__init__(*manners, grace_s=grace_s)
            families.append(self)

    yield Ours
    for family in families:
        family.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_children_are_stopped_when_the_parent_is_told_to(number: signal.Signals, start: type[Family]) -> None:
    family = start("good", "good")
    family.parent.send_signal(number)
    status, said, log = family.rest()
    assert (status, sorted(said), log) == (0, ["c0 stops", "c1 stops"], "")


def test_a_child_is_told_to_stop_while_another_still_takes_its_time(start: type[Family]) -> None:
    family = start("good", "stubborn")
    family.parent.terminate()
    assert family._line() == "c0 stops\n"
    os.kill(family.pids["c1"], signal.SIGKILL)
    assert family.rest()[0] == 0


@pytest.mark.parametrize(("dies", "stays"), [("c0", "c1"), ("c1", "c0")])
def test_the_other_child_is_stopped_and_the_status_is_not_0_when_one_dies(
    dies: str, stays: str, start: type[Family]
) -> None:
    family = start("good", "good")
    os.kill(family.pids[dies], signal.SIGKILL)
    status, said, log = family.rest()
    assert (status, said) == (1, [f"{stays} stops"])
    assert f"{dies} was ended by SIGKILL" in log


def test_the_status_is_not_0_when_a_child_ends_by_itself_with_0(start: type[Family]) -> None:
    family = start("good", "good")
    os.kill(family.pids["c0"], signal.SIGTERM)
    status, said, log = family.rest()
    assert (status, said) == (1, ["c0 stops", "c1 stops"])
    assert "c0 ended with status 0" in log


def test_a_child_is_killed_when_it_does_not_stop_in_time(start: type[Family]) -> None:
    family = start("good", "stubborn", grace_s=0.2)
    family.parent.terminate()
    status, _, log = family.rest()
    assert status == 1
    assert "c1 did not stop within 0.2 s" in log


def test_what_a_child_started_is_killed_with_it_when_it_stays_behind(start: type[Family]) -> None:
    family = start("parent-of-one")
    family.parent.terminate()
    assert family.rest() == (0, ["c0 stops"], "")


def test_no_child_is_left_when_the_parent_is_killed_with_9(start: type[Family]) -> None:
    family = start("good", "good")
    family.parent.kill()
    status, said, _ = family.rest()
    assert status == -signal.SIGKILL
    assert sorted(said) == ["c0 stops", "c1 stops"]


def test_a_child_ends_at_once_when_its_parent_ended_before_it_could_ask() -> None:
    environ = os.environ | {PARENT: "0"}
    child = subprocess.run([sys.executable, "-c", CHILD, "c0", "good"], env=environ, capture_output=True, check=False)
    assert (child.returncode, child.stdout) == (1, b"")


def test_started_children_are_stopped_when_a_later_one_cannot_start() -> None:
    command = [sys.executable, "-c", PARENT_PROGRAM, CHILD, "15", "good", "missing"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)  # to the end of its pipes
    assert run.returncode == 1
    assert "FileNotFoundError" in run.stderr


def test_a_childs_own_environment_is_added_to_the_parents(tmp_path: Path) -> None:
    script = "import os; open(os.environ['WHERE'], 'w').write(os.environ['PATH'])"
    child = ChildSpec(name="c", command=[sys.executable, "-c", script], environ={"WHERE": str(tmp_path / "out")})
    assert Supervisor([child]).run() == 1
    assert (tmp_path / "out").read_text() == os.environ["PATH"]


@contextmanager
def preparing(*, status: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Yield a supervisor whose two children wait for a preparation, which takes until something comes in."""
    command = [sys.executable, "-c", PREPARING_PARENT, PREPARATION, str(status), WAITING, WAITING]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as parent:
        try:
            assert parent.stdout is not None
            assert [parent.stdout.readline() for _ in range(2)] == ["waits\n", "waits\n"]
            yield parent
        finally:
            parent.kill()


def test_children_begin_when_the_preparation_has_ended_well() -> None:
    with preparing() as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write("x")
        parent.stdin.flush()
        assert [parent.stdout.readline() for _ in range(3)] == ["prepared\n", "begins\n", "begins\n"]
        parent.terminate()
        assert parent.communicate(timeout=20) == ("", "")
        assert parent.returncode == 0


def test_no_child_begins_when_the_preparation_fails_and_its_status_is_passed_on_without_a_word() -> None:
    with preparing(status=2) as parent:
        assert parent.communicate("x", timeout=20) == ("prepared\n", "")
        assert parent.returncode == 2


def test_no_child_begins_when_the_parent_is_told_to_stop_while_it_prepares() -> None:
    with preparing() as parent:
        parent.terminate()
        parent.wait(timeout=20)
        assert parent.communicate(timeout=20) == ("", "")
        assert parent.returncode == 0


def test_no_child_begins_when_the_parent_is_killed_with_9_while_it_prepares() -> None:
    with preparing() as parent:
        parent.kill()
        parent.wait(timeout=20)
        assert parent.communicate(timeout=20)[0] == ""


def test_a_child_ends_when_its_parent_ended_before_all_was_prepared() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    environ = os.environ | {PREPARED: str(reader)}
    child = subprocess.run(
        [sys.executable, "-c", WAITING], env=environ, pass_fds=[reader], capture_output=True, check=False
    )
    os.close(reader)
    assert (child.returncode, child.stdout) == (1, b"waits\n")


def test_a_second_serve_on_the_same_database_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    database = tmp_path / "gateway.db"
    script = (
        "import signal, sys; from pathlib import Path; from gateway.supervisor import only_one\n"
        "with only_one(Path(sys.argv[1])):\n    print('held', flush=True)\n    signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(database)], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=r"another .* is running on .*gateway\.db"), only_one(database):
            pytest.fail("two hold the lock")
        first.kill()
    with only_one(database):
        assert not database.exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_that_another_program_shares_willingly_is_refused(host: str) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AlreadyRunning, match=f"port {port}"):
            check_port_free(host, port)
    check_port_free(host, port)


def test_port_0_is_always_free() -> None:
    check_port_free("192.0.2.1", 0)
