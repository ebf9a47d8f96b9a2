"""Answers in JSON, and what a fault makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from flask import Response, request

from gateway.demo.connection import LINGER, dropping
from gateway.demo.simulator.faults import Error, Page, Trick

if TYPE_CHECKING:
    from gateway.demo.simulator.dialects.openai import OpenAI
    from gateway.demo.simulator.faults import Fault, Stage
    from gateway.demo.simulator.gates import Gates
    from gateway.demo.simulator.protocol import Refusal

_HTML = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_TITLES = {
    200: "Welcome",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}

Make = Callable[[], Response]


class Dropped(Response):
    """No answer at all: the connection ends."""

    def __init__(self, *, reset: bool = True, before: bytes = b"", length: int | None = None) -> None:
        super().__init__(dropping(before, reset=reset), content_type="application/json")
        if length is not None:
            self.content_length = length


def answer(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    text = json.dumps(body, ensure_ascii=False)
    return Response(text, status=status, headers=headers, content_type="application/json")


def refused(refusal: Refusal) -> Response:
    """Return a refusal as an answer."""
    return answer(refusal.body, status=refusal.status, headers=refusal.headers)


def linger(seconds: float) -> bool:
    """Wait within a request; True when its client went away meanwhile."""
    return bool(request.environ[LINGER](seconds))


class Mischief:
    """Does to an answer what a fault asks for."""

    def __init__(self, *, dialect: OpenAI, gates: Gates) -> None:
        self._dialect = dialect
        self._gates = gates
        self._tricks: Mapping[Trick, Callable[[Fault, Make], Response]] = {
            Trick.RESET: self._reset,
            Trick.CUT: self._cut,
            Trick.BROKEN: self._broken,
            Trick.BLANK: lambda _, make: _with_body(make(), b""),
            Trick.ARRAY: lambda _, make: _with_body(make(), b'["unexpected"]'),
            Trick.HUGE: self._huge,
            Trick.NO_ID: self._no_id,
            Trick.ID_AS: self._id_as,
            Trick.STATUS: self._status,
            Trick.SLOW: self._slow,
            Trick.HOLD: self._hold,
        }

    def perform(self, fault: Fault | None, make: Make) -> Response:
        """Return the answer that `make` makes, or what the fault makes of it."""
        if fault is None:
            return make()
        if isinstance(fault.row.act, Trick):
            return self._tricks[fault.row.act](fault, make)
        if fault.row.made:
            make()
        return self.plain(fault)

    def plain(self, fault: Fault) -> Response:
        """Return the answer of a fault that needs no right one."""
        act = fault.row.act
        if isinstance(act, Page):
            return Response(_HTML.format(_TITLES[act.status]), status=act.status, content_type="text/html")
        if isinstance(act, Error):
            response = refused(self._dialect.refusal(act.kind))
            if act.retry_after:
                response.headers[self._dialect.retry_after] = fault.value
            return response
        msg = f"{fault.row.name} is no plain answer"
        raise TypeError(msg)

    def hold(self, stage: Stage) -> bool:
        """Wait for a release; False when the simulator stops instead."""
        return self._gates.hold(stage)

    def _reset(self, fault: Fault, make: Make) -> Response:
        if fault.row.made:
            make()
        return Dropped()

    def _cut(self, _: Fault, make: Make) -> Response:
        body = make().get_data()
        return Dropped(reset=False, before=body[: len(body) // 2], length=len(body))

    def _broken(self, _: Fault, make: Make) -> Response:
        response = make()
        return _with_body(response, response.get_data()[:-20])

    def _huge(self, fault: Fault, make: Make) -> Response:
        return _changed(make(), {"padding": "x" * int(fault.number)})

    def _no_id(self, _: Fault, make: Make) -> Response:
        return _changed(make(), {}, without="id")

    def _id_as(self, fault: Fault, make: Make) -> Response:
        response = make()
        name, *deeper = fault.value.split(".")
        value = (response.get_json() or {}).get("id")
        return _changed(response, {name: {deeper[0]: value} if deeper else value}, without="id")

    def _status(self, fault: Fault, make: Make) -> Response:
        return _changed(make(), {"status": fault.value})

    def _slow(self, fault: Fault, make: Make) -> Response:
        response = make()
        return Dropped() if linger(fault.number) else response

    def _hold(self, fault: Fault, make: Make) -> Response:
        response = make() if fault.row.made else None
        if not self.hold(fault.row.stage):
            return Dropped()
        return make() if response is None else response


def _with_body(response: Response, body: bytes) -> Response:
    response.set_data(body)
    return response


def _changed(response: Response, fields: Mapping[str, object], *, without: str = "") -> Response:
    """Return a right answer with some fields changed; an error stays as it is."""
    if response.status_code >= 300:
        return response
    shown = {name: value for name, value in response.get_json().items() if name != without}
    return _with_body(response, json.dumps({**shown, **fields}).encode())
