"""The one adapter to every upstream that speaks a dialect of `POST /v1/videos`: a dialect's data, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal
from urllib.parse import quote, urlencode

from gateway.clock import Clock
from gateway.outbound.session import AnswerLost, NotSent, Outbound, Reply
from gateway.upstreams import decide, port
from gateway.upstreams.cleaning import Cleaner
from gateway.upstreams.content import Download, Limits
from gateway.upstreams.dialect import Dialect
from gateway.upstreams.encoding import Body
from gateway.upstreams.origins import is_local, origin_of
from gateway.upstreams.replies import is_hiccup, no_answer, refused_key

_ANSWER_MAX = 1 << 20
_LIST_MAX = 24 << 20
"""A page of 100 videos whose prompts are as long as can be, written as escapes."""
_VARIANT_MAX = 16 << 20
_LIMITS = Limits()


class HttpUpstream:
    """One configured upstream; see `gateway.upstreams.port.Upstream` for what its methods promise.

    `submits` must make a fresh connection per call, so that a submit is never lost to a connection that was just being
    closed. `foreign` fetches content from other hosts than the upstream's and must be guarded; for an upstream on a
    private network, whose store will be on it too, `calls` takes its place. `clock` is monotonic.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        dialect: Dialect,
        submits: Outbound,
        calls: Outbound,
        foreign: Outbound,
        submit_timeout_s: float,
        poll_timeout_s: float,
        clock: Clock,
        limits: Limits = _LIMITS,
    ) -> None:
        origin = origin_of(base_url)
        if origin is None:
            raise ValueError(f"upstream {name}: the URL must be http or https, with a host and without a user name")
        self.name = name
        self.facts = dialect.facts
        self._base = base_url.rstrip("/")
        self._origin = origin
        self._dialect = dialect
        self._submits = submits
        self._calls = calls
        self._foreign = calls if is_local(origin) else foreign
        self._submit_timeout_s = submit_timeout_s
        self._poll_timeout_s = poll_timeout_s
        self._clock = clock
        self._limits = limits

    def submit(
        self, request: port.VideoRequest, key: port.Key, *, before_send: Callable[[], bool]
    ) -> port.SubmitOutcome:
        """POST the request once."""
        started = self._clock()
        url, body = self._url(), self._dialect.body(request)
        if request.remix_of is not None:
            url, body = self._url(request.remix_of, "/remix"), Body(json={"prompt": request.prompt})
        try:
            reply = self._submits.exchange(
                "POST",
                url,
                deadline_s=self._submit_timeout_s,
                max_body=_ANSWER_MAX,
                headers=self._headers(key),
                files=list(body.parts) or None,
                json=body.json,
                before_send=before_send,
            )
        except NotSent as error:
            if error.declined:
                return port.NotSent()
            return port.NotAccepted(reason=error.reason, answer=self._silence(started))
        except AnswerLost as error:
            return port.Unknown(reason=error.reason, answer=self._silence(started))
        return decide.submit(
            reply,
            clean=self._cleaner(key, *([request.remix_of] if request.remix_of else [])),
            repeats_blank=self._dialect.repeats_blank,
            is_remix=request.remix_of is not None,
        )

    def poll(self, upstream_job_id: str, key: port.Key) -> port.PollOutcome:
        """Ask about one job."""
        reply = self._ask("GET", self._url(upstream_job_id), key)
        if isinstance(reply, port.NoAnswer):
            return reply
        return decide.poll(reply, dialect=self._dialect, clean=self._cleaner(key, upstream_job_id))

    def content(
        self, upstream_job_id: str, key: port.Key, *, urls: Sequence[str]
    ) -> AbstractContextManager[port.ContentOutcome]:
        """Open the content."""
        path = [self._url(upstream_job_id, self._dialect.content_path)]
        candidates = [*path, *urls] if self._dialect.content_first == "path" else [*urls, *path]
        return self._download(upstream_job_id, key, self._limits, "video").opened(candidates)

    def variant(
        self, upstream_job_id: str, key: port.Key, name: str, *, within_s: float
    ) -> AbstractContextManager[port.ContentOutcome]:
        """Open a picture beside the video."""
        limits = Limits(first_byte_s=within_s, stall_s=within_s, deadline_s=within_s, size=_VARIANT_MAX)
        url = self._url(upstream_job_id, self._dialect.content_path, {"variant": name})
        return self._download(upstream_job_id, key, limits, "picture").opened([url])

    def _download(
        self, upstream_job_id: str, key: port.Key, limits: Limits, wanted: Literal["video", "picture"]
    ) -> Download:
        return Download(
            own=self._calls,
            foreign=self._foreign,
            origin=self._origin,
            headers=self._headers(key),
            clean=self._cleaner(key, upstream_job_id),
            limits=limits,
            clock=self._clock,
            wanted=wanted,
        )

    def page(self, key: port.Key, *, after: str | None) -> port.ListOutcome:
        """Return one page of the list."""
        query = {"limit": str(decide.PAGE), "order": "desc"} | ({} if after is None else {"after": after})
        reply = self._ask("GET", self._url(query=query), key, max_body=_LIST_MAX)
        if isinstance(reply, port.NoAnswer):
            return reply
        return decide.page(reply, dialect=self._dialect, after=after, clean=self._cleaner(key))

    def cancel(self, upstream_job_id: str, key: port.Key) -> bool:
        """DELETE the job, which stops it at some upstreams (vLLM-Omni) and is refused by others."""
        reply = self._ask("DELETE", self._url(upstream_job_id), key)
        return not isinstance(reply, port.NoAnswer) and 200 <= reply.status < 300

    def ping(self, key: port.Key) -> port.NoAnswer | port.KeyRefused | None:
        """Ask for one entry of the list, or for what the dialect names; any answer but a hiccup will do."""
        path = self._dialect.ping_path
        url = self._url(query={"limit": "1"}) if path is None else f"{self._base}{path}{self._query({})}"
        reply = self._ask("GET", url, key)
        if isinstance(reply, port.NoAnswer):
            return reply
        clean = self._cleaner(key)
        refused = refused_key(reply, clean=clean)
        if refused is not None or not is_hiccup(reply):
            return refused
        return no_answer(reply, clean=clean)

    def _ask(self, method: str, url: str, key: port.Key, *, max_body: int = _ANSWER_MAX) -> Reply | port.NoAnswer:
        started = self._clock()
        try:
            return self._calls.exchange(
                method, url, deadline_s=self._poll_timeout_s, max_body=max_body, headers=self._headers(key)
            )
        except (NotSent, AnswerLost) as error:
            return port.NoAnswer(reason=error.reason, answer=self._silence(started))

    def _url(self, upstream_job_id: str | None = None, tail: str = "", query: Mapping[str, str] | None = None) -> str:
        # Ids of some gateways are base64 and may hold a slash.
        job = "" if upstream_job_id is None else "/" + quote(upstream_job_id, safe="")
        return self._base + self._dialect.path + job + tail + self._query(query or {})

    def _query(self, query: Mapping[str, str]) -> str:
        whole = {**self._dialect.query, **query}
        return "?" + urlencode(whole) if whole else ""

    def _headers(self, key: port.Key) -> dict[str, str]:
        return self._dialect.auth.headers(key.secret)

    def _cleaner(self, key: port.Key, *names: str) -> Cleaner:
        # A host of one plain word ("video") would tear holes into innocent messages.
        host = [self._origin.host] if "." in self._origin.host else []
        return Cleaner(secrets=(key.secret,), names=(*host, *names), hidden=self._dialect.secret_fields)

    def _silence(self, started: float) -> port.Answer:
        return port.Answer(status=None, elapsed_s=self._clock() - started)
