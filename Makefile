# make test PYTHON=python3.11   chooses the interpreter; VENV= another folder for the environment.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python

.PHONY: env test test-all lint

env:
	@bash tools/setup/make_env.sh "$(PYTHON)" "$(VENV)"

test: env
	$(RUN) -m pytest tests -m "not slow"

test-all: env
	$(RUN) -m pytest tests

lint: env
	$(RUN) -m ruff check .
