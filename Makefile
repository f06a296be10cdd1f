# make test PYTHON=python3.11   chooses the interpreter; VENV= another folder for the environment;
# TORCH= another torch, one that requirements/torch-*.txt names.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= 2.12.1
RUN := $(VENV)/bin/python

.PHONY: env quickstart test test-all lint

env:
	@bash tools/setup/make_env.sh "$(PYTHON)" "$(VENV)" "$(TORCH)"

# Makes synthetic people, trains small models for all tasks on them, tests it on others: work_dirs/quickstart/report.html
quickstart: env
	@$(RUN) tools/quickstart.py

test: env
	$(RUN) -m pytest tests -m "not slow"

test-all: env
	$(RUN) -m pytest tests

lint: env
	$(RUN) -m ruff check .
