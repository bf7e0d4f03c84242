"""Watching what goes on: drift, quality and anomalies, computed from the log and never in a request."""
