# Every target sets up what it needs; nothing is installed by hand. PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt
# Three at a time on two cores: many tests wait for leases to expire. A file stays together, for its fixtures.
PYTEST := $(BIN)/python -m pytest -q -n 3 --dist loadfile --durations 8

.PHONY: demo test test-all test-cluster manifests lint bench-dialogue clean

demo: $(VENV)/.lite  ## the main job on the audio that comes with the repository
	$(BIN)/duplexforge demo --out demo-output

test: $(VENV)/.test  ## everything that needs no system package, under ten minutes on two cores
	$(BIN)/python -m pip check
	$(PYTEST) -m "not slow and not system and not heavy"

test-all: $(VENV)/.emilia .venv-localstack/.ready  ## the slow tests and those that want torch or system packages (installs Debian's ffmpeg when it can)
	$(BIN)/python -m pip check
	sh tests/system-packages.sh
	$(PYTEST) -m "(slow or system or heavy) and not realtime"
	$(BIN)/python -m pytest -q -p no:xdist -m realtime

test-cluster: $(VENV)/.test  ## the autokicker on a real control plane: KUBECONFIG (a cluster made for tests) or KUBEBUILDER_ASSETS
	$(BIN)/python -m pytest -q -p no:xdist -m cluster tests/cluster

manifests: $(VENV)/.test  ## render examples/*.yaml from k8s/
	$(BIN)/python -m tests.manifests.write

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-dialogue: $(VENV)/.test  ## DER and WER of the lite preset on the shipped dialogues
	$(BIN)/python benchmarks/dialogue.py

bench-%: $(VENV)/.emilia  ## one program of benchmarks/, such as bench-overlap; its docstring says what it compares
	$(BIN)/python benchmarks/$*.py

clean:
	rm -rf $(VENV) .venv-localstack demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.lite: $(VENV)/bin/python pyproject.toml requirements.txt
	$(PIP) -e '.[lite]'
	touch $@

$(VENV)/.test: $(VENV)/.lite
	$(PIP) -e '.[lite,duplex,serve,test]'
	touch $@

# S3 and SQS as an implementation that nobody here wrote; its requirements do not go with the product's.
.venv-localstack/.ready: tests/localstack-requirements.txt
	$(PYTHON) -m venv .venv-localstack
	.venv-localstack/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# torch first and by itself: whatever comes after must find it, or it would bring a CUDA build.
$(VENV)/.emilia: $(VENV)/.test
	$(PIP) torch
	$(PIP) torchcodec
	$(PIP) -e '.[emilia,cpu,duplex,test,heavy]'
	$(BIN)/python -m Emilia.models.torchaudio_mend
	touch $@
