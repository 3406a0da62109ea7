# Two commands matter: `make demo` and `make test`. Both make .venv when it is not there. CI runs `make test-slow`, too.
PYTHON ?= python3
EXTRA ?= cuda120
BIN := .venv/bin
SLIDES ?=
OUT ?= demo-out
EPOCHS ?=

.PHONY: demo test test-slow test-py lint fuzz mutants valgrind kills bench test-gpu bench-gpu gpu-report figures clean

demo: .venv/.installed
	$(BIN)/cellmix-dali demo $(foreach slide,$(SLIDES),--slides "$(slide)") $(if $(EPOCHS),--epochs $(EPOCHS)) --out "$(OUT)"

test: .venv/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# The tests that take longest, most of them for processes that are started, killed and started again.
test-slow: .venv/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# The quick tests on each of Python 3.10 to 3.14 that is installed, in environments of their own: .venv-3.X.
test-py:
	$(PYTHON) tests/pythons.py --extra $(EXTRA)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Damages files at random and reads them: slides, lists, annotations, tables, records. Finds are kept in finds/.
SECONDS ?= 600

fuzz: .venv/.installed
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS)

# Plants small faults, one at a time, and tells how many the tests find: see docs/testing.md.
# What each test enters is recorded first, in REACHED; delete that folder when code or tests are others.
COUNT ?= 100
REACHED ?= reached

mutants: .venv/.installed
	test -f $(REACHED)/record.jsonl || $(BIN)/python tests/mutants/record.py $(REACHED)
	$(BIN)/python tests/mutants/run.py $(REACHED) --count $(COUNT)

# Needs valgrind. Trains on JPEG 2000 blocks with damaged boxes, and looks for writes to memory that is not the decoder's.
DAMAGED ?= ../shared/odd/jp2-damaged-headers.tiff

valgrind: .venv/.installed
	$(BIN)/python tests/valgrind.py $(DAMAGED)

# Kills trainings and tiling jobs at random moments and resumes them: the end must be that of one without a break.
KILLS ?= 50

kills: .venv/.installed
	$(BIN)/python tests/training/kills.py $(KILLS)
	$(BIN)/python tests/tiling/kills_of_tiling.py $(KILLS)

# About fifteen minutes on two cores. Peers are measured where they are installed: see docs/performance.md.
bench: .venv/.installed
	$(BIN)/python benchmarks/run.py

# The three need a GPU, and end with an error where there is none. Where the packages lie elsewhere than in .venv:
# make gpu-report GPU_PYTHON=python3
GPU_PYTHON ?= $(BIN)/python

test-gpu: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),.venv/.installed)
	$(GPU_PYTHON) tests/gpu/run.py

bench-gpu: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),.venv/.installed)
	$(GPU_PYTHON) benchmarks/gpu.py

# The tests, the benchmark in short, and the questions that only a GPU answers: gpu-report.json, docs/gpu-figures.md.
gpu-report: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),.venv/.installed)
	$(GPU_PYTHON) tests/gpu/report.py --page docs/gpu-figures.md

# A benchmark's figures as docs/performance-figures.md and its pictures; on a GPU: make figures BENCH=bench-gpu.json
BENCH ?= bench.json

figures: .venv/.installed
	$(BIN)/python benchmarks/figures.py $(BENCH) docs/

clean:
	rm -rf .venv .venv-3.* demo-out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRA),dev]'
	touch $@
