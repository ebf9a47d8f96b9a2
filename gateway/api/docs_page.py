"""The page that renders the OpenAPI document. All that it loads lies in this package: it works without a network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from flask import Response, request

from gateway.api.operation import Operation, Parameter, Success
from gateway.api.services import ApiServices
from gateway.jobs.errors import NotFound

_FOLDER = Path(__file__).with_name("docs")

_ASSETS: Mapping[str, tuple[str, str]] = {
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "swagger-ui.css": ("swagger-ui/swagger-ui.css", "text/css; charset=utf-8"),
    "swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
}
"""Name in the URL to file and content type."""

_PAGE_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Data URLs: Swagger UI's style sheet carries its icons so."""

_FOREVER = "public, max-age=31536000, immutable"


def page(services: ApiServices) -> Response:
    """Answer with the page."""
    del services
    answer = Response(_page(), content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = _PAGE_CSP
    return _cached(answer, etag=hashlib.sha256(_page().encode()).hexdigest()[:16], how="no-cache")


def asset(services: ApiServices, asset: str) -> Response:
    """Answer with a file that the page loads; under the version that the page names it stays as it is for good."""
    del services
    if asset not in _ASSETS:
        raise NotFound(f"There is no file '{asset[:80]}' here.", code="not_found", param="asset")
    answer = Response(_content(asset), content_type=_ASSETS[asset][1])
    version = _version(asset)
    return _cached(answer, etag=version, how=_FOREVER if request.args.get("v") == version else "no-cache")


def _cached(answer: Response, *, etag: str, how: str) -> Response:
    answer.headers["Cache-Control"] = how
    answer.set_etag(etag)
    answer.make_conditional(request)
    return answer


@cache
def _page() -> str:
    """Return the page with the version of each asset in its URL, so that a new release is never mixed with an old."""
    written = (_FOLDER / "index.html").read_text(encoding="utf-8")
    return re.sub(r'"/docs/([^"]+)"', lambda found: f'"/docs/{found[1]}?v={_version(found[1])}"', written)


@cache
def _content(asset: str) -> bytes:
    return (_FOLDER / _ASSETS[asset][0]).read_bytes()


@cache
def _version(asset: str) -> str:
    return hashlib.sha256(_content(asset)).hexdigest()[:16]


OPERATIONS: Sequence[Operation] = (
    Operation(
        method="GET", path="/docs", name="docs", view=page, tag="Operation", public=True,
        summary="This document as a page", description="Works without a network; try requests out with your own key.",
        successes=[Success(status=200, description="The page.", content_type="text/html")],
    ),
    Operation(
        method="GET", path="/docs/{asset}", name="docs_asset", view=asset, tag="Operation", public=True,
        documented=False, summary="A file that the page loads",
        parameters=[
            Parameter(name="asset", place="path", description="The file."),
            Parameter(name="v", place="query", description="Its version: with it, the answer may be kept for good."),
        ],
        successes=[Success(status=200, description="The file.")],
        errors={404: "not_found"},
    ),
)  # fmt: skip
