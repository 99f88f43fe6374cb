# Each target sets up all that it needs: a virtual environment in .venv, with the versions of constraints.txt;
# test-oldest another one, with the lowest versions that pyproject.toml allows.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest

.PHONY: demo test test-oldest browser node bench bench-gpu docs lint clean

# About five minutes on two CPU cores, on 40 drawn street scenes, rare classes weighing more: both students alone, then
# together, with the same steps. Ends with a table of both and of the gain in each class, and a figure, in runs/demo.
FEW := --recipe demo --max_train_samples 40 --num_train_epochs 90 --eval_steps 150 --class_weights balanced
demo: $(VENV)/installed
	rm -rf runs/demo runs/demo-alone
	$(BIN)/python examples/run_ctcl.py $(FEW) --method vanilla --output_dir runs/demo-alone
	$(BIN)/python examples/run_ctcl.py $(FEW) --method ctcl --control runs/demo-alone --output_dir runs/demo

# Files of tests side by side, one core each, in the order of tests/conftest.py. A process takes up to 2 GiB.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(VENV)/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-oldest: $(OLDEST)/installed
	$(OLDEST)/bin/python -m pytest $(SIDE_BY_SIDE)

# What the test of the Space needs, on Debian and as root; without a browser that one test is skipped.
browser:
	command -v chromium && command -v chromedriver || \
		{ apt-get update && apt-get install --yes --no-install-recommends chromium chromium-driver; }

# transformers.js into .node, for the test that runs a released SegFormer with it; needs npm, and without it that is skipped.
TRANSFORMERS_JS := 4.3.1
node: .node/installed-$(TRANSFORMERS_JS)

.node/installed-$(TRANSFORMERS_JS):
	npm install --prefix .node --ignore-scripts --no-audit --no-fund @huggingface/transformers@$(TRANSFORMERS_JS)
	touch $@

# Writes docs/benchmarks.md in about 25 minutes; wants an idle machine. BENCH="--data_dir CamVid" measures on real images.
bench: $(VENV)/installed
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/run.py --output docs/benchmarks.md $(BENCH)

# Writes docs/benchmarks-gpu.md in about four minutes, where there is a GPU.
bench-gpu: $(VENV)/installed
	$(BIN)/python benchmarks/run.py --gpu --output docs/benchmarks-gpu.md

# Builds the documents and the API of every public name into site/; a warning is an error. site/index.html is its first page.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test]'
	touch $@

$(OLDEST)/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --constraint constraints-oldest.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST)
