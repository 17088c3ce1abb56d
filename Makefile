# The README's set-up, and what CI calls. `make install` starts everything else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# What the benches compare with, in environments of their own: MLflow asks for other releases of our libraries, and the
# runtimes stay out of what the tests run with.
MLFLOW := 3.17.2
ONNX := 1.23.2
ONNXRUNTIME := 1.31.1
OPENVINO := 2026.4.1
LATEFUSE := 0.1.0
POLYLORA := 0.1.1
INFINITY := 0.0.78
PEERS := .venv-mlflow
RUNTIMES := .venv-runtimes
SERVER := .venv-infinity

.PHONY: install demo test bench soak peers lint types docs screenshots clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pointsman needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev,docs]'
	touch $@

demo: install
	$(BIN)/registry demo

# Tests that compute do so on one thread each; two of them at a time.
test: lint types docs
	$(BIN)/python -m pytest -n 2 --dist worksteal

bench: install
	$(BIN)/python tests/benchmarks/run.py

# Ten minutes of load on a server whose registry changes; every answer is checked.
soak: install
	$(BIN)/python tests/soak.py

peers: $(PEERS)/.installed-$(MLFLOW) $(RUNTIMES)/.installed-$(ONNX)-$(ONNXRUNTIME)-$(OPENVINO)-$(LATEFUSE)-$(POLYLORA) \
	$(SERVER)/.installed-$(INFINITY)

$(PEERS)/.installed-$(MLFLOW):
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet mlflow==$(MLFLOW)
	touch $@

# Its torch is the one of the tests; the rest of what it asks for is older.
$(SERVER)/.installed-$(INFINITY): constraints.txt
	$(PYTHON) -m venv $(SERVER)
	$(SERVER)/bin/python -m pip install --quiet $$(grep ^torch== constraints.txt) $$(grep ^transformers== constraints.txt) \
		'infinity-emb[server,torch]==$(INFINITY)'
	touch $@

# latefuse and polylora run on our torch, so they come alone; of the rest, polylora asks for Triton's kernels for a GPU.
$(RUNTIMES)/.installed-$(ONNX)-$(ONNXRUNTIME)-$(OPENVINO)-$(LATEFUSE)-$(POLYLORA): constraints.txt
	$(PYTHON) -m venv $(RUNTIMES)
	$(RUNTIMES)/bin/python -m pip install --quiet --constraint constraints.txt onnx==$(ONNX) \
		onnxruntime==$(ONNXRUNTIME) openvino==$(OPENVINO) tokenizers
	$(RUNTIMES)/bin/python -m pip install --quiet --no-deps latefuse==$(LATEFUSE) polylora==$(POLYLORA)
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy cannot follow an editable install of a namespace package, so it gets a folder that holds the same names.
types: install
	mkdir -p build/typecheck
	ln -sfn ../.. build/typecheck/pointsman
	$(BIN)/mypy -p pointsman.registry -p pointsman.sdk -p pointsman.cli -p pointsman.migrations

# The site, in build/site: offline, and any warning is an error. A folder with links to the rooms alone, since the
# reference's reader would follow the one of `types` through the whole repository.
docs: install
	mkdir -p build/docs/pointsman
	for layer in registry sdk cli migrations; do ln -sfn ../../../$$layer build/docs/pointsman/$$layer; done
	PYTHONPATH=build/docs $(BIN)/python docs/reference/commands.py build/docs/commands.md
	PYTHONPATH= $(BIN)/zensical build --strict --clean

# The pictures of docs/how-to/ui.md, by the Chromium that the tests use.
screenshots: install
	$(BIN)/python docs/screenshots.py docs/how-to/images

clean:
	rm -rf $(VENV) $(PEERS) $(RUNTIMES) $(SERVER) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
