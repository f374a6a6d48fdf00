# Two commands are all a fresh machine needs: `make demo` and `make test`. Each sets up .venv first.
#
#   make test ARGS="-k synthesis"        some of the tests
#   make test INSTALL=wheel              against the package as users get it, instead of the tree
#   make install PYTHON=python3.12       with another interpreter (after `make clean`)
#   make install CONSTRAINTS=mine.txt    with other versions, such as a torch for another platform
#   make map                              what `monai-deploy package` makes a container of: docs/deploy.md
PYTHON ?= python3
INSTALL ?= editable
CONSTRAINTS ?= constraints.txt
ARGS ?=
MAP ?= build/map
MODEL ?= bundles/nuclei_segmentation

ifeq ($(filter editable wheel,$(INSTALL)),)
$(error INSTALL must be editable or wheel, not "$(INSTALL)")
endif

PY := .venv/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check
PACKAGES := app transforms bundles
SOURCES = $(shell find $(PACKAGES) -type f -not -path '*/__pycache__/*')
INSTALLED := .venv/.installed-$(INSTALL)
FAILED = { echo "nucleosynth: pip could not install; has it a torch as $(CONSTRAINTS) asks for? See docs/dependencies.md" >&2; exit 1; }

.PHONY: install demo test test-fast lint format map clean FORCE

install: $(INSTALLED)

demo: $(INSTALLED)
	$(PY) -m nucleosynth demo -o demo

test: $(INSTALLED)
	$(PY) -m pytest $(ARGS)

test-fast: $(INSTALLED)
	$(PY) -m pytest -m "not slow" $(ARGS)

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy -p nucleosynth

format: $(INSTALLED)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# The application's folder, with nucleosynth itself in it, and the network in a folder of its own, as MONAI Deploy wants.
map: .venv/.created
	@test -f "$(MODEL)/configs/slide_inference.yaml" || { echo "nucleosynth: $(MODEL) is no bundle that segments slides; give MODEL=my_model/nuclei_segmentation" >&2; exit 1; }
	@rm -rf build/lib build/bdist.* "$(MAP)"; mkdir -p "$(MAP)/models"
	@$(PIP) wheel --no-build-isolation --no-deps -w "$(MAP)/wheel" .
	@$(PIP) install --no-deps --no-compile --target "$(MAP)/app" "$(MAP)"/wheel/*.whl
	@cp app/deploy/__main__.py app/deploy/app.yaml app/deploy/requirements.txt "$(MAP)/app"
	@cp -R "$(MODEL)" "$(MAP)/models/nuclei_segmentation"
	@echo "Next: monai-deploy package $(MAP)/app --config $(MAP)/app/app.yaml --models $(MAP)/models --platform x86_64 --tag nucleosynth"

# A strict editable install links file by file, so it is renewed whenever a file comes, goes or changes its name.
# The stamp appears last, so that an interrupted installation is done again, and bears the time of the beginning, so
# that what changed meanwhile is newer.
.venv/.installed-editable: pyproject.toml $(CONSTRAINTS) .venv/.tree
	@echo "Installing nucleosynth and what it needs into .venv (some minutes, the first time)"
	@rm -rf .venv/.installed-* build; touch .venv/.begun
	@$(PIP) install --no-build-isolation -c "$(CONSTRAINTS)" -e ".[dev]" --config-settings editable_mode=strict || $(FAILED)
	@mv .venv/.begun $@

# setuptools would put what an earlier build left in build/ into the wheel, and pip would keep an equal version.
.venv/.installed-wheel: pyproject.toml $(CONSTRAINTS) .venv/.tree $(SOURCES)
	@echo "Installing nucleosynth's wheel and what it needs into .venv (some minutes, the first time)"
	@rm -rf .venv/.installed-* build; touch .venv/.begun
	@$(PIP) wheel --no-build-isolation --no-deps -w build/wheel .
	@$(PIP) --quiet uninstall --yes nucleosynth
	@$(PIP) install -c "$(CONSTRAINTS)" "$$(echo build/wheel/*.whl)[dev]" || $(FAILED)
	@mv .venv/.begun $@

# The names of the packages' files, and the folder they are in; touched only when these change.
.venv/.tree: .venv/.created FORCE
	@$(PY) -c '' || { echo "nucleosynth: .venv lost its Python; run 'make clean', then try again" >&2; exit 1; }
	@{ pwd; find $(PACKAGES) -type f -not -path '*/__pycache__/*' | LC_ALL=C sort; } > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

.venv/.created:
	@command -v "$(PYTHON)" >/dev/null || { echo "nucleosynth: there is no $(PYTHON); name a Python 3.10 or newer: make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "nucleosynth needs Python 3.10 or newer, $(PYTHON) is older; name another: make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "nucleosynth: $(PYTHON) cannot make virtual environments; install its venv module (Debian, Ubuntu: python3-venv) or name another: make PYTHON=..." >&2; exit 1; }
	"$(PYTHON)" -m venv --clear .venv
	$(PIP) install --upgrade pip "setuptools>=77"
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info demo
