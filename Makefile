# Shorter names for the commands of the README; nothing is done here that they do not do.
.DEFAULT_GOAL := help
.PHONY: help demo test lint types audit sbom report bench

RUN := python3 dev.py run

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo:  ## see the product at work
	$(RUN) streaming demo

test:  ## run the tests
	$(RUN) pytest

lint:  ## check format and style
	$(RUN) ruff format --check .
	$(RUN) ruff check .

types:  ## check the types
	$(RUN) mypy

audit:  ## ask whether anything is known against the libraries
	$(RUN) python -m tests.dependencies

sbom:  ## write the list of libraries into sbom.json
	$(RUN) python -m tests.dependencies --sbom sbom.json

report:  ## run the tests and write TEST_RESULTS.md
	$(RUN) python -m tests.report

bench:  ## measure
	$(RUN) python -m benchmarks
