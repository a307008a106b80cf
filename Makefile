# `make demo` and `make test` work on a bare Python 3.11 or newer; the rest is for developers.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TYPES := build/types/diffumask
READERS := build/readers
PAGES := build/pages

.PHONY: demo test readers docs check format lint types

demo: $(INSTALLED)
	$(BIN)/diffumask generate --class car --class bus --class flower --class mushroom --n 4 --keep-maps --out demo
	$(BIN)/diffumask show demo -o demo.html
	@echo "Open demo.html in a browser: images, masks and what the model saw. The files are in demo/."

test: $(INSTALLED)
	$(BIN)/pytest

# In a process of their own, as transformers would take a torchvision that it finds for a whole one.
readers: $(READERS)/.installed
	PYTHONPATH=$(READERS) $(BIN)/pytest --confcutdir=tests/readers tests/readers

$(READERS)/.installed: tests/readers/requirements.txt $(INSTALLED)
	$(BIN)/python -m pip install --no-deps --upgrade --target $(READERS) -r tests/readers/requirements.txt
	touch $@

# The pages lie as in the repository, so that their links to each other hold there and on the site.
docs: $(VENV)/.docs
	rm -rf $(PAGES)
	mkdir -p $(PAGES)/benchmarks $(PAGES)/diffumask/tiny
	ln -s $(addprefix $(CURDIR)/,README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE docs examples) $(PAGES)
	ln -s $(addprefix $(CURDIR)/benchmarks/,README.md results) $(PAGES)/benchmarks
	ln -s $(CURDIR)/diffumask/tiny/checkpoint $(PAGES)/diffumask/tiny
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs: $(INSTALLED)
	$(BIN)/python -m pip install -c constraints.txt -e '.[docs]'
	touch $@

check: lint types test

format: $(INSTALLED)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check

# pyright cannot follow the mapping of cli/ and prompts/ in an editable install, so they are
# linked under the names they install as; pyproject.toml points it to the links.
types: $(INSTALLED)
	mkdir -p $(TYPES)
	ln -sfn ../../../diffumask/__init__.py $(TYPES)/__init__.py
	ln -sfn ../../../cli $(TYPES)/cli
	ln -sfn ../../../prompts $(TYPES)/prompts
	$(BIN)/pyright --pythonpath $(BIN)/python

# torch comes first, so that a CUDA build that is already there is kept.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"expected Python 3.11 or newer, got {v.major}.{v.minor}; run make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@
