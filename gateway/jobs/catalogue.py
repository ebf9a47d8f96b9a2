"""What may be asked for: the models that clients name, and what each upstream that serves one of them takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gateway.jobs.errors import InvalidField


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One upstream serving one model."""

    upstream: str
    upstream_model: str
    sizes: Sequence[str]
    """First the default; empty where the upstream's own are not known, and then any is passed on."""
    seconds: Sequence[int]
    """Every length it takes; empty where not known."""
    prompt_max: int
    extra: Sequence[str] = ()
    image_must_match_size: bool = False
    can_remix: bool = False
    strict: bool = True
    """False passes on sizes and seconds that are not listed."""
    available_until: float | None = None
    """From this instant in Unix seconds on it takes no new video."""

    @property
    def default_size(self) -> str:
        """The size of a request that names none."""
        return self.sizes[0] if self.sizes else "720x1280"

    @property
    def default_seconds(self) -> int:
        """The length of a request that names none: the least."""
        return min(self.seconds) if self.seconds else 4

    def takes(self, size: str, seconds: int) -> bool:
        """Whether it serves this size and this length."""
        return not self.strict or (
            (not self.sizes or size in self.sizes) and (not self.seconds or seconds in self.seconds)
        )

    def takes_picture(self, dimensions: str, size: str) -> bool:
        """Whether it makes a video of this size from a picture of these dimensions; empty: they are not known."""
        return not self.image_must_match_size or dimensions in {"", size}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What a request asks for once the gaps are filled; `offers` are the upstreams that can serve it, in order."""

    model: str
    size: str
    seconds: int
    offers: Sequence[Offer]


def _listed(values: Sequence[object]) -> str:
    return ", ".join(f"'{value}'" for value in dict.fromkeys(values))


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """Every model of this gateway by the name that clients use; the first is the default."""

    models: Mapping[str, Sequence[Offer]]

    def choose(self, *, model: str | None, size: str | None, seconds: int | None, now: float) -> Choice:
        """Fill the gaps with defaults and check the rest; raises InvalidField that says what is allowed."""
        name, offers = self._named(model, now)
        filled = [
            (offer.default_size if size is None else size, offer.default_seconds if seconds is None else seconds)
            for offer in offers
        ]
        # The first upstream that can serve what was named fills the gaps; its defaults need not be the first one's.
        fits = (chosen for chosen, offer in zip(filled, offers, strict=True) if offer.takes(*chosen))
        chosen_size, chosen_seconds = next(fits, filled[0])
        fitting = [offer for offer in offers if offer.takes(chosen_size, chosen_seconds)]
        if not fitting:
            raise self._unfit(name, offers, chosen_size, chosen_seconds)
        return Choice(model=name, size=chosen_size, seconds=chosen_seconds, offers=fitting)

    def _named(self, model: str | None, now: float) -> tuple[str, Sequence[Offer]]:
        """Return the model asked for, or else the first that is still served, with what is still offered of it."""
        served = {name: offers for name in self.models if (offers := self.offered(name, now=now))}
        name = model if model is not None else next(iter(served or self.models))
        if name in served:
            return name, served[name]
        allowed = f"Allowed: {_listed(list(served))}."
        if name in self.models:
            raise InvalidField("model", f"The model '{name}' is served no longer. {allowed}", code="model_retired")
        message = f"The model '{name[:100]}' is not served here. {allowed}"
        raise InvalidField("model", message, code="model_not_found")

    def offered(self, model: str, *, now: float) -> Sequence[Offer]:
        """Return what is still offered of a model."""
        offers = self.models.get(model, ())
        return [offer for offer in offers if offer.available_until is None or now < offer.available_until]

    def offer(self, *, model: str, upstream: str | None) -> Offer | None:
        """Return what an upstream offers of a model."""
        return next((offer for offer in self.models.get(model, ()) if offer.upstream == upstream), None)

    def routes(
        self, *, model: str, size: str, seconds: int, prompt: str, extra: Collection[str], picture: str = ""
    ) -> tuple[str, ...]:
        """Return the upstreams that can make a video, in order, also those that take no new ones.

        `picture`: the dimensions of the one it starts from, where there is one and they are known.
        """
        offers = [offer for offer in self.models.get(model, ()) if offer.takes(size, seconds)]
        offers = [offer for offer in offers if offer.takes_picture(picture, size)]
        fitting = [offer for offer in offers if len(prompt) <= offer.prompt_max and set(extra) <= set(offer.extra)]
        return tuple(dict.fromkeys(offer.upstream for offer in fitting))

    @staticmethod
    def _unfit(name: str, offers: Sequence[Offer], size: str, seconds: int) -> InvalidField:
        sizes = [listed for offer in offers for listed in offer.sizes]
        if all(offer.strict and offer.sizes and size not in offer.sizes for offer in offers):
            return InvalidField("size", f"The size '{size[:40]}' is not served by '{name}'. Allowed: {_listed(sizes)}.")
        lengths = sorted({listed for offer in offers for listed in offer.seconds})
        message = f"{seconds} seconds at {size} are not served by '{name}'. Allowed: {_listed(lengths)}."
        return InvalidField("seconds", message)
