# What a user runs: `make demo`, `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= runs/demo
BUNDLE ?= runs/bundle
WEIGHTS ?=
export WANDB_MODE ?= offline

.PHONY: help bench-probes bench-propagate bench-unsupervised install demo test lint types test-slow bench-learning bench-selection bench-adaptation bench-data bench-ssl bench-views evidence-fewshot evidence-segment bench-maps bundle fuzz soak clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(STAMP)  ## an environment in .venv with the `medino` command

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"medino needs Python 3.11 to 3.13, this is {v.major}.{v.minor}: run make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $@

demo: install  ## the main job on an embedded phantom archive
	$(BIN)/medino demo -o $(DEMO)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

test: lint types  ## lint, types and tests (at most 20 minutes on two cores)
	$(BIN)/python -m pytest

test-slow: install  ## the slower tests (at most 40 minutes on two cores)
	$(BIN)/python -m pytest -m slow

bench-learning: install  ## does pretraining from scratch help few-shot accuracy on real tiles? writes docs/benchmarks/learning.md
	$(BIN)/python -m tests.benchmarks.learning

bench-selection: install  ## does `medino select` beat labelling at random, at five labels a class? writes docs/benchmarks/selection.md
	$(BIN)/python -m tests.benchmarks.selection

bench-adaptation: install  ## what continuing gains on new images and loses on old ones, in two hops; writes docs/adaptation.md (an hour; goes on where it was stopped)
	$(BIN)/python -m tests.benchmarks.adaptation

bench-data: install  ## how fast headers and packed images are read, beside pydicom; writes docs/benchmarks/data.md
	$(BIN)/python -m tests.benchmarks.data

bench-ssl: install  ## a pretraining step beside the recipe's formulas, its time and memory; writes docs/benchmarks/ssl.md
	$(BIN)/python -m tests.benchmarks.ssl

bench-views: install  ## ten views of an image beside the ten resizes alone, on one core; writes docs/benchmarks/views.md
	$(BIN)/python -m tests.benchmarks.views

evidence-fewshot: install  ## what minutes of pretraining are worth at 1 to 32 labels a class of real images, beside floor and CNN; writes docs/benchmarks/evidence.md (an hour; SETS="cells ..."; goes on where it was stopped)
	$(BIN)/python -m tests.benchmarks.evidence_fewshot $(if $(SETS),--sets $(SETS))

evidence-segment: install  ## masks from 1 to 20 labelled patients of real images, beside floors and a U-Net; writes docs/benchmarks/evidence.md (SETS="lungs ..."; goes on where it was stopped)
	$(BIN)/python -m tests.benchmarks.evidence_masks $(if $(SETS),--sets $(SETS))

bench-maps: install  ## a head trained on kept token maps, beside the features computed anew in each step; writes docs/benchmarks/maps.md
	$(BIN)/python -m tests.benchmarks.maps

bundle: install  ## wheels and weights for a machine without a network (BUNDLE=FOLDER WEIGHTS="NAME_OR_PATH ...")
	$(BIN)/medino bundle -o $(BUNDLE) --weights $(WEIGHTS)

bench-probes: install  ## how fast probes are fitted, beside scikit-learn; writes docs/benchmarks/probes.md
	$(BIN)/python -m tests.benchmarks.probes

bench-propagate: install  ## one labelled slice to a volume, beside copying it and a linear head; writes docs/benchmarks/propagation.md
	$(BIN)/python -m tests.benchmarks.propagate

bench-unsupervised: install  ## objects without labels beside lungs and nuclei, measured and drawn; writes docs/benchmarks/unsupervised.md and its figure, and sheets into runs/unsupervised
	$(BIN)/python -m tests.benchmarks.unsupervised

fuzz: install  ## 10 000 real images broken by seed: each is read or rejected in words (goes on where it was stopped)
	$(BIN)/python -m tests.fuzz

soak: install  ## 20 training runs killed at random points go on, and end as the run never stopped, to the bit
	$(BIN)/python -m tests.soak

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache
