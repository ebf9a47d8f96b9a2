"""Who is asking: deny by default, an API key by `Authorization`, and the one open door of a gateway without any key."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from urllib.parse import SplitResult, urlsplit

from flask import Flask, g, request

from gateway.api.errors import Forbidden, TooManyRequests, Unauthorized
from gateway.api.services import ApiServices
from gateway.jobs.ports import Caller

OPEN_CLIENT = "default"
"""The client of a gateway that has no key at all."""

_LONGEST_KEY = 512


def caller() -> Caller:
    """Return who sent the present request; only called behind the check, in views that are not public."""
    found: Caller = g.caller
    return found


class Doorkeeper:
    """Lets a request in, or raises Unauthorized, Forbidden or TooManyRequests."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._configured = [(_digest(entry.key), entry.client) for entry in services.configured_keys]

    def admit(self) -> None:
        """Set the caller of the present request, and take it from its rate."""
        g.caller = self._known(_secret())
        per_minute = self._services.client_requests_per_minute
        if per_minute > 0:
            self._count(g.caller, per_minute)

    def _known(self, secret: str | None) -> Caller:
        found = self._caller(secret) if secret else None
        if found is not None:
            return found
        # Asked anew each time: the first key that is made ends the open access, without a restart.
        if self._services.open_access and not self._services.clients.any_key():
            _check_local()
            return Caller(client=OPEN_CLIENT)
        if secret is None:
            raise Unauthorized(
                "No API key was given. Send it in the header: Authorization: Bearer KEY.", code="missing_api_key"
            )
        raise Unauthorized("The API key is unknown or was revoked.", code="invalid_api_key")

    def _caller(self, secret: str) -> Caller | None:
        given = _digest(secret)
        found = None
        # Every configured key is compared, and whole hashes of equal length, so the time tells nothing.
        for digest, client in self._configured:
            if hmac.compare_digest(digest, given):
                found = Caller(client=client)
        return found or self._services.clients.caller(secret)

    def _count(self, who: Caller, per_minute: int) -> None:
        now = self._services.queries.now()
        wait = self._services.rate_limits.take(who.client, per_minute=per_minute, now=now)
        if wait is not None:
            message = f"This client may send {per_minute} requests a minute."
            raise TooManyRequests(message, retry_after_s=wait)


def install(app: Flask, services: ApiServices) -> None:
    """Let nobody past who gives no key, except to the endpoints that say they are public."""
    keeper = Doorkeeper(services)

    def check() -> None:
        # No endpoint: the answer is 404 or 405, which tell no more than /openapi.yaml does.
        if request.endpoint is None or request.endpoint in app.extensions["gateway_public"]:
            return
        keeper.admit()

    app.before_request(check)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _secret() -> str | None:
    """Return the key of `Authorization: Bearer KEY`, or of the bare key that some providers take."""
    words = request.headers.get("Authorization", "").split()
    if len(words) == 2 and words[0].lower() == "bearer":
        words = words[1:]
    if len(words) != 1 or words[0].lower() == "bearer" or len(words[0]) > _LONGEST_KEY:
        return None
    return words[0]


def _check_local() -> None:
    """Refuse what a web page elsewhere could make a browser on this machine send.

    A page may post forms to loopback addresses, and may point its own name at one: the first shows in `Sec-Fetch-Site`
    or `Origin`, the second in `Host`.
    """
    host = request.host
    if not _is_loopback(_parts(f"//{host}").hostname):
        raise Forbidden(
            "Without any API key this gateway answers only at a loopback address. Make one: gateway keys create NAME.",
            code="open_access_refused",
        )
    origin = request.headers.get("Origin")
    foreign = origin is not None and _parts(origin).netloc != host
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        raise Forbidden(
            "Without any API key this gateway answers no other site's pages. Make one: gateway keys create NAME.",
            code="open_access_refused",
        )


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _is_loopback(host: str | None) -> bool:
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
