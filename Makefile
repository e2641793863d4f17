# Everything that a fresh clone needs is Python 3.11, 3.12 or 3.13: `make demo`, `make test`.
# (TensorFlow 2.21 is not built for a newer one.)

VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint check docs bench bench-quick bench-reference clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.train ## train, evaluate, explain and use a network on handwritten digits, in a minute
	@$(VENV)/bin/convscope demo

test: $(VENV)/.dev ## run all tests, two at a time
	@$(VENV)/bin/python -m pytest --numprocesses 2 --dist worksteal

quick: $(VENV)/.dev ## run the fast tests, which need neither TensorFlow nor a server, in ten seconds
	@$(VENV)/bin/python -m pytest --quiet --numprocesses 2 --dist worksteal -p no:schemathesis \
	  --ignore tests/serving -m "not tensorflow and not slow"

lint: $(VENV)/.dev ## check format, style, types, the direction of imports, and that the docs are true
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python scripts/structure.py
	$(VENV)/bin/python scripts/docs.py --check

check: lint ## lint, then run all tests
	@$(MAKE) --no-print-directory test

docs: $(VENV)/.docs ## build the docs as a site with search, every link checked: build/docs/index.html
	@$(VENV)/bin/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs build/docs
	@echo build/docs/index.html

bench: $(VENV)/.bench ## compare convscope with TensorFlow 1, Keras and PyTorch on the same photos (an hour)
	@$(VENV)/bin/python benchmarks/bench.py

bench-quick: $(VENV)/.train ## the same comparison, short, to see that it runs (about 5 minutes)
	@$(VENV)/bin/python benchmarks/bench.py --quick

bench-reference: $(VENV)/.train ## train the reference network as the reference does (about 10 minutes)
	@$(VENV)/bin/python benchmarks/reference.py

clean: ## remove what make, build and tests left; runs/ stays
	rm -rf $(VENV) build dist .import_linter_cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of packages: a second call costs nothing, a change of the versions installs again.
$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/.made
	$(call install,train)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	$(call install,train$(comma)dev)
	@touch $(VENV)/.train $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.train
	$(call install,docs)
	@touch $@

# Without PyTorch the benchmark runs too.
$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/.train
	$(call install,train$(comma)bench) && touch $@ || echo "no PyTorch here: the benchmark runs without it" >&2

# The build backend is installed first, so that its version is pinned like every other.
comma := ,
define install
@echo "installing convscope[$(1)] into $(VENV): some minutes the first time"
@$(PIP) install -c constraints.txt hatchling editables
@$(PIP) install -c constraints.txt --no-build-isolation -e '.[$(1)]'
endef

$(VENV)/.made:
	@bare=; \
	for python in $(PYTHONS); do \
	  "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1 || continue; \
	  if "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then \
	    "$$python" -m venv $(VENV) && touch $@; exit; \
	  fi; \
	  bare=$$python; \
	done; \
	if [ -n "$$bare" ]; then \
	  echo "found:    $$bare, without the module venv" >&2; \
	  echo "expected: a Python that can create a virtual environment" >&2; \
	  echo "fix:      install the module (Debian and Ubuntu: the package python3-venv), or name another: make PYTHON=..." >&2; \
	else \
	  echo "found:    no Python 3.11, 3.12 or 3.13 under any of these names: $(PYTHONS)" >&2; \
	  echo "expected: one of them" >&2; \
	  echo "fix:      install one, or name its path: make PYTHON=..." >&2; \
	fi; \
	exit 2
