"""Callbacks: what is told, how it is signed, when it is tried again (pure), and the attempt itself."""
