"""`Prefer: wait=60` on the default processes and threads: whoever waits stands in nobody's way."""

from __future__ import annotations

import selectors
import signal
import socket
from contextlib import ExitStack

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import World
from tests.e2e.processes import LONG_S

CLIENTS = 500
HELD_AT_MOST = 8
"""Half of the threads: two processes of eight."""


def waiter(world: World, video_id: str) -> socket.socket:
    """A client that has asked to wait."""
    sock = socket.create_connection(("127.0.0.1", world.port), timeout=LONG_S)
    sock.sendall(
        f"GET /v1/videos/{video_id} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {world.api_key}\r\n"
        "Prefer: wait=60\r\nConnection: close\r\n\r\n".encode()
    )
    return sock


def answers(sockets: list[socket.socket], count: int) -> dict[socket.socket, bytes]:
    """What comes until so many have been answered whole."""
    heard = {sock: bytearray() for sock in sockets}
    done: dict[socket.socket, bytes] = {}
    with selectors.DefaultSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        while len(done) < count:
            ready = selector.select(LONG_S)
            assert ready, f"only {len(done)} of {count} were answered"
            for key, _ in ready:
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                block = sock.recv(65536)
                heard[sock] += block
                if not block:
                    selector.unregister(sock)
                    done[sock] = bytes(heard[sock])
    return done


def test_of_500_who_wait_at_once_half_of_the_threads_hold_and_the_rest_are_answered(make_world: MakeWorld) -> None:
    world = make_world(GATEWAY_WORKERS="2", GATEWAY_THREADS="8", GATEWAY_MAX_WAIT_S="600")
    world.serve()
    video_id = world.post("a boat sim:render=600")["id"]
    with ExitStack() as stack:
        waiting = [stack.enter_context(waiter(world, video_id)) for _ in range(CLIENTS)]
        at_once = answers(waiting, CLIENTS - HELD_AT_MOST)
        assert {answer.split(b"\r\n")[0] for answer in at_once.values()} == {b"HTTP/1.1 200 OK"}
        # Others are still answered while they hold.
        assert world.http.get(f"{world.url}/healthz", timeout=LONG_S).ok
        assert world.http.get(f"{world.url}/v1/videos/{video_id}", timeout=LONG_S).json()["status"] != "completed"

        world.http.post(f"{world.url}/v1/videos/{video_id}/cancel", timeout=LONG_S)
        held = [sock for sock in waiting if sock not in at_once]
        last = answers(held, len(held))
        # Fewer than half of the threads where the second process was not there yet.
        waited = [answer for answer in last.values() if b"Preference-Applied: wait=60" in answer]
        assert waited
        assert all(b'"status":"cancelled"' in answer.replace(b": ", b":") for answer in waited)
        assert not [answer for answer in at_once.values() if b"Preference-Applied" in answer]


def test_who_waits_gets_the_finished_video(world: World) -> None:
    world.serve()
    video_id = world.post("a boat")["id"]
    answer = world.http.get(f"{world.url}/v1/videos/{video_id}", headers={"Prefer": "wait=60"}, timeout=LONG_S)
    assert (answer.json()["status"], answer.headers["Preference-Applied"]) == ("completed", "wait=60")
    again = world.http.get(f"{world.url}/v1/videos/{video_id}", headers={"Prefer": "wait=60"}, timeout=LONG_S)
    assert again.headers["Preference-Applied"] == "wait=60"


def test_who_waits_does_not_hold_up_the_end(world: World) -> None:
    program = world.serve()
    video_id = world.post("a boat sim:render=600")["id"]
    with waiter(world, video_id) as sock:
        assert world.http.get(f"{world.url}/healthz", timeout=LONG_S).ok
        program.send(signal.SIGTERM)
        assert b"200 OK" in answers([sock], 1)[sock]
    assert program.wait() == 0
