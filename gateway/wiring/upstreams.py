"""The configured upstreams, made from their settings: what each offers, its keys, and how to speak to it."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from gateway.jobs.catalogue import Catalogue, Offer
from gateway.settings import ONLY, ModelSettings, SettingsError, UpstreamSettings
from gateway.upstreams import dialects
from gateway.upstreams.dialect import Dialect
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.port import Key


@dataclass(frozen=True, kw_only=True)
class ConfiguredUpstream:
    """One upstream that the settings name."""

    settings: UpstreamSettings
    dialect: Dialect
    keys: Sequence[Key]
    """At least one: without a secret where the upstream wants none."""
    connect: Callable[[UpstreamSettings, Dialect], HttpUpstream]

    @cached_property
    def adapter(self) -> HttpUpstream:
        """How to speak to it, made at the first use; raises SettingsError where it has no URL that will do."""
        if not self.settings.url:
            raise SettingsError([f"{_where(self.settings, 'url')}: must be set"])
        try:
            return self.connect(self.settings, self.dialect)
        except ValueError as error:
            raise SettingsError([f"{_where(self.settings, 'url')}: {error}"]) from error

    @property
    def name(self) -> str:
        """The name by which logs, events and commands call it."""
        return self.settings.name


def configured(
    settings: UpstreamSettings, *, connect: Callable[[UpstreamSettings, Dialect], HttpUpstream]
) -> ConfiguredUpstream:
    """Make an upstream; raises SettingsError that names what is wrong. Nothing is connected yet."""
    return ConfiguredUpstream(settings=settings, dialect=_dialect(settings), keys=_keys(settings), connect=connect)


def catalogue_of(upstreams: Iterable[UpstreamSettings]) -> Catalogue:
    """Return every model by its client name, first the first of the first upstream; raises SettingsError."""
    models: dict[str, list[Offer]] = {}
    for upstream in upstreams:
        facts = _dialect(upstream).facts
        named = upstream.models or tuple(ModelSettings(client_name=name, upstream_name=name) for name in facts.models)
        if not named:
            message = f"the dialect {facts.name} lists no models; name those that the upstream serves"
            raise SettingsError([f"{_where(upstream, 'models')}: {message}"])
        for model in named:
            models.setdefault(model.client_name, []).append(_offer(upstream, model))
    return Catalogue(models=models)


def _dialect(settings: UpstreamSettings) -> Dialect:
    try:
        plain = dialects.named(settings.dialect)
    except ValueError as error:
        raise SettingsError([f"{_where(settings, 'dialect')}: {error}"]) from error
    try:
        return dialects.named(settings.dialect, auth=settings.auth, body=settings.body)
    except ValueError as error:
        option = "auth" if settings.auth is not None and "auth" in str(error) else "body"
        raise SettingsError([f"{_where(settings, option)}: {error} (dialect {plain.facts.name})"]) from error


def _where(settings: UpstreamSettings, option: str) -> str:
    """Return the name of a setting, as whoever wrote it knows it."""
    if settings.name == ONLY:
        return f"GATEWAY_UPSTREAM_{option.upper()}"
    return f"GATEWAY_CONFIG: upstreams.{settings.name}.{option}"


def _keys(settings: UpstreamSettings) -> Sequence[Key]:
    named = [(key.name, key.secret.reveal()) for key in settings.keys] or [("none", "")]
    return [
        Key(name=name, secret=secret, fingerprint=hashlib.sha256(secret.encode()).hexdigest()[:16])
        for name, secret in named
    ]


def _offer(upstream: UpstreamSettings, model: ModelSettings) -> Offer:
    facts = _dialect(upstream).facts
    known, must_match = facts.models.get(model.upstream_name), upstream.image_must_match_size
    offer = Offer(
        upstream=upstream.name,
        upstream_model=model.upstream_name,
        sizes=known.sizes if known else (),
        seconds=known.seconds if known else (),
        prompt_max=facts.prompt_max,
        extra=facts.extra,
        image_must_match_size=facts.image_must_match_size if must_match is None else must_match,
        can_remix=facts.can_remix,
        strict=upstream.strict,
        available_until=_end_of(model.available_until or upstream.available_until),
    )
    if model.sizes is not None:
        offer = replace(offer, sizes=model.sizes)
    return offer if model.seconds is None else replace(offer, seconds=model.seconds)


def _end_of(day: dt.date | None) -> float | None:
    """Return the end of a day in UTC, in Unix seconds."""
    if day is None:
        return None
    return dt.datetime.combine(day, dt.time(), dt.UTC).timestamp() + 86400.0
