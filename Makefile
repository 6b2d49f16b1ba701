# One word per chore. Every word sets up what it needs; a second run finds it there and starts at once.
#
#   make setup          .venv with the pinned packages            make bench          speed, here
#   make demo           the main jobs on examples                 make parity         numbers at full size
#   make test           all tests of the default tier             make test-training  the slow training tests
#   make check          lint, format, types, import contract      make train-default  trains the built-in model
#   make docs           links and code of README and docs         make eval-default   scores the built-in model
#   make format         writes the format that check wants        make lock           writes constraints.txt
#   make finetune-demo  teaches it five new names                 make ablations      what each part of training is worth
#   make bench-video    speed and memory of video, here           make train-tracker  trains the built-in tracker
#   make limits         what this machine can do at most          make eval-tracker   scores how it follows things
#   make precision      what bfloat16 and int8 change             make scaling        how time grows, here
#   make performance    writes docs/performance.md anew           make bench-default  speed of the built-in model
#   make test-gpu       tests that need CUDA                      make bench-gpu      speed on CUDA
#   make clean          removes what make made
#
# PYTHON=python3.12 chooses another interpreter for a new .venv; CPU or CUDA builds of PyTorch are chosen as with any
# pip (for example PIP_FIND_LINKS=folder/of/wheels).

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Named after the content of the two files, so that neither a checkout nor a second run installs anything again.
READY := .venv/.ready-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
# Tests run in two processes with one thread each: faster than one process with two threads (tiny matrices), and
# the machine is not oversubscribed.
WORKERS ?= 2
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: help setup demo test test-gpu test-training check format bench docs parity train-default train-tracker eval-default \
  eval-tracker bench-video bench-default bench-gpu limits precision scaling performance finetune-demo ablations \
  lock clean

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

setup: $(READY)

$(READY):
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) \
	  else f"masklet needs Python 3.11 or newer, {sys.executable} is {v}; try: make PYTHON=python3.12 setup")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch hatchling editables
	$(BIN)/python -m pip install --quiet --no-build-isolation -c constraints.txt -e '.[dev]'
	rm -f .venv/.ready-*
	touch $@

demo: $(READY)
	$(BIN)/python examples/demo.py
	$(BIN)/masklet track examples/clips/grapes.mp4 -c "bunch of grapes" -c cookie --out out/demo

test: $(READY)
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --durations=5

test-gpu: $(READY)
	$(BIN)/python -m pytest -q -m gpu

test-training: $(READY)
	$(BIN)/python -m pytest -q -m training

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(READY)
	$(ONE_THREAD) $(BIN)/python -m pytest -q tests/test_docs.py

bench: $(READY)
	$(BIN)/python benchmarks/speed.py

parity: $(READY)
	$(BIN)/python benchmarks/parity.py
	$(BIN)/python benchmarks/tracker_parity.py

# The symbols of the synthetic world come from this font (Debian and Ubuntu: fonts-noto-color-emoji).
FONT := /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf
$(FONT):
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  || { echo "expected the font $(FONT), it is not there; install the package fonts-noto-color-emoji" >&2; exit 1; }
	apt-get update -qq && apt-get install -y -qq --no-install-recommends fonts-noto-color-emoji

# Waiting threads that spin take the time of the process that makes the pictures: a step takes an eighth longer.
train-default: $(READY) | $(FONT)
	OMP_WAIT_POLICY=passive $(BIN)/masklet train default

# The two parts of a step in a process each: 0.7 s for 12 pictures where two threads of one process take 1.0.
train-tracker: $(READY) | $(FONT)
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc-per-node 2 -m masklet train default-tracker

eval-default: $(READY) | $(FONT)
	$(BIN)/python benchmarks/eval_default.py

eval-tracker: $(READY) | $(FONT)
	$(BIN)/python benchmarks/eval_tracker.py --processes $(WORKERS) --dtype bfloat16

precision: $(READY) | $(FONT)
	$(BIN)/python benchmarks/precision.py

performance: $(READY)
	$(BIN)/python tools/performance_page.py

scaling: $(READY)
	$(BIN)/python benchmarks/scaling.py

limits: $(READY)
	$(BIN)/python benchmarks/limits.py

bench-video: $(READY) | $(FONT)
	$(BIN)/python benchmarks/video_speed.py
	$(BIN)/python benchmarks/video_memory.py

bench-default: $(READY) | $(FONT)
	$(BIN)/python benchmarks/default_speed.py

bench-gpu: $(READY)
	$(BIN)/python benchmarks/gpu_speed.py
	$(BIN)/python benchmarks/gpu_speed.py --compile

finetune-demo: $(READY) | $(FONT)
	OMP_WAIT_POLICY=passive $(BIN)/python examples/finetune.py

ablations: $(READY) | $(FONT)
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/ablations.py

# Exact versions of everything in .venv, without the package itself and without the build label of PyTorch.
lock: $(READY)
	( sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' ) > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache out build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
