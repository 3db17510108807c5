# SPDX-License-Identifier: Apache-2.0
# A thin face over CMake. `make demo` and `make test` do all the set-up themselves.
JOBS := $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 600
FUZZ_EXECUTIONS ?= 0    # calls of public functions in all, such as 100000000
CONFIGURE ?=           # more options for cmake, such as -DFATTN_WERROR=ON
R := build/release
MAKEFLAGS += --no-print-directory

.PHONY: all demo train-demo test test-full bench bench-peers docs sanitize fuzz mutants install deps clean
all:
	@sh scripts/deps.sh build
	@cmake --preset release -DFATTN_BUILD_TESTS=OFF $(CONFIGURE) >/dev/null
	@cmake --build $(R) -j $(JOBS)

demo: all            # the main job on real tensors, then a small model trained on the spot; about a minute
	@$(R)/examples/demo
	@sh examples/demo_model.sh $(R)/tools/fattn build/demo-model

train-demo: all      # what docs/training.md claims, measured: under five minutes; TEXT=FILE for another text
	@$(R)/train/gradient_check
	@$(R)/train/train_demo build/train-demo $(TEXT)
	@$(R)/examples/multimodal

test: tests-built    # everything that runs in a few minutes
	@sh scripts/test.sh $(R) -LE long

test-full: tests-built
	@FATTN_TEST_FULL=1 sh scripts/test.sh $(R)

.PHONY: tests-built
tests-built:
	@sh scripts/deps.sh test
	@sh scripts/venv.sh
	@cmake --preset release -DFATTN_BUILD_TESTS=ON -DFATTN_PYTHON=$(CURDIR)/.venv/bin/python \
	    $(CONFIGURE) >/dev/null
	@cmake --build $(R) -j $(JOBS)

bench: all           # three standard configurations against standard attention
	@$(R)/tools/fattn bench --suite guide

bench-peers: all     # beside PyTorch, onnxruntime, OpenVINO and ggml; 30 minutes, PEERS="--rows 'decode*'" for less
	@sh scripts/peers_venv.sh build/peers-venv
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE build/peers-venv/bin/python -B bench/peers \
	    --library $(R)/libfattn.so --fattn $(R)/tools/fattn --json build/peers.json \
	    --chart build/peers.svg --chart build/peers.png $(PEERS)

docs: tests-built    # the site, in build/site; its notebooks run while it is built
	@.venv/bin/python -c 'import sphinx, myst_nb, furo' 2>/dev/null || \
	    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r docs/site/requirements.txt
	@.venv/bin/python -m sphinx -q -W --keep-going -b html docs/site build/site

sanitize:            # the tests once more under ASan + UBSan, then under TSan
	@sh scripts/deps.sh test
	@set -e; for preset in asan tsan; do \
	    cmake --preset $$preset -DFATTN_BUILD_TESTS=ON >/dev/null; cmake --build build/$$preset -j $(JOBS); \
	    sh scripts/test.sh build/$$preset -LE long; done

fuzz: tests-built    # random calls against the NumPy oracle; then the fuzzers, where clang is
	@sh tests/python/run.sh .venv/bin/python $(R)/libfattn.so --cases 20000 --seed random || \
	    [ $$? -eq 77 ]
	@sh scripts/fuzz.sh --seconds $(FUZZ_SECONDS) --executions $(FUZZ_EXECUTIONS) || [ $$? -eq 77 ]

mutants:             # breaks one place after the other on purpose; every time a test must notice
	@sh scripts/deps.sh test
	@sh tests/mutants/run.sh . build/mutants

install: all
	@cmake --install $(R) --prefix $(PREFIX)

deps:                # the one line that installs everything on Debian or Ubuntu
	@sh scripts/deps.sh print

clean:
	rm -rf build .venv
