# make demo | test | serve | help. Each first makes what is missing (see .ci/setup.py).
PYTHON ?= python3
PORT ?= 8188
export COMFYUI_PATH COMFYUI_PYTHON

SETUP := $(PYTHON) .ci/setup.py
RUN := $(if $(COMFYUI_PYTHON),$(COMFYUI_PYTHON),.venv/bin/python)

.DEFAULT_GOAL := help
.PHONY: help demo serve test bench setup

help:  ## this list
	@echo "Causal Semantic Guidance: counterfactual image editing in ComfyUI"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile
	@echo
	@echo "  COMFYUI_PATH=folder      use an existing ComfyUI (nothing is written into it)"
	@echo "  COMFYUI_PYTHON=program   use its Python too"
	@echo "  PORT=8188                where make serve listens"

demo:  ## edit four scenes of the toy town five ways, measured against the exact answer
	@$(SETUP)
	@$(RUN) benchmarks/demo.py --output output/demo

serve:  ## open ComfyUI with this pack in the browser
	@$(SETUP)
	@$(RUN) .ci/serve.py --port $(PORT)

test:  ## run every test: unit, in ComfyUI, over the server, in the browser
	@$(SETUP) --tests
	@$(RUN) .ci/tests.py

bench:  ## measure every method on the toy town (hours; ARGS=--quick: minutes)
	@$(SETUP) --tests
	@$(RUN) benchmarks/town.py $(ARGS)

setup:  ## only make what the others need
	@$(SETUP) --tests
