"""The models that this gateway routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flask import Response, jsonify

from gateway.api import answers
from gateway.api.operation import Operation, Parameter, Success
from gateway.api.paging import listed
from gateway.api.services import ApiServices
from gateway.jobs.catalogue import Offer
from gateway.jobs.errors import NotFound


def index(services: ApiServices) -> Response:
    """List the models, first the default."""
    return jsonify(listed([_shown(name, offers) for name, offers in _offered(services)]))


def show(services: ApiServices, model: str) -> Response:
    """Show one model."""
    offers = services.catalogue.offered(model, now=services.wall())
    if not offers:
        raise NotFound(f"There is no model '{model[:100]}'.", code="model_not_found", param="model")
    return jsonify(_shown(model, offers))


def _offered(services: ApiServices) -> Iterator[tuple[str, Sequence[Offer]]]:
    now = services.wall()
    for name in services.catalogue.models:
        if offers := services.catalogue.offered(name, now=now):
            yield name, offers


def _shown(name: str, offers: Sequence[Offer]) -> Mapping[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "sora-gateway",
        "sizes": list(dict.fromkeys(size for offer in offers for size in offer.sizes)),
        "seconds": [str(length) for length in sorted({length for offer in offers for length in offer.seconds})],
        "default_size": offers[0].default_size,
        "default_seconds": str(offers[0].default_seconds),
        "prompt_max_characters": max(offer.prompt_max for offer in offers),
        "extra": sorted({name for offer in offers for name in offer.extra}),
    }


OPERATIONS = (
    Operation(
        method="GET", path="/v1/models", name="list_models", view=index, tag="Models",
        summary="List models", description="First the one that is used where none is asked for.",
        successes=[Success(status=200, description="The models.", schema=answers.ModelListSchema)],
    ),
    Operation(
        method="GET", path="/v1/models/{model}", name="get_model", view=show, tag="Models",
        summary="Look at a model", description="With the sizes, lengths and extra parameters that it takes.",
        parameters=[Parameter(name="model", place="path", description="The name of the model.", slashes=True)],
        successes=[Success(status=200, description="The model.", schema=answers.ModelSchema)],
        errors={404: "model_not_found"},
    ),
)  # fmt: skip
