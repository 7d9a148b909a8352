# Two commands do it all from a bare machine with Python 3.11: `make demo` and `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ROOMS := feature_repo embedders indexers predictors grpc_api larder tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo test check proto bench quality format

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(READY) ## run the main job on a synthetic catalog and write report.html
	$(BIN)/larder demo

# One thread a worker: threads that outnumber the cores spin for each other, which takes twenty times as long.
test: check ## every check and every test
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/pytest -n auto --dist worksteal

check: $(READY) ## lint, format, types, import directions, the contract and its generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m protos.generate --check

proto: $(READY) ## generate the gRPC code from protos/
	$(BIN)/python -m protos.generate

bench: $(READY) ## run every benchmark; results go to benchmarks/results/
	$(BIN)/larder demo
	$(BIN)/python -m benchmarks.embed
	$(BIN)/python -m benchmarks.serve
	LARDER_HOME=$${LARDER_HOME:-.larder}/demo-synthetic $(BIN)/python -m benchmarks.neighbours
	$(BIN)/python -m benchmarks.feast

quality: $(READY) ## probe the embedders on real data (LARDER_REAL_DATA); results go to benchmarks/results/
	for probe in audio video films aligned user_sequence; do $(BIN)/python -m benchmarks.probe_$$probe || exit 1; done

format: $(READY) ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The whole resolved set is pinned in constraints.txt; a change of either file brings the environment up to date.
$(READY): pyproject.toml constraints.txt
	@echo "building $(VENV): some gigabytes of packages, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
