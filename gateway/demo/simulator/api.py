"""The routes of a simulated upstream."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from gateway.demo.simulator.answers import Dropped, answer, refused
from gateway.demo.simulator.faults import Stage
from gateway.demo.simulator.intake import Intake
from gateway.demo.simulator.protocol import Asked, Order, Refused

if TYPE_CHECKING:
    from werkzeug.datastructures import Headers

    from gateway.clock import Clock
    from gateway.demo.simulator.allowance import Allowance
    from gateway.demo.simulator.answers import Mischief
    from gateway.demo.simulator.content import ContentServer
    from gateway.demo.simulator.dialects.openai import OpenAI
    from gateway.demo.simulator.films import Film, Films
    from gateway.demo.simulator.ledger import Ledger
    from gateway.demo.simulator.protocol import Seen
    from gateway.demo.simulator.settings import SimulatorSettings
    from gateway.demo.simulator.video import Video

_PAGE = 20
_LONGEST_PAGE = 100


class Api:
    """Answers as one dialect does, out of the ledger."""

    def __init__(
        self,
        *,
        settings: SimulatorSettings,
        dialect: OpenAI,
        ledger: Ledger,
        films: Films,
        mischief: Mischief,
        contents: ContentServer,
        allowance: Allowance,
        wall: Clock,
        monotonic: Clock,
    ) -> None:
        self._settings = settings
        self._dialect = dialect
        self._models = settings.models or dialect.models
        self._intake = Intake(dialect=dialect, models=self._models)
        self._ledger = ledger
        self._films = films
        self._mischief = mischief
        self._contents = contents
        self._allowance = allowance
        self._wall = wall
        self._monotonic = monotonic
        self._link_key = secrets.token_bytes(16)

    def register(self, app: Flask) -> None:
        """Add the routes that the dialect has."""
        videos, dialect = f"{self._dialect.path}/videos", self._dialect
        one = f"{videos}/<video_id>"
        routes: list[tuple[str, str, Callable[..., Response], bool]] = [
            ("POST", videos, self.create, True),
            ("GET", one, self.retrieve, True),
            ("GET", f"{one}/content", self.content, True),
            ("GET", f"{dialect.path}{dialect.models_path}", self.list_models, True),
            ("GET", f"{dialect.path}{dialect.key_path}", self.show_key, dialect.key_path is not None),
            ("GET", videos, self.show_list, dialect.can_list),
            ("DELETE", one, self.delete, dialect.can_delete),
            ("POST", f"{one}/remix", self.remix, dialect.can_remix),
        ]
        for method, path, view, known in routes:
            if known:
                app.add_url_rule(
                    path, view.__name__, self._guarded(view), methods=[method], provide_automatic_options=False
                )
        app.add_url_rule("/_simulator/files/<video_id>", "file", self.file)
        app.register_error_handler(HTTPException, self._no_route)
        app.register_error_handler(Refused, lambda error: refused(error.refusal))

    def create(self, owner: str) -> Response:
        """Take a new video."""
        order = self._intake.order(request)
        return self._submit(order, owner)

    def remix(self, owner: str, video_id: str) -> Response:
        """Take a new video that starts from a finished one."""
        parent = self._ledger.seen(self._find(video_id, owner))
        fields = request.get_json(silent=True) or request.form
        if parent.status != "completed":
            raise self._dialect.refused("The video to remix is not completed.", param="id")
        order = Order(
            model=parent.model,
            prompt=self._intake.prompt(fields),
            size=parent.size,
            seconds=parent.seconds,
            remixed_from=parent.id,
        )
        return self._submit(order, owner)

    def retrieve(self, owner: str, video_id: str) -> Response:
        """Show one video."""
        video = self._find(video_id, owner)
        self._ledger.tally(video, polls=1)
        fault = self._ledger.strike(Stage.POLL, scope=video.id, plan=self._ledger.own_plan(video))
        return self._mischief.perform(fault, lambda: self._shown(video, "poll"))

    def show_list(self, owner: str) -> Response:
        """Show a page of the key's videos, newest first."""
        self._ledger.count("lists")
        fault = self._ledger.strike(Stage.LIST, scope="server", plan=())
        return self._mischief.perform(fault, lambda: self._page(owner))

    def content(self, owner: str, video_id: str) -> Response:
        """Serve the video."""
        video = self._find(video_id, owner)
        variant = request.args.get("variant", "video") if self._dialect.has_variants else "video"
        self._ledger.tally(video, **({"contents": 1} if variant == "video" else {"variants": 1}))
        seen = self._seen(video)
        if seen.status != "completed" or seen.failure:
            early = seen.status in {"queued", "in_progress"}
            return refused(self._dialect.refusal("content_early" if early else "content_failed"))
        if seen.expires_at is not None and self._wall() >= seen.expires_at:
            return refused(self._dialect.refusal("content_gone"))
        if self._dialect.variants_are_numbers and not request.args.get("variant", "0").isdigit():
            message = f"Video variant {request.args['variant']} not found"
            return refused(self._dialect.refusal("content_variant", message=message))
        if seen.link:
            message = f"Video has been uploaded to cloud storage. Please use the cloud URL: {seen.link}"
            return refused(self._dialect.refusal("content_cloud", message=message))
        stage = Stage.CONTENT if variant == "video" else Stage.VARIANT
        fault = self._ledger.strike(stage, scope=video.id, plan=self._ledger.own_plan(video))
        return self._contents.serve(
            self._film(video, variant),
            fault,
            name=f"{video.id}.mp4" if variant == "video" else f"{video.id}-{variant}",
            sent=lambda: self._ledger.tally(video, downloads=int(variant == "video")),
            link=self._link(video.id, variant),
        )

    def file(self, video_id: str) -> Response:
        """Serve the video to whoever has the signed path that a redirect named."""
        self._ledger.count("files")
        if "Authorization" in request.headers:
            self._ledger.count("files_with_key")
        video = self._ledger.any(video_id)
        variant = request.args.get("variant", "video")
        signature = self._signature(video_id, variant)
        if video is None or not hmac.compare_digest(request.args.get("signature", ""), signature):
            return Response("Request has expired", status=403)
        sent = lambda: self._ledger.tally(video, downloads=int(variant == "video"))  # noqa: E731
        return self._contents.serve(self._film(video, variant), None, name=f"{video_id}.mp4", sent=sent, link="")

    def delete(self, owner: str, video_id: str) -> Response:
        """Delete the video; a running one is stopped."""
        video = self._find(video_id, owner)
        fault = self._ledger.strike(Stage.DELETE, scope=video.id, plan=self._ledger.own_plan(video))

        def deleted() -> Response:
            self._ledger.delete(video)
            return answer(self._dialect.deleted(self._seen(video)))

        return self._mischief.perform(fault, deleted)

    def list_models(self, owner: str) -> Response:
        """List the models."""
        del owner
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in self._models]
        return answer({"object": "list", "data": models})

    def show_key(self, owner: str) -> Response:
        """Tell that the key is good."""
        return answer({"data": {"label": owner, "limit": None, "usage": 0}})

    def film_of(self, video: Video) -> Film:
        """Return the content of a video, whether it is finished or not."""
        return self._film(video, "video")

    def _submit(self, order: Order, owner: str) -> Response:
        note = self._ledger.submission(
            key=owner, prompt=order.prompt, idempotency_key=request.headers.get("Idempotency-Key", "")
        )

        def accepted() -> Response:
            video = self._accept(order, owner)
            if video is None:
                limit = self._settings.max_concurrent
                return refused(self._dialect.refusal("rate", message=f"You have {limit} videos in progress already."))
            note.video_id = video.id
            return self._shown(video, "create")

        scope = f"prompt {owner} {hashlib.sha256(order.prompt.encode()).hexdigest()[:24]}"
        fault = self._ledger.strike(Stage.SUBMIT, scope=scope, plan=self._ledger.faults_in(order.prompt))
        response = self._mischief.perform(fault, accepted)
        note.fault = fault.row.name if fault else ""
        note.answer = "dropped" if isinstance(response, Dropped) else str(response.status_code)
        self._ledger.answered(note)
        return response

    def _accept(self, order: Order, owner: str) -> Video | None:
        picture = "" if order.picture is None else self._ledger.keep_picture(self._films, order.picture, order.size)
        video_id = self._dialect.new_id(self._wall())
        return self._ledger.accept(order, owner=owner, video_id=video_id, picture=picture)

    def _seen(self, video: Video) -> Seen:
        seen = self._dialect.settled(self._ledger.seen(video))
        if not self._dialect.has_cloud or "cloud" not in seen.traits or seen.status != "completed":
            return seen
        # By another name: a key that is sent along does not go to the server's own origin.
        elsewhere = request.host_url.rstrip("/").replace("127.0.0.1", "localhost")
        return replace(seen, link=elsewhere + self._link(video.id))

    def _shown(self, video: Video, asked: Asked) -> Response:
        seen = self._seen(video)
        status = seen.failure.http_status if seen.failure and asked == "poll" else 200
        shown = self._dialect.video(seen, asked=asked, root=request.host_url.rstrip("/"))
        body = shown if status == HTTPStatus.OK else self._dialect.http_failure(shown, status=status)
        return answer(body, status=status, headers=self._dialect.headers(seen))

    def _page(self, owner: str) -> Response:
        videos = self._ledger.listed(owner)
        if request.args.get("order") == "asc":
            videos.reverse()
        after = request.args.get("after")
        if after is not None:
            ids = [video.id for video in videos]
            if after not in ids:
                raise self._dialect.refused(f"No such video: '{after}'.", param="after")
            videos = videos[ids.index(after) + 1 :]
        limit = self._limit()
        root = request.host_url.rstrip("/")
        shown = [self._dialect.video(self._seen(video), asked="list", root=root) for video in videos[:limit]]
        return answer(self._dialect.page(shown, has_more=len(videos) > limit))

    def _limit(self) -> int:
        asked = request.args.get("limit", str(_PAGE))
        if not asked.isdigit() or int(asked) > _LONGEST_PAGE:
            raise self._dialect.refused("Invalid 'limit': expected a whole number from 0 to 100.", param="limit")
        most = self._ledger.server_trait("list-pages")
        return min(int(asked), int(most.number)) if most else int(asked)

    def _film(self, video: Video, variant: str) -> Film:
        if variant != "video":
            if variant not in {"thumbnail", "spritesheet"}:
                raise self._dialect.refused(f"Invalid variant: '{variant}'.", param="variant")
            return self._films.still(size=video.size, picture=video.picture, columns=1 if variant == "thumbnail" else 4)
        length = self._ledger.length_of(video)
        return self._films.film(
            video_id=video.id, size=video.size, seconds=video.seconds, picture=video.picture, length=length
        )

    def _link(self, video_id: str, variant: str = "video") -> str:
        which = "" if variant == "video" else f"variant={variant}&"
        return f"/_simulator/files/{video_id}?{which}signature={self._signature(video_id, variant)}"

    def _signature(self, video_id: str, variant: str) -> str:
        return hmac.new(self._link_key, f"{video_id} {variant}".encode(), hashlib.sha256).hexdigest()

    def _find(self, video_id: str, owner: str) -> Video:
        video = self._ledger.find(video_id, owner)
        if video is None:
            raise Refused(self._dialect.refusal("missing", message=f"Video with id '{video_id}' not found."))
        return video

    def _guarded(self, view: Callable[..., Response]) -> Callable[..., Response]:
        """Return the view behind the check of key and rate."""

        def guarded(**path: str) -> Response:
            owner = self._owner(request.headers)
            wait = self._allowance.spend(owner, self._monotonic())
            if wait > 0:
                self._ledger.count("refused_rate")
                response = refused(self._dialect.refusal("rate"))
                response.headers[self._dialect.retry_after] = str(math.ceil(wait))
                return response
            return view(owner=owner, **path)

        return guarded

    def _owner(self, headers: Headers) -> str:
        """Return the name of the key. Raises Refused for none and for a wrong one."""
        if not self._settings.keys:
            return "anyone"
        given = self._dialect.key_of(headers).encode()
        for name, secret in self._settings.keys.items():
            if hmac.compare_digest(given, secret.encode()):
                return name
        self._ledger.count("refused_key")
        raise Refused(self._dialect.refusal("auth"))

    def _no_route(self, error: HTTPException) -> Response:
        return refused(self._dialect.refusal("method" if isinstance(error, MethodNotAllowed) else "no_path"))
