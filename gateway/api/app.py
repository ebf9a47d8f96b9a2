"""The app: every operation registered with Flask, behind the same door and the same error table."""

from __future__ import annotations

from functools import partial

from flask import Flask

from gateway.api import access, auth, errors
from gateway.api.bodies import GatewayRequest
from gateway.api.openapi import OPERATIONS
from gateway.api.services import ApiServices

_MOST_FORM_PARTS = 200


def create_app(services: ApiServices) -> Flask:
    """Return the WSGI app. Nothing is opened here: it may be made before a fork."""
    app = Flask("gateway", static_folder=None)
    app.request_class = GatewayRequest
    app.config["MAX_CONTENT_LENGTH"] = services.max_body_bytes
    # A picture as a data URL in a form is one long text field.
    app.config["MAX_FORM_MEMORY_SIZE"] = services.max_body_bytes
    app.config["MAX_FORM_PARTS"] = _MOST_FORM_PARTS
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    access.install(app, services)
    errors.install(app)
    auth.install(app, services)
    app.extensions["gateway_public"] = {operation.name for operation in OPERATIONS if operation.public}
    for operation in OPERATIONS:
        view = partial(operation.view, services)
        app.add_url_rule(operation.rule, operation.name, view, methods=[operation.method])
    return app
