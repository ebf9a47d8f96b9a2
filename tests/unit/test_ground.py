"""The ground that tests stand on: it holds what it promises."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import psycopg
import pytest

from tests.loopback import NetworkBlockedError, is_here
from tests.postgres import PostgresServer


@pytest.fixture
def forgiven(refused_hosts: list[str]) -> Iterator[list[str]]:
    """What is refused during this test, which is no offence here."""
    before = len(refused_hosts)
    yield refused_hosts
    del refused_hosts[before:]


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("bucket.localhost", True),
        (b"localhost", True),
        (None, True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("2001:db8::1", False),
        ("example.com", False),
        ("notlocalhost", False),
    ],
)
def test_this_machine_is_told_from_others(host: object, here: bool) -> None:
    assert is_here(host) is here


def test_no_socket_leaves_this_machine(forgiven: list[str]) -> None:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        for attempt in (
            lambda: tcp.connect(("192.0.2.1", 9)),
            lambda: tcp.connect_ex(("192.0.2.2", 9)),
            lambda: udp.sendto(b"x", ("192.0.2.3", 9)),
            lambda: udp.sendto(b"x", 0, ("192.0.2.4", 9)),
            lambda: socket.getaddrinfo("a.example", 80),
            lambda: socket.create_connection(("b.example", 80)),
        ):
            with pytest.raises(NetworkBlockedError):
                attempt()
    assert forgiven[-6:] == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "a.example", "b.example"]


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"


MIGRATED: list[str] = []


def migrate(url: str) -> None:
    MIGRATED.append(url)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE film (id int)")


def test_each_test_gets_its_own_copy_of_a_database_that_is_migrated_once(postgres_server: PostgresServer) -> None:
    for _ in range(2):
        with (
            postgres_server.database(migrate) as url,
            psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection,
        ):
            assert connection.execute("SELECT count(*) FROM film").fetchone() == (0,)
            connection.execute("INSERT INTO film VALUES (1)")
    assert len(MIGRATED) == 1


def test_a_database_is_gone_after_its_test_even_when_a_connection_is_left(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        left = psycopg.connect(url.replace("+psycopg", ""))
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url.replace("+psycopg", ""))
    left.close()
