"""The settings of a simulated upstream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.demo.simulator.protocol import Served


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatorSettings:
    """How one simulated upstream behaves. Names that end in `_s` are seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one."""
    dialect: str = "openai"
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Name to secret; each key sees only its own videos. None at all: no key is asked for."""
    render_s: float = 5.0
    """`math.inf`: a video is finished only by the control path or its own `sim:render`."""
    max_concurrent: int = 5
    """Videos in progress at once, per key; 0: no limit."""
    requests_per_minute: int = 0
    """Per key, over every call; 0: no limit."""
    faults: Sequence[str] = ()
    """Faults of the whole server, in the words of `language`."""
    habits: bool = True
    """Whether the dialect's own quirks are on, such as the 400 of `apiyi` for content asked for at once."""
    video_bytes: int | None = None
    """Size of every content; smaller than the encoder's own means the encoder's own."""
    fps: int = 12
    """Frames a second of the encoded films; few make the encoding cheap."""
    content_ttl_s: float = 3600.0
    """From completion until the content is gone."""
    models: Mapping[str, Served] | None = None
    """Instead of the dialect's own."""
    state: Path | None = None
    """A file that keeps what was accepted and counted, so that even a killed simulator goes on where it was."""
