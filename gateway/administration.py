"""What the operator's short commands do: upstream keys shown and steered, and the proof of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from gateway.bucket.port import BucketError
from gateway.bucket.selftest import prove
from gateway.db.lanes import OPERATOR, SqlLanes
from gateway.db.queries import SqlQueries
from gateway.jobs.errors import NotFound
from gateway.jobs.ports import KeyState
from gateway.settings import ONLY, SettingsError, is_loopback, master_key
from gateway.upstreams.port import Key, KeyRefused
from gateway.webhooks.signing import well_formed
from gateway.wiring.installation import Installation
from gateway.wiring.upstreams import ConfiguredUpstream

_SUBMITS = {
    "accepted": "a submit was accepted",
    "refused": "a submit was refused for good",
    "absent": "a submit was not accepted",
}

Check = tuple[str, Callable[[], str]]


class CheckFailed(Exception):
    """A setting does not hold; the message says what was found, without any secret."""


def checks(installation: Installation) -> Iterator[Check]:
    """Yield each check with the function that proves it: it returns a short text, or raises what is wrong."""
    yield "database", lambda: _database(installation)
    yield "bucket", lambda: _bucket(installation)
    for upstream in installation.upstreams.values():
        for key in upstream.keys:
            named = "upstream" if upstream.name == ONLY else f"upstream {upstream.name}"
            yield f"{named} key {key.name}", partial(_upstream, upstream, key)
    yield "webhook secret", lambda: _webhook_secret(installation)
    yield "API keys", lambda: _api_keys(installation)


def _database(installation: Installation) -> str:
    database = installation.database
    queries = SqlQueries(database)
    if queries.schema_current():
        return "reachable and migrated"
    if installation.settings.on_sqlite:
        return "reachable; the start migrates it"
    raise CheckFailed("it has another schema; run `gateway migrate`")


def _bucket(installation: Installation) -> str:
    proofs = list(prove(installation.bucket, outbound=installation.outbound(2)))
    warnings = [proof.warning for proof in proofs if proof.warning]
    return ", ".join([f"{len(proofs)} steps proven, from writing to deleting", *warnings])


def _upstream(upstream: ConfiguredUpstream, key: Key) -> str:
    trouble = upstream.adapter.ping(key)
    if isinstance(trouble, KeyRefused):
        raise CheckFailed(f"the upstream refuses the key ({trouble.reason}): {trouble.message}")
    if trouble is not None:
        raise CheckFailed(f"no answer from the upstream: {trouble.reason}")
    told = "answers and takes the key"
    if upstream.dialect.facts.can_list:
        told += "; it must belong to this gateway alone, or lost answers can't be told from others' videos"
    return told


def _webhook_secret(installation: Installation) -> str:
    master_key(installation.settings, installation.cwd)
    secrets = [secret.reveal() for secret in installation.settings.webhook_secrets]
    if not all(well_formed(secret) for secret in secrets):
        raise CheckFailed("GATEWAY_WEBHOOK_SECRET is not whsec_ and base64")
    if not secrets:
        return "none set for the clients of the settings; clients made by `gateway keys` have their own"
    return f"{len(secrets)} well formed"


def _api_keys(installation: Installation) -> str:
    settings = installation.settings
    try:
        if settings.api_keys or _any_key_made(installation):
            return "there are some"
    except Exception as error:
        raise CheckFailed(f"they can't be read: {error}") from error
    if is_loopback(settings.bind):
        return "none, so everybody on this machine is the client `default`"
    return "none, so nobody can use this address: `gateway keys create NAME` makes one"


def _any_key_made(installation: Installation) -> bool:
    # A SQLite file that is not migrated has no table of keys yet: the start makes it.
    unborn = installation.settings.on_sqlite and not SqlQueries(installation.database).schema_current()
    return not unborn and installation.clients.any_key()


def upstream_lines(installation: Installation) -> Iterator[str]:
    """Yield a line for every upstream key: slots, pause, last answer."""
    queries = SqlQueries(installation.database)
    states = {(state.upstream, state.key): state for state in queries.upstream_keys()}
    for upstream in installation.upstreams.values():
        for key in upstream.keys:
            state = states.get((upstream.name, key.name))
            slots = f"{state.slots_used if state else 0}/{upstream.settings.max_concurrent} slots"
            heard = _last_answer(state, queries.last_submit(upstream.name, key.name))
            yield "  ".join((upstream.name, f"key {key.name}", slots, _pause(state), heard))


def _pause(state: KeyState | None) -> str:
    if state is None or state.paused_at is None:
        return "open"
    words = f" ({state.last_answer})" if state.last_answer and state.pause_reason != OPERATOR else ""
    return f"paused since {_at(state.paused_at)}: {state.pause_reason}{words}"


def _last_answer(state: KeyState | None, submit: tuple[float, str] | None) -> str:
    """What the upstream said last: to a submit, or of the key."""
    answers = [(submit[0], _SUBMITS[submit[1]])] if submit else []
    if state is not None and state.last_answer_at is not None:
        answers.append((state.last_answer_at, "the key was refused" if state.last_answer else "the key was taken"))
    if not answers:
        return "no answer yet"
    at, words = max(answers)
    return f"last answer {_at(at)}: {words}"


def _at(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")


def pause(installation: Installation, upstream: str) -> int:
    """Submit nothing to an upstream until it is resumed; returns how many keys that are. Raises NotFound."""
    keys = _known(installation, upstream).keys
    for key in keys:
        SqlLanes(installation.database).pause(
            upstream, key.name, reason="operator", answer="", now=installation.database.now()
        )
    return len(keys)


def resume(installation: Installation, upstream: str) -> int:
    """Submit to an upstream again at once; returns how many keys were paused. Raises NotFound."""
    _known(installation, upstream)
    return SqlLanes(installation.database).resume(upstream, None, now=installation.database.now())


def _known(installation: Installation, upstream: str) -> ConfiguredUpstream:
    try:
        return installation.upstreams[upstream]
    except KeyError:
        names = ", ".join(f"'{name}'" for name in installation.upstreams)
        raise NotFound(f"There is no upstream '{upstream}'; there is {names}.", code="not_found") from None


CHECK_ERRORS = (CheckFailed, BucketError, SettingsError)
"""What a check raises when a setting does not hold."""
