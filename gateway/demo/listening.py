"""One callback as `gateway listen` prints it."""

from __future__ import annotations

from gateway.demo.inbox import Callback

_VERDICT = {True: "verified", False: "NOT VERIFIED", None: "not checked, no secret given"}


def describe_callback(callback: Callback) -> str:
    """Return a few lines: what came, whether it can be trusted, which attempt it is, and the link."""
    video = callback.video
    verdict = _VERDICT[callback.verified] + (f": {callback.problem}" if callback.problem else "")
    again = ", the same event again" if callback.repeat else ""
    told = f"attempt {callback.attempt}{again}, answered {callback.status}"
    lines = [
        "  ".join(filter(None, [callback.type or "no event", str(video.get("id", "")), verdict])),
        f"  webhook-id {callback.webhook_id or 'missing'}, {told}",
    ]
    if video.get("error"):
        lines.append(f"  error      {video['error']}")
    if video.get("url"):
        lines.append(f"  link       {video['url']}")
    # Anybody can send anything here, and a terminal obeys what is not printable.
    return "\n".join("".join(each if each.isprintable() else "?" for each in line) for line in lines)
