# Two commands do everything on a fresh machine: `make run` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup run test lint docs clean

setup: $(READY)

# learn2learn 0.2.0 ships C files that current Pythons cannot compile; built from its .pyx files with a current Cython it works.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,learn2learn,sweep,distributed]'
	$(BIN)/pip install --quiet --no-build-isolation --use-pep517 --no-deps --config-settings=--global-option=build_ext learn2learn==0.2.0
	@touch $@

run: setup
	$(BIN)/python -m benchmarks.run --method meta_lstm --smooth --way 5 --shot 1

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-cache

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

# The site of the documentation, in site/; a broken link is an error.
docs: setup
	$(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf .venv site
