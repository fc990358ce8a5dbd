# Two commands: `make run` and `make test`. Each sets itself up; the second call installs nothing.
# On a machine with a GPU: `make gpu-day`; `make pack` carries what it needs where no network is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
THRESHOLD_FAILED := 99
# A path in ARGS may hold tests of one kind alone: pytest then exits 5.
MAY_BE_NONE = $(if $(ARGS), || [ $$? -eq 5 ])

.PHONY: run test test-slow test-node gpu-day pack check lock clean

run: $(VENV)/.runs  ## replay the viral hour; ARGS="..." goes to `viralload run`
	@$(BIN)/viralload run $(ARGS); code=$$?; \
	if [ $$code -eq $(THRESHOLD_FAILED) ]; then \
	    echo "A threshold of the scenario did not hold ('viralload run' exits $$code): see the report."; \
	else exit $$code; fi

test: check  ## what needs no process of its own side by side, the rest one after the other
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not e2e and not slow" --durations=10 $(ARGS)$(MAY_BE_NONE)
	$(BIN)/python -m pytest -m "e2e and not slow" --durations=25 $(ARGS)$(MAY_BE_NONE)

test-slow: $(VENV)/.tests $(VENV)/.triton  ## what takes long: retry storms, killed servers, searches, benchmarks
	$(BIN)/python -m pytest -m slow $(ARGS)

test-node:  ## serve's tests with a GPU machine's versions, in an environment of their own (about 5 GB)
	.ci/test-node $(ARGS)

GPU_DAY_OUT ?= runs/gpu-day-$(shell date -u +%Y%m%dT%H%M%SZ)

gpu-day: $(VENV)/.tests  ## all that a GPU is to tell, in ten minutes; REHEARSE=1: the same on a CPU
	$(BIN)/python -m benchmarks.gpu_day --out $(GPU_DAY_OUT) $(if $(REHEARSE),--rehearse) $(ARGS)

pack: $(VENV)/.tests  ## wheels of a GPU day for a machine without network, into build/pack
	$(BIN)/python -m benchmarks.pack build/pack $(ARGS)

check: $(VENV)/.tests  ## what needs no test to run
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

lock: $(VENV)/.tests  ## write the versions now installed into constraints.txt
	@{ sed -n '/^#/p' constraints.txt; \
	   $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v ' @ '; } \
	   > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-node *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "error: viralload needs Python 3.11 or later; name one with PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing viralload into $(VENV) (a few minutes, once)"
	$(PIP) -e .
	@touch $@

$(VENV)/.tests: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing viralload and its tests' tools into $(VENV) (a few minutes, once)"
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps --upgrade --target $(VENV)/vendors amdsmi==7.0.2  # apart: Ray would import it
	@touch $@ $(VENV)/.runs

$(VENV)/.triton: | $(VENV)/.tests  # apart: torch's CPU build is tested without it, as it is run
	$(PIP) --no-deps --upgrade --target $(VENV)/triton triton==3.6.0 || \
	    echo "Triton is not to be had here: the tests of its kernels skip themselves"
	@touch $@
