# make test PYTHON=python3.11   selects the interpreter; VENV= the folder of the environment;
# TORCH= a version of torch with a requirements/torch-*.txt.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= 2.12.1
RUN := $(VENV)/bin/python

.PHONY: env quickstart test test-inference test-training test-all lint

INFERENCE := tests/test_apis tests/test_formats tests/test_synth

env:
	@bash tools/setup/make_env.sh "$(PYTHON)" "$(VENV)" "$(TORCH)"

# Renders synthetic people, trains small models for all tasks, tests them on others: work_dirs/quickstart/report.html
quickstart: env
	@$(RUN) tools/quickstart.py

# Two processes at a time, since most tests use one core.
test: env
	@$(MAKE) --no-print-directory -j2 test-inference test-training

test-inference:
	$(RUN) -m pytest $(INFERENCE) -m "not slow"

test-training:
	$(RUN) -m pytest tests $(addprefix --ignore=,$(INFERENCE)) -m "not slow"

test-all: env
	$(RUN) -m pytest tests

lint: env
	$(RUN) -m ruff check .
