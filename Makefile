# The commands of this repository. README.md says which two to start with; `make help` lists all.
SHELL := /bin/bash
BIN := .venv/bin
# Which Python makes .venv; empty: the first suitable one (tools/find_python.sh).
PYTHON ?=
# Further arguments for pytest: make test ARGS="-k replay -x"
ARGS ?=
WORKERS ?= $(shell n=$$(nproc); echo $$((n > 8 ? 8 : n)))
ROBOT_PYTHONS ?= 3.10 3.12 3.13
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup format lint type check test test-ros2 demo studies wheel robot-pc wheel-check lock clean

help:
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: .venv/.installed  ## everything into .venv, at pinned versions; does nothing when up to date

.venv/.installed: pyproject.toml $(wildcard constraints/*.txt) tools/setup.sh
	@tools/setup.sh "$(PYTHON)"
	@touch $@

demo: setup  ## train pick_cube in simulation and print the success rate (ARGS="--seed 1")
	@$(BIN)/serl demo $(ARGS)

test: setup  ## lint, types, robot-PC imports, wheel, then pytest
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint type robot-pc wheel-check
	@$(BIN)/pytest -n $(WORKERS) $(ARGS)

test-ros2:  ## the ros2 backend on real rclpy, in docker's robot-PC image (needs docker and network)
	docker build -f docker/robot-pc.Dockerfile -t serl-robot-pc .
	docker run --rm --init --network none --entrypoint /usr/local/bin/test-ros2 \
		-v "$(CURDIR)/tests:/serl/tests:ro" serl-robot-pc

studies: setup  ## whole trainings from pixels, hours; each seed goes on where it was stopped
	@$(BIN)/serl bench studies $(ARGS)

check: lint type  ## lint and types alone

format: setup  ## rewrite the source in house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: setup  ## ruff, changing nothing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

type: setup  ## pyright
	@$(BIN)/pyright

wheel: setup
	@rm -rf build dist
	@$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build

robot-pc: wheel  ## the wheel alone imports without JAX under each Python of a robot PC that is here
	@for version in $(ROBOT_PYTHONS); do tools/robot_pc.sh $$version || exit 1; done

wheel-check: wheel  ## the wheel works in another environment, outside the tree
	@tools/wheel_check.sh $(BIN)/python

lock: setup  ## resolve constraints/*.txt anew from pyproject.toml
	@$(BIN)/python tools/lock.py

clean:  ## environments, caches and build output; runs/ stays
	rm -rf .venv .venv-robot-* build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
