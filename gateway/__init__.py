"""Sora Gateway: submit, poll, store and call back, done once, as a service."""

from importlib.metadata import version

__version__ = version("sora-gateway")
