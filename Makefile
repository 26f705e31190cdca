# The commands of this repository; `make` alone lists them.
# Each has a plain `python -m ...` form in README.md.

PYTHON ?= python3
CORES = $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
# Test workers: one waits a quarter of its time (for browsers, processes, compilers).
JOBS ?= $(shell expr $(CORES) + 1)
# Options for the book: `make book BOOKFLAGS="-W -n --keep-going"` fails on warnings.
BOOKFLAGS ?=
# Options for pytest: `make test TESTFLAGS="-k momentum"`
TESTFLAGS ?=
# `make colab COLABFLAGS="--check --jobs 2"` runs each copy where there is no adamtut.
COLABFLAGS ?=

UV := uv==0.13.8
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help setup book serve test execute tidy pdf colab chapter clean
.DELETE_ON_ERROR:

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo "  Another Python for .venv: make book PYTHON=python3.12"

setup: $(READY)  ## .venv with the pinned packages (the other commands do it themselves)

book: $(READY)  ## build the HTML pages into _build/html
	@$(BIN)/jupyter-book build . $(BOOKFLAGS) || \
	  { echo "The book was not built: mend what the lines above name, then make book."; exit 1; }
	@echo "The book: $(CURDIR)/_build/html/index.html"

serve: book  ## build, then serve the pages on localhost
	@echo "http://localhost:8000 (stop with Ctrl-C)"
	@$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory _build/html

# Each of the JOBS workers gets one thread: two that use both cores fight over them. (Its
# compiler, too, which else starts processes that import torch.)
test: $(READY)  ## unit tests, and every notebook against its stored outputs
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	  TORCHINDUCTOR_COMPILE_THREADS=1 \
	  $(BIN)/python -m pytest -n $(JOBS) $(TESTFLAGS)

execute: $(READY)  ## run the notebooks whose code changed and store their outputs
	@$(BIN)/python -m tools.execute

tidy: $(READY)  ## bring code and notebooks into their one form
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .
	@$(BIN)/python -m tools.tidy

pdf: book  ## the whole book as one PDF, _build/pdf/adam-step-by-step.pdf
	@$(BIN)/python -m tools.pdf

colab: $(READY)  ## copies of the chapters that run without this repository, in _build/colab
	@$(BIN)/python -m tools.colab $(COLABFLAGS)

chapter: $(READY)  ## start a chapter: make chapter NAME=yogi
	@$(BIN)/python -m tools.new_chapter "$(NAME)"

clean:  ## delete what was built; .venv and data stay
	rm -rf _build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(READY): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON) here. Install Python 3.11, 3.12 or 3.13, or name one:" \
	       "make book PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	  "%s is Python %d.%d; allowed: 3.11 to 3.13. Choose one: make book PYTHON=python3.12" \
	  % (sys.executable, *v))'
	@echo "Setting up .venv (once; a few minutes where the packages are not cached yet)"
	@$(PYTHON) -m venv --clear .venv || { \
	  echo "$(PYTHON) cannot make .venv. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV) && \
	  $(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -r requirements.txt && \
	  $(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e . || { \
	  echo "The packages were not installed: is the package registry (pypi.org or your mirror)" \
	       "reachable, and are 8 GB of disk free? Then make setup again."; exit 1; }
	@touch $@
