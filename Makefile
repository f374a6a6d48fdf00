# Two commands are all a fresh machine needs: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := app transforms bundles

.PHONY: demo test test-fast lint format clean

demo: .venv/.installed
	$(BIN)/nucleosynth demo -o demo

test: .venv/.installed
	$(BIN)/python -m pytest $(ARGS)

test-fast: .venv/.installed
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p nucleosynth

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A strict editable install links file by file, so it is renewed whenever a file comes, goes or changes its name.
.venv/.installed: pyproject.toml constraints.txt .venv/.tree
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]" --config-settings editable_mode=strict
	touch $@

.venv/.tree: .venv/.created FORCE
	@find $(PACKAGES) -type f -not -name '*.pyc' | LC_ALL=C sort > $@.new; cmp -s $@.new $@ || mv $@.new $@; rm -f $@.new

.venv/.created:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "nucleosynth needs Python 3.10 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	touch $@

.PHONY: FORCE
FORCE:

clean:
	rm -rf .venv build dist *.egg-info demo
