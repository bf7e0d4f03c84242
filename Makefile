# Needs python3 (3.11 or newer, with venv), make and a package index. Everything runs from a path with a space in it.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PY := .venv/bin/python
# What Python compiles it keeps, whatever the shell says: tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --upgrade --custom-compile-command "make lock"

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: ## the virtual environment .venv with hashed requirements and the project in it, its compiled parts made
	@sh requirements/make_venv.sh
	@$(PY) hatch_build.py

demo: setup ## the whole loop on a real year of purchases
	@$(PY) -m opportune demo

test: setup ## the everyday tests, file by file in three processes: many of them wait for processes that they start
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-ops: setup ## alerts that reach a webhook, with a real Prometheus and Alertmanager
	@$(PY) -m pytest -m ops -s tests/ops

prove: setup ## the long proofs
	@$(PY) -m pytest -m prove

check: setup ## style, types and the rules of who may import whom
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c "from importlinter.cli import lint_imports_command as check; check()" --no-logo

bench: setup ## measurements; they never fail, they tell
	@$(PY) -m opportune bench

proto: setup ## src/scoring/v1 anew from protos/
	@$(PY) -m grpc_tools.protoc --proto_path=protos --python_out=src --pyi_out=src --grpc_python_out=src scoring/v1/scoring.proto

reference: setup ## the generated reference pages
	@$(PY) -m deployment.settings > docs/reference/settings.md
	@$(PY) -m training.mapping_page > docs/reference/mapping.md
	@$(PY) -m deployment.kinds_page > docs/reference/kinds.md
	@$(PY) -m scoring.factors_page > docs/reference/factors.md
	@$(PY) -m opportune.metrics_page > docs/reference/metrics.md

lock: ## the hashed requirement files anew from pyproject.toml (needs uv)
	@command -v uv > /dev/null || { echo "make lock needs uv on PATH: https://docs.astral.sh/uv/"; exit 1; }
	$(LOCK) pyproject.toml --output-file requirements/serve.txt
	printf '%s\n' 'hatchling>=1.27' 'cython>=3.1' 'setuptools>=78' | $(LOCK) - --output-file requirements/build.txt
	$(LOCK) pyproject.toml --extra learn --output-file requirements/learn.txt
	$(LOCK) pyproject.toml --all-extras --output-file requirements/dev.txt

.PHONY: help setup demo test test-ops prove check bench proto reference lock
