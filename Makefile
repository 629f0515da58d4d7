# Everything from a fresh machine with Python 3.11: `make demo` runs the main job, `make test` what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# e.g. TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu" chooses the CPU wheel (see README)
TORCH_ARGS ?=
SCALE ?= tiny
JOBS ?= 2
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test quick lint lab bench bench-verify clean

install: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_ARGS),$(BIN)/pip install $(TORCH_ARGS) "$$(grep '^torch==' requirements.txt)")
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

demo: install
	$(BIN)/lead reproduce figure1 --scale $(SCALE) --jobs $(JOBS)

test: install lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

quick: install
	$(BIN)/python -m pytest -m "not slow" -n 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lab: install
	$(BIN)/jupyter lab --ip 127.0.0.1

bench: install
	$(BIN)/python bench/sampler.py
	$(BIN)/python bench/metrics.py
	$(BIN)/python bench/packing.py

bench-verify: install
	$(BIN)/python bench/verify.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
