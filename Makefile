# Two commands do everything on a fresh machine: `make run` and `make test`. Both install what is missing first.
#   make run ARGS="--for 60 --no-hmi"     the city; ARGS go to `gwanje up`
#   make test ARGS="tests/core -x"        the tests; ARGS go to pytest; --hypothesis-profile=explore draws new examples
#   make bench ARGS="loop dispatch"       measurements beside their peers
#   make bench-pymgrid ARGS="--scenarios 0,2 --hours 2000"   our plan on the 25 sites of python-microgrid
#   make fuzz ARGS="--runs 1000000"       a million changed frames and requests under a coverage-guided fuzzer
#   make lint                             ruff and mypy --strict

SOURCES := pyproject.toml setup.py .ci/prepare $(wildcard ext/*.pyx ext/*.pxd ext/*.h ext/*.pxi)
ARGS ?=

.PHONY: run test bench bench-pymgrid fuzz lint clean

run: .venv/ready-run
	@.venv/bin/gwanje up $(ARGS)

test: .venv/ready-test
	@.venv/bin/pytest -n 3 --dist loadscope --no-loadscope-reorder $(ARGS)

bench: .venv/ready-bench
	@.venv/bin/gwanje bench --peers $(ARGS)

bench-pymgrid: .venv/ready-run
	@bash control/microgrid/peers/pymgrid/prepare
	@.venv/bin/python -m gwanje.control.microgrid.peers.pymgrid $(ARGS)

fuzz: .venv/ready-test
	@.venv/bin/python -m tests.fuzz.run $(ARGS)

lint: .venv/ready-test
	@.venv/bin/ruff check .
	@.venv/bin/python setup.py -q typetree
	@cd build/types && ../../.venv/bin/mypy -p gwanje --config-file ../../pyproject.toml --cache-dir ../mypy

.venv/ready-run: $(SOURCES)
	@bash .ci/prepare run

.venv/ready-test: $(SOURCES)
	@bash .ci/prepare test

.venv/ready-bench: $(SOURCES)
	@bash .ci/prepare bench

clean:
	rm -rf .venv build *.egg-info ext/*.so
