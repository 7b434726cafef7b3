# make setup    the environment, in .venv
# make demo     the whole workflow on simulated cells, then report.zip
# make test     lint and all tests
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# native libraries stay on one core a job: Snakemake shares out the cores
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1

.PHONY: setup demo test lint format lock clean

setup: .venv/.made-from-lock

.venv/.made-from-lock: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "Python 3.11 is needed, found " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

demo: setup
	$(RUN) snakemake --cores all
	$(RUN) snakemake --report report.zip
	@echo "Done. Open report.html in report.zip, or results/report/site/index.html."

test: lint
	$(RUN) python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(RUN) ruff check workflow tests benchmarks
	$(RUN) ruff format --check workflow tests benchmarks
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint

format: setup
	$(RUN) ruff check --fix workflow tests benchmarks
	$(RUN) ruff format workflow tests benchmarks
	$(RUN) snakefmt Snakefile workflow

# after an upgrade by hand in .venv: write down what is there
lock:
	(head -1 requirements.lock; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//' | sort -f) > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:
	rm -rf results logs report.zip resources/images resources/weights .snakemake
