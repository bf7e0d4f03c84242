"""The floor of the house: what an event, a window, a state, a plan and a vector are.

Pure functions and frozen data on numpy and msgspec. No clock, no I/O, no environment: every room above imports this
one, and this one imports nothing of theirs.
"""
