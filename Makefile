# make            the list of targets
# make PYTHON=... uses another Python than python3

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DOCS := .venv-docs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test slow faults lint films docs benchmark clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-16s%s\n", $$1, $$2 }'

install: $(STAMP) ## .venv with driftback, all extras and the development tools, at the pinned versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "driftback needs Python 3.11 or newer as $(PYTHON); name another with: make install PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make an environment; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "making .venv (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt setuptools
	@# Without build isolation the build uses the pinned setuptools too.
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[arviz,fast,features,table,track,video,dev]'
	@touch $@

demo: install ## learn handwritten digits, draw 100 new ones, judge them: runs/digits/report.html
	@$(BIN)/driftback demo --out runs/digits

test: install ## the tests that belong to every change, one file per core at a time
	@$(BIN)/python -m pytest -n auto --dist loadfile

slow: install ## the tests that take longer
	@$(BIN)/python -m pytest -m slow

faults: install ## plant known faults in a copy, one by one, and see that the tests notice
	@$(BIN)/python tests/faults/plant.py

lint: install ## style, types, and which room may know which
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo

films: install ## the films of the story again: docs/images/*.gif
	@set -e; for film in $$($(BIN)/python -c 'from driftback.pictures.shows import SHOWS; print(*SHOWS)'); do \
		$(BIN)/driftback show $$film --out docs/images/$$film.gif --force --quiet; done

docs: $(DOCS)/.installed ## the documentation as a site in site/, to be read without a network
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	@echo "open site/index.html"

# The pages are made from the code without running it, so the tools need no torch: typer, for the help of the commands.
$(DOCS)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(DOCS)
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
		| $(DOCS)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -r /dev/stdin typer rich
	@touch $@

benchmark: install ## each script measures driftback and its rivals in one run
	@set -e; for script in $(sort $(filter-out %/page.py,$(wildcard benchmarks/*.py))) benchmarks/page.py; do echo "== $$script"; $(BIN)/python $$script; done

clean: ## remove .venv and what the tools left; models in runs/ stay
	@rm -rf .venv .venv-docs .venv-rivals site build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	@find $(wildcard src tests benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +
