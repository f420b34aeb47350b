# Everything that a person types. Each target installs what it needs into .venv, pinned by requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/demo
BUNDLE ?= bundles/cifar10-small
WORKERS ?= 2

# ONNX Runtime, torch and faiss each bring a thread pool that spins while it waits; side by side on few cores they starve
# each other. The programs set the same for themselves (holdfast/environment.py); here it covers the tests.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0
# Byte code is kept: it is made when a module is first imported, and torch has thousands of them.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo serve test lint bench protos lock clean

help:  ## what one can type here
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

demo: .venv/.demo  ## train, export, index, serve, attack and scrape a small robust classifier (about five minutes on two cores)
	$(BIN)/python -m demo --out $(RUN)

install: .venv/.demo  ## install what training, indexing, evaluation and serving need

serve: .venv/.serve  ## serve the pre-trained CIFAR-10 bundle; BUNDLE=runs/demo/ssat serves what the demo built
	$(BIN)/holdfast serve --bundle $(BUNDLE)

test: .venv/.dev .venv/.node  ## lint, types, import contracts and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(PYTEST)

bench: .venv/.dev  ## the benchmarks, each a ratio measured in one run
	$(BIN)/python -m bench.knn
	$(BIN)/python -m bench.engine --bundle $(BUNDLE)
	$(BIN)/python -m bench.planted
	$(BIN)/python -m bench.training
	$(BIN)/python -m bench.threads
	@test -f $(RUN)/ssat/manifest.json || $(BIN)/python -m demo --out $(RUN)
	$(BIN)/python -m bench.serving --bundle $(RUN)/ssat
	$(BIN)/python -m bench.memory --bundle $(RUN)/ssat

protos: .venv/.dev  ## write the stubs of protos/ again
	$(BIN)/python -m protos

lock: .venv/.dev  ## pin the newest versions that fit pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links --no-header \
	  --extra train --extra serve --extra eval --extra dev --output-file requirements.lock pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' requirements.lock  # the CPU and CUDA builds are one version

clean:  ## remove the environment and everything that was built
	rm -rf .venv runs build *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "holdfast needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/.serve: pyproject.toml requirements.lock | .venv/bin/python
	$(BIN)/python deploy/install.py serve
	touch $@

.venv/.demo: pyproject.toml requirements.lock | .venv/bin/python
	$(BIN)/python deploy/install.py train,serve
	touch $@ .venv/.serve

# The packages of the Node client in the tests. Without npm, or where it reaches no registry, its tests skip and say so.
.venv/.node: tests/server/api/node/package-lock.json | .venv/bin/python
	if command -v npm > /dev/null; then npm ci --ignore-scripts --no-audit --no-fund --prefix tests/server/api/node || true; fi
	touch $@

.venv/.dev: pyproject.toml requirements.lock | .venv/bin/python
	$(BIN)/python deploy/install.py train,serve,eval,dev
	touch $@ .venv/.demo .venv/.serve
