"""The long-running roles: what each prepares, in which order, before it serves.

Nothing is imported here: each role knows half of the house, and importing it is most of what a start takes.
"""
