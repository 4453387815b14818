# Two commands matter: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint lock bench clean help

help:            ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(VENV)/.run: requirements.lock pyproject.toml
	@PYTHON=$(PYTHON) ./setup.sh $(VENV) requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	@PYTHON=$(PYTHON) ./setup.sh $(VENV) requirements-dev.lock
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run  ## set up, then walk through one door, step by step
	@$(BIN)/gate demo $(ARGS)

test: $(VENV)/.dev  ## set up, then run the tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev  ## style, types, import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file tests/mypy.ini tests benchmarks
	@$(BIN)/lint-imports

bench: $(VENV)/.dev  ## per-step times of a passage
	@$(BIN)/python benchmarks/passage.py $(ARGS)

lock:            ## re-lock the dependencies (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --extra bootstrap --extra setup pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --extra bootstrap --extra setup --extra dev --extra pkcs11 pyproject.toml -o requirements-dev.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --extra tpm -c requirements-dev.lock pyproject.toml -o requirements-tpm.lock

clean:           ## remove everything that was set up here
	rm -rf $(VENV) .cache var
