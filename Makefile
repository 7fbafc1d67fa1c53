# On a fresh machine with Python 3.11 or newer, each target makes its own .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo quick test coverage bench prove screenshots format lock clean

demo: .venv/made
	$(BIN)/python scripts/demo.py

# For the edit loop: rules, values and docs, with few child processes.
quick: .venv/made
	$(BIN)/python -m pytest -n 2 tests/unit tests/docs tests/stores/test_memory_store.py

test: .venv/made
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

# Lines and branches of the package that the tests reach, in child processes too. Without the proofs of promises:
# they kill processes, which loses what was measured, and count system calls, to which measuring adds.
coverage: .venv/made
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 -m "not promise"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

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

# Pin the newest releases of everything that the tests need, for every Python that is supported.
lock: .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --extra test \
	  --custom-compile-command 'make lock' --output-file requirements-test.txt pyproject.toml

.venv/made: pyproject.toml requirements-test.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[test]' --constraint requirements-test.txt
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
