"""The wire format of scoring, version 1: generated from protos/scoring/v1/scoring.proto by `make proto`."""
