PYTHON ?= python3
BIN := .venv/bin
DATA ?= ../shared/data
LITELLM := 1.108.7
# Much of a test's time is waiting: more than a core for each worker would not help.
SPREAD := -n auto --maxprocesses 4 --dist worksteal

.PHONY: setup demo test fuzz check coverage bench soak docs release clean

setup: .venv/.complete

# A constraints file with every version: without it pip takes ten minutes to resolve the extras.
.venv/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[train,bench,haiku,openai,redis,postgres,redact,prices,serve,bulk,dev]"
	touch $@

demo: setup
	$(BIN)/python -m training.train --first-bundle
	@echo
	$(BIN)/python -m inference.classify --bundle models/support --jsonl < data/support/demo.txt
	@echo
	@echo "the page of this model, with a simulated history: $(BIN)/python -m inference.page --bundle models/support --simulated"
	@if [ -n "$(DEMO_PAGE)" ]; then $(BIN)/python -m inference.page --bundle models/support --simulated; fi

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy training inference monoku
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest -m "not soak" $(SPREAD)

# The property tests alone, with cases that no run has tried: test itself tries the same ones every time.
fuzz: setup
	$(BIN)/python -m pytest -m "hypothesis and not soak" --hypothesis-profile=fuzz $(SPREAD)

# Apart from test: measuring makes the property tests take nearly twice as long.
coverage: setup
	$(BIN)/python -m pytest -m "not soak" $(SPREAD) --cov --cov-report=term:skip-covered

# The public data that the benchmarks read: clinc/oos-eval as DATA/clinc150, BANKING77 as DATA/banking77.
models/clinc150/current: | setup
	$(BIN)/python -m training.train --data $(DATA)/clinc150 --name clinc150

bench: setup models/clinc150/current
	$(BIN)/python -m benchmarks.latency --bundle models/clinc150 --data $(DATA)/clinc150
	$(BIN)/python -m benchmarks.certificate --bundle models/clinc150 --data $(DATA)/clinc150
	$(BIN)/python -m benchmarks.hotpath --bundle models/clinc150 --data $(DATA)/clinc150
	$(BIN)/python -m benchmarks.replay --bundle models/clinc150 --data $(DATA)/clinc150 --target 0.97
	$(BIN)/python -m benchmarks.refreshes --bundle models/clinc150 --data $(DATA)/clinc150
	$(BIN)/python -m benchmarks.coverage --data $(DATA)
	$(BIN)/python -m benchmarks.groups

# Third-party servers are installed here alone: uWSGI is compiled, LiteLLM wants other versions than we do. PgBouncer is
# for you to install (Debian: apt-get install pgbouncer); without it its tests are skipped.
.venv-litellm/.complete:
	$(PYTHON) -m venv .venv-litellm
	.venv-litellm/bin/python -m pip install --quiet "litellm[proxy]==$(LITELLM)"
	touch $@

# The page is driven in a browser, which is for you to install (Debian: apt-get install chromium; or set CHROMIUM).
# Spark needs Java (Debian: apt-get install default-jre-headless); without it its test is skipped.
soak: setup .venv-litellm/.complete
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[soak]"
	$(BIN)/python -m pytest -m soak

# The documentation as a site, in build/site.
docs: setup
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# A wheel and a source distribution in dist/, both checked; nothing is uploaded.
release: setup
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[release]"
	rm -rf build/lib dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf .venv .venv-litellm build dist models/*/ .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage *.egg-info
