# On a fresh machine with Python 3.11 or newer, each target makes its own .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test bench prove screenshots format clean

demo: .venv/made
	$(BIN)/python scripts/demo.py

test: .venv/made
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

bench: .venv/made
	$(BIN)/python scripts/bench.py

# Every proof at its full figure; takes the better part of an hour, and strace.
prove: .venv/made
	$(BIN)/python scripts/prove.py

# Pictures for the docs; takes Chromium and pngquant.
screenshots: .venv/made
	$(BIN)/python scripts/screenshots.py

format: .venv/made
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/made: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
