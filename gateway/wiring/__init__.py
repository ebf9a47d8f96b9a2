"""The composition root: settings in, the API or the worker out. Only it and the demo know every room."""

from gateway.wiring.api import api_app
from gateway.wiring.installation import Installation
from gateway.wiring.worker import worker_process

__all__ = ["Installation", "api_app", "worker_process"]
