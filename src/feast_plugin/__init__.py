"""Feast's stores over our state and tables, and the words that `feature_repo/views.py` is written with.

Only Feast and the feature repository load this package, by dotted path; nothing else in the house imports it.
"""
