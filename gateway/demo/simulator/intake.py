"""How the simulator reads a submit: it checks as the real service does, and really looks at the picture."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from PIL import Image

from gateway.demo.simulator.language import FaultError, in_prompt
from gateway.demo.simulator.protocol import Order, Served

if TYPE_CHECKING:
    from flask import Request

    from gateway.demo.simulator.dialects.openai import OpenAI

_FIELDS = frozenset({"prompt", "model", "size", "seconds", "input_reference"})
_DATA_URL = re.compile(r"data:image/[a-z]+;base64,(?P<data>.*)", re.DOTALL)
_LINK = "input_reference[image_url]"
_ANY_SIZE = "1280x720"
_ANY_SECONDS = 4
_LONGEST_SIDE = 4096
_FORMATS = ("PNG", "JPEG", "WEBP")


class Intake:
    """Reads submits of one dialect."""

    def __init__(self, *, dialect: OpenAI, models: Mapping[str, Served]) -> None:
        self._dialect = dialect
        self._models = models

    def order(self, request: Request) -> Order:
        """Return what was ordered. Raises Refused with the answer to give."""
        sent, picture = self._fields(request)
        fields = self._dialect.asked(sent)
        unknown = sorted(fields.keys() - _FIELDS)
        if unknown and self._dialect.refuses_unknown_fields:
            raise self._dialect.refused(
                f"Unknown parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter"
            )
        model = self._one_of("model", fields.get("model") or next(iter(self._models)), self._models)
        served = self._models[model]
        size = self._size(fields, served)
        order = Order(
            model=model,
            prompt=self.prompt(fields),
            size=size,
            seconds=self._seconds(fields, served),
            picture=picture if picture is not None else self._linked(fields.get("input_reference")),
        )
        if order.picture is not None:
            self._look(order.picture, order.size)
        return order

    def prompt(self, fields: Mapping[str, object]) -> str:
        """Return the prompt, its fault words known. Raises Refused."""
        prompt = fields.get("prompt")
        if not isinstance(prompt, str) or not prompt:
            raise self._dialect.refused(
                "Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter"
            )
        if len(prompt) > self._dialect.prompt_max:
            message = f"Invalid 'prompt': string too long. Expected at most {self._dialect.prompt_max} characters."
            raise self._dialect.refused(message, param="prompt", code="string_above_max_length")
        try:
            in_prompt(prompt)
        except FaultError as error:
            raise self._dialect.refused(str(error), param="prompt") from error
        return prompt

    def _fields(self, request: Request) -> tuple[dict[str, object], bytes | None]:
        if request.mimetype == "multipart/form-data" and self._dialect.takes_forms:
            part = request.files.get("input_reference")
            # SDKs spell an object in a form as `input_reference[image_url]`.
            linked = request.form.get(_LINK)
            form: dict[str, object] = {name: value for name, value in request.form.items() if name != _LINK}
            if linked is not None:
                form["input_reference"] = {"image_url": linked}
            return form, None if part is None else part.read()
        fields = request.get_json(silent=True) if self._dialect.takes_json else {}
        if not isinstance(fields, dict):
            raise self._dialect.refused("We could not parse the body of your request.", param="", code="invalid_body")
        return fields, None

    def _one_of(self, name: str, value: object, allowed: Iterable[object]) -> str:
        names = [str(one) for one in allowed]
        if not isinstance(value, str) or value not in names:
            listed = ", ".join(f"'{one}'" for one in names)
            raise self._dialect.refused(f"Invalid value: '{value}'. Supported values are: {listed}.", param=name)
        return value

    def _size(self, fields: Mapping[str, object], served: Served) -> str:
        size = fields.get("size") or next(iter(served.sizes), _ANY_SIZE)
        if served.sizes:
            return self._one_of("size", size, served.sizes)
        match = re.fullmatch(r"(\d+)x(\d+)", str(size))
        # The encoder wants even sides, and the machine small ones.
        if match is None or any(int(side) % 2 or not 16 <= int(side) <= _LONGEST_SIDE for side in match.groups()):
            raise self._dialect.refused(f"Invalid size for this model: '{size}'", param="size")
        return str(size)

    def _seconds(self, fields: Mapping[str, object], served: Served) -> int:
        value = fields.get("seconds", str(next(iter(served.seconds), _ANY_SECONDS)))
        if self._dialect.seconds_as_text and not isinstance(value, str):
            listed = ", ".join(f"'{one}'" for one in served.seconds)
            message = f"Invalid type for 'seconds': expected one of {listed}, but got an integer instead."
            raise self._dialect.refused(message, param="seconds", code="invalid_type")
        if served.seconds:
            return int(self._one_of("seconds", str(value), served.seconds))
        if re.fullmatch(r"[1-9]\d?", str(value)) is None:
            raise self._dialect.refused(f"Invalid seconds for this model: '{value}'", param="seconds")
        return int(str(value))

    def _linked(self, reference: object) -> bytes | None:
        """Return the picture of a JSON `input_reference`. The simulator fetches nothing: only a data URL has one."""
        if reference is None:
            return None
        url = reference.get("image_url") if isinstance(reference, dict) else None
        if not isinstance(url, str):
            message = "Invalid type for 'input_reference': expected a file or an object with 'image_url'."
            raise self._dialect.refused(message, param="input_reference", code="invalid_type")
        match = _DATA_URL.fullmatch(url)
        try:
            return base64.b64decode(match["data"] if match else "!", validate=True)
        except binascii.Error as error:
            message = "The simulator fetches no pictures: 'image_url' must be a base64 data URL."
            raise self._dialect.refused(message, param="input_reference") from error

    def _look(self, picture: bytes, size: str) -> None:
        """Decode the picture. Raises Refused for what is none, or for what is not as large as the video has to be."""
        try:
            with Image.open(io.BytesIO(picture), formats=_FORMATS) as image:
                image.load()
                given = f"{image.width}x{image.height}"
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            message = "Invalid input_reference: the file is not a usable JPEG, PNG or WebP picture."
            raise self._dialect.refused(message, param="input_reference", code="invalid_image") from error
        if self._dialect.pictures_match and given != size:
            message = f"The picture is {given}, but must match the requested width and height: {size}."
            raise self._dialect.refused(message, param="input_reference")
