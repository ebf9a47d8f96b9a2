"""The composition root: settings in, the API or the worker out. Only it and the demo know every room.

Nothing is imported here: the API and the worker know half of the rooms each, and importing them is most of a start.
"""
