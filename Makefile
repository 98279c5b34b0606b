# Needs Python 3.11 or newer and make. The first target that needs anything else installs it into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A file of tests stays with one process, so that its models are loaded once.
PYTEST := -m pytest -n auto --maxprocesses 4 --dist loadfile
WHEEL_VENV := .wheel-venv
LOWEST_VENV := .lowest-venv
NEWEST_VENV := .newest-venv
TEST_EXTRAS := completion,formats,heif,mcp,photos,readers,train
TEST_PACKAGES := clip-benchmark duckdb hatchling playwright polars pytest pytest-xdist
# uv is faster than pip; pip is the fallback if uv cannot reach the registry that pip is configured for.
install = $(BIN)/uv pip install --quiet --python $(1)/bin/python -c constraints.txt $(2) \
	|| $(1)/bin/python -m pip install --quiet -c constraints.txt $(2)

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs benchmarks wheel wheel-test lowest-test newest-test sbom clean

help:
	@echo "make demo        run the embedded models on the example images, into demo-out/"
	@echo "make test        run the tests"
	@echo "make lint        ruff and mypy"
	@echo "make docs        build the documentation into build/site/"
	@echo "make benchmarks  run the benchmarks and write their page, docs/benchmarks.md (about an hour)"
	@echo "make wheel-test  build the wheel, install it elsewhere, run the tests and the demo on it"
	@echo "make lowest-test run the tests on the oldest releases that pyproject.toml allows"
	@echo "make newest-test run the tests on the newest releases that pyproject.toml allows"
	@echo "make sbom        list the installed packages and their licenses in build/sbom.json"
	@echo "make clean       remove everything that these targets write"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "openvocab needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(call install,$(VENV),-e '.[dev]')
	touch $@

demo: $(READY)
	$(BIN)/openvocab demo --out demo-out

test: $(READY)
	$(BIN)/python $(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The variable silences a banner of the theme; any warning of the build is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

benchmarks: $(READY)
	$(BIN)/python -m benchmarks.page

wheel: $(READY)
	rm -rf dist
	$(BIN)/python -m hatchling build -t wheel -t sdist -d dist

# -P keeps the checkout off sys.path, so that the tests import the installed wheel.
wheel-test: wheel
	rm -rf $(WHEEL_VENV) build/elsewhere
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(call install,$(WHEEL_VENV),"$$(ls dist/*.whl)[$(TEST_EXTRAS)]" $(TEST_PACKAGES))
	mkdir -p build/elsewhere
	cp -r tests training benchmarks docs notebooks Makefile mkdocs.yml pyproject.toml *.md build/elsewhere/
	cd build/elsewhere && ../../$(WHEEL_VENV)/bin/python -P $(PYTEST)
	cd build/elsewhere && ../../$(WHEEL_VENV)/bin/openvocab demo --out demo-out

# Older releases are not tested, and some give other answers: the bounds are the oldest releases that pass all tests.
lowest-test: $(READY)
	rm -rf $(LOWEST_VENV)
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(BIN)/uv pip install --quiet --python $(LOWEST_VENV)/bin/python --resolution lowest-direct -e '.[dev]'
	$(LOWEST_VENV)/bin/python $(PYTEST)

# Without constraints.txt: shows early what the next release of a library changes.
newest-test: $(READY)
	rm -rf $(NEWEST_VENV)
	$(PYTHON) -m venv $(NEWEST_VENV)
	$(BIN)/uv pip install --quiet --python $(NEWEST_VENV)/bin/python --upgrade -e '.[dev]'
	$(NEWEST_VENV)/bin/python $(PYTEST)

# The packages of .venv with versions and licenses, in CycloneDX's format.
sbom: $(READY)
	$(call install,$(VENV),cyclonedx-bom)
	mkdir -p build
	$(BIN)/cyclonedx-py environment $(BIN)/python --output-format JSON --output-file build/sbom.json

clean:
	rm -rf $(VENV) $(WHEEL_VENV) $(LOWEST_VENV) $(NEWEST_VENV) build dist demo-out openvocab-demo
	find openvocab tests training -name __pycache__ -type d -prune -exec rm -rf {} +
