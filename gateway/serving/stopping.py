"""Signals that ask a program to stop, as an event."""

from __future__ import annotations

import signal
import socket
import threading


def stop_event() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets. To be called in the main thread, once."""
    # Python runs handlers in the main thread alone, and the kernel may give a signal to another one: a main thread that
    # waits for a lock then never hears of it. The wake-up descriptor is written to wherever the signal arrives.
    stopping = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Detached, so that it stays open as long as the process: signals may come at any time.
    signal.set_wakeup_fd(writer.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        reader.recv(1)
        stopping.set()

    threading.Thread(target=watch, name="signals", daemon=True).start()
    return stopping
