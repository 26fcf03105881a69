# Each target makes the virtual environment it needs; Python 3.10 or newer is all that must be there.
# Another Python:  make demo PYTHON=python3.12        Other demo folder:  make demo OUT=runs/second

PYTHON = python3
VENV = .venv
OUT = runs/demo
WORKERS = 2
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
INSTALL = $(PIP) install --quiet --constraint constraints.txt
CORE = $(VENV)/.core-installed
DEV = $(VENV)/.dev-installed
BENCH = $(VENV)/.bench-installed

.DEFAULT_GOAL = help
.PHONY: help demo test test-long lint types imports unit docs bench format clean

help: ## list the targets
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1:\2/p' $(firstword $(MAKEFILE_LIST)) \
		| awk -F: '{ printf "%-11s%s\n", $$1, $$2 }'

demo: $(CORE) ## see a real network made small, on bundled data
	$(BIN)/prunella demo --out $(OUT)

test: lint types imports unit docs ## all checks

lint: $(DEV) ## style and common mistakes
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DEV) ## static types
	$(BIN)/mypy

imports: $(DEV) ## the layer rule
	$(BIN)/lint-imports --no-logo

unit: $(DEV) ## the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test-long: $(DEV) ## 10,000 random networks (an hour or more)
	PRUNELLA_NETWORKS=10000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/property

docs: $(DEV) ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(BENCH) ## the benchmarks, tables into runs/bench/ (minutes)
	@mkdir -p runs/bench
	@failed=; for script in benchmarks/[a-z]*.py; do \
		echo "$$script"; \
		$(BIN)/python "$$script" --out "runs/bench/$$(basename "$$script" .py).csv" \
			|| failed="$$failed $$script"; \
	done; \
	test -z "$$failed" || { echo "Not finished, for the reasons above:$$failed" >&2; exit 1; }

format: $(DEV) ## put the code into the common form
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## remove the virtual environment, caches and the built documentation
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "prunella needs Python 3.10 or newer; name one, for instance:" \
			"make demo PYTHON=python3.12" >&2; exit 1; }
	@echo "Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# pip without build isolation, so that the build tool is pinned like everything else.
$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing prunella and what it needs, PyTorch above all: the first time takes a minute or more"
	@$(INSTALL) hatchling editables
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(DEV): $(CORE)
	@echo "Installing the tools for tests and documentation: the first time takes a minute or more"
	@$(INSTALL) --no-build-isolation --editable '.[vision,onnx,fast,sequences,test,docs]'
	@touch $@

$(BENCH): $(DEV)
	@echo "Installing what the benchmarks compare with and draw with"
	@$(INSTALL) --no-build-isolation --editable '.[bench]'
	@touch $@
