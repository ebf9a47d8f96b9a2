"""Sora Gateway: submit, poll, store and call back, done once, as a service."""
