# Two commands do everything: `make demo` and `make test`. Both stay inside this clone.
PYTHON ?= python3
BIN := .venv/bin

# The type checker works on one core for half a minute. The tests begin meanwhile.
MAKEFLAGS += --jobs=2

# Every node is a process of its own. Where this variable is set, as in many container images, each one compiles all of
# our sources again, which takes a third of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test run-tests check docs screenshots coverage clean

demo: .venv/installed
	$(BIN)/consensus scorecard

test: check run-tests

# Many tests wait for processes, so two cores keep six workers busy.
run-tests: .venv/installed-test .venv/compiled-tests
	$(BIN)/python -m pytest -n 6 --dist loadscope

check: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The documentation site, in site/. A broken link, or a page that the menu does not name, stops the build.
docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean

# The pictures of the documentation, drawn by Chromium from runs that this makes. It takes two minutes.
screenshots: .venv/installed-test
	$(BIN)/python docs/hooks/screenshots.py

# Lines and branches that the tests reach, in every process that they start. It takes three times as long as `make test`.
coverage: .venv/installed-coverage
	rm -rf .coverage && mkdir .coverage
	-$(BIN)/coverage run -m pytest -n 4 --dist loadscope --timeout 600
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --format total

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv .venv

# The stamps make a second call reinstall nothing; a changed pyproject.toml reinstalls.
.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# Python compiles what the tests import when they import it. To compile all that pip installs takes seven seconds on one core.
.venv/installed-test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[test]'
	@touch $@ .venv/installed

# pytest compiles the tests in its own way, for ten seconds. Here that is done once, beside the type checker; otherwise each of the
# six workers would do it, all at the same time.
.venv/compiled-tests: .venv/installed-test
	-@$(BIN)/python -m pytest -n 0 --collect-only -qq > /dev/null
	@touch $@

.venv/installed-coverage: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,coverage]'
	@touch $@ .venv/installed .venv/installed-test

.venv/installed-docs: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@ .venv/installed

clean:
	rm -rf .venv .consensus .consensus-beside .coverage site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find node cluster harness tests -name __pycache__ -prune -exec rm -rf {} +
