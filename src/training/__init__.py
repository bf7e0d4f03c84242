"""Offline work: importing history, backfilling feature tables, datasets, fitting, evaluating and exporting models."""
