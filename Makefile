# Few verbs. Override the interpreter or the environment's place: make test PYTHON=python3.12 VENV=/tmp/venv
PYTHON ?= python3.11
VENV ?= .venv

RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PEERS := nequip metatrain
nequip := nequip==0.19.1
metatrain := 'metatrain[soap-bpnn]==2026.4.1'

.DEFAULT_GOAL := help
.PHONY: help demo test check bench
.DELETE_ON_ERROR:

help:
	@echo 'make demo    train on examples/ethanol, export, run molecular dynamics (about 3 minutes)'
	@echo 'make test    run every test'
	@echo 'make check   lint, format, types, layers'
	@echo 'make bench   make the benchmark tables, peers measured in the same run'

demo: $(READY)
	$(RUN) examples/ethanol/demo.py

# As many processes as cores, each with one thread: two threads on one core wait for each other.
test: export OMP_NUM_THREADS := 1
test: $(READY)
	$(RUN) -m pytest --numprocesses auto --dist worksteal

check: $(READY)
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m pyright --pythonpath $(RUN)
	$(VENV)/bin/lint-imports

# Each peer has its own environment: they need versions of e3nn that exclude each other.
bench: export NEQUIP_PYTHON := $(VENV)-nequip/bin/python
bench: export METATRAIN_PYTHON := $(VENV)-metatrain/bin/python
bench: $(READY) $(PEERS:%=$(VENV)-%/.ready)
	$(RUN) benchmarks/start_time.py
	$(RUN) benchmarks/resume.py
	@folder=benchmarks/results/$$(date +%Y-%m-%d-%H-%M-%S) && set -x && \
	$(RUN) benchmarks/time_to_accuracy.py --keep $$folder && \
	$(VENV)/bin/milepost export $$folder/milepost-compiled-before-300/run/model.ckpt -o $$folder/model.pt2 && \
	$(RUN) benchmarks/dynamics.py $$folder/model.pt2 $$folder/nequip-default-300/best.ckpt

# The environment is brought up to date whenever what it is made from changes. One left half-made by an
# interrupted install has no stamp: pip completes it, and it is made anew where not even pip runs.
# PIP_CONSTRAINT also reaches the isolated environment in which pip builds the package.
$(READY): pyproject.toml constraints.txt
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	PIP_CONSTRAINT=constraints.txt $(RUN) -m pip install --disable-pip-version-check \
		-c constraints.txt -e '.[test,check]'
	@touch $@

$(VENV)-%/.ready:
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --disable-pip-version-check torch==2.13.0 $($*)
	@touch $@
