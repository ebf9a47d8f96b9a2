"""Upstreams: services that speak some dialect of `POST /v1/videos`."""
