# Needs Python 3.11 or newer and make; everything else is installed into .venv from locked, hash-checked requirements.
# Paths are relative, so that the clone may lie anywhere.

.DEFAULT_GOAL := help
.PHONY: help run test test-system test-citus test-console faults soak fuzz mutants check audit sbom format bench bench-full lock clean
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet --quiet
LOCK := .venv/bin/uv pip compile pyproject.toml - --universal --python-version 3.11 --generate-hashes --no-header --quiet
# Tests run in two processes, each with a PostgreSQL of its own. Each takes a half, and from the other when it is done;
# neighbours stay together, and with them what they share. ARGS=-n0 runs all in one.
SIDE_BY_SIDE := -n 2 --dist worksteal
# The schema of the first version. What comes after it is looked at by itself: an index of a table that was there is found.
FIRST_SCHEMA := 0016
# What the build backend of the service itself needs: it is installed without build isolation, from the same lock.
BUILD := echo "setuptools>=77"

help:
	@echo "make run       start the service (and PostgreSQL, unless FUNDS_DATABASE_URL is set)"
	@echo "make test      run the tests; make test ARGS='-k transfer' runs some"
	@echo "make test-system  run the tests of what speaks to the database on the system's PostgreSQL (Debian's is 15)"
	@echo "make test-citus  run the tests of distributed tables on the Citus of FUNDS_TEST_CITUS_URL (tests/README.md)"
	@echo "make test-console  run the console in a real browser (Chromium)"
	@echo "make fuzz      ask every operation by its description, and send bytes at every decoder; ARGS='--seconds 3600'"
	@echo "make mutants   change the rules one line at a time, and see a test fail; ARGS='commit --sample 50' the commit path"
	@echo "make faults    every fault under load, in an order that a seed draws, and how soon all is well; ARGS='--seed 42' replays"
	@echo "make soak      ten minutes of all of it, and whether anything has grown; ARGS='--minutes 60' for longer"
	@echo "make check     formatting, lint, types, import directions, migrations, what deploy/ has"
	@echo "make audit     ask a service on the internet for known vulnerabilities of what is locked"
	@echo "make sbom      list what a production installation consists of, with licences, in build/sbom.json (CycloneDX)"
	@echo "make format    format the code and fix what lint can fix"
	@echo "make bench     measure the service in 3 minutes; make bench-full in an hour and a half, with 10 million transfers"
	@echo "make lock      resolve the requirements again; make lock ARGS=--upgrade takes newer versions"
	@echo "make clean     remove .venv and caches; the data in .data stays"

# exec: Ctrl-C and SIGTERM reach the service itself, which stops cleanly.
run: .venv/.runtime
	@exec .venv/bin/funds serve

test: .venv/.development
	@exec .venv/bin/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-system: .venv/.development
	@FUNDS_TEST_POSTGRES=system exec .venv/bin/python -m pytest $(SIDE_BY_SIDE) \
		tests/storage tests/posting tests/concurrency tests/faults $(ARGS)

test-citus: .venv/.development
	@exec .venv/bin/python -m pytest -n0 -rs tests/distribution $(ARGS)

test-console: .venv/.development
	@FUNDS_TEST_BROWSER=1 exec .venv/bin/python -m pytest -n0 -rs tests/console/test_browser.py $(ARGS)

faults: .venv/.development
	@PYTHONPATH=service/client:service/testing exec .venv/bin/python -m tests.faults.schedules $(ARGS)

soak: .venv/.development
	@PYTHONPATH=service/client:service/testing exec .venv/bin/python -m tests.faults.schedules.soak --minutes 10 $(ARGS)

fuzz: .venv/.development
	@exec .venv/bin/python -m tests.fuzz $(ARGS)

mutants: .venv/.development
	@exec .venv/bin/python -m tests.mutants $(if $(ARGS),$(ARGS),domain)

check: .venv/.development
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	PYTHONPATH=service/client:service/testing .venv/bin/lint-imports
	@mkdir -p build
	.venv/bin/alembic upgrade $(FIRST_SCHEMA) --sql > build/first_schema.sql
	.venv/bin/alembic upgrade $(FIRST_SCHEMA):head --sql > build/migrations.sql
	.venv/bin/squawk build/first_schema.sql build/migrations.sql
	.venv/bin/python -m pytest --quiet tests/deploy

# --strict: a package that could not be asked about is a failure, not a line that nobody reads.
audit: .venv/.audit
	@mkdir -p build; rm -f build/vulnerabilities.txt
	@for lock in requirements requirements-dev requirements-audit; do \
		echo "deploy/$$lock.txt:"; \
		.venv/bin/pip-audit --requirement deploy/$$lock.txt --disable-pip --strict --progress-spinner off \
			--output build/vulnerabilities.txt && continue; \
		if [ -s build/vulnerabilities.txt ]; then \
			cat build/vulnerabilities.txt; \
		else \
			echo "The vulnerability service could not be asked about every package of deploy/$$lock.txt." >&2; \
		fi; \
		exit 1; \
	done

# What is locked, installed by itself: the development tools in .venv are no part of it.
sbom: .venv/.audit
	@rm -rf build/runtime; mkdir -p build
	@.venv/bin/python -m venv --without-pip build/runtime
	@$(PIP) --python build/runtime install --require-hashes --requirement deploy/requirements.txt
	@.venv/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json \
		build/runtime
	@rm -rf build/runtime
	@echo "build/sbom.json lists what deploy/requirements.txt installs on this platform"

format: .venv/.development
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: .venv/.development
	@exec .venv/bin/python -m tests.benchmarks quick $(ARGS)

bench-full: .venv/.development
	@exec .venv/bin/python -m tests.benchmarks full $(ARGS)

# The development lock comes first and the runtime lock takes its versions, so that tests run on what production runs.
lock: .venv/.development
	$(BUILD) | $(LOCK) --extra dev --output-file deploy/requirements-dev.txt $(ARGS)
	$(BUILD) | $(LOCK) --extra embedded --extra docs --extra oidc --extra telemetry --constraint deploy/requirements-dev.txt \
		--output-file deploy/requirements.txt $(ARGS)
	$(BUILD) | $(LOCK) --extra audit --constraint deploy/requirements-dev.txt \
		--output-file deploy/requirements-audit.txt $(ARGS)

clean:
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info service/*/build service/*/*.egg-info
	find service tests migrations -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.created:
	@python=""; \
	for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Python 3.11 or newer is needed; install it, then run make again." >&2; exit 1; \
	fi; \
	rm -rf .venv; \
	umask 022; \
	echo "Creating .venv ($$($$python --version))"; \
	if ! $$python -m venv .venv; then \
		rm -rf .venv; \
		echo "$$python cannot create a virtual environment; install its venv module, then run make again." >&2; exit 1; \
	fi
	@touch $@

# umask: the embedded PostgreSQL may run as another user, which must be able to read its program files.
.venv/.runtime: .venv/.created deploy/requirements.txt pyproject.toml
	@echo "Installing the runtime requirements"
	@umask 022; $(PIP) install --require-hashes --requirement deploy/requirements.txt
	@umask 022; $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.development: .venv/.created deploy/requirements-dev.txt deploy/requirements-schemas.txt pyproject.toml
	@echo "Installing the development requirements"
	@umask 022; $(PIP) install --require-hashes --requirement deploy/requirements-dev.txt
	@umask 022; $(PIP) install --require-hashes --no-deps --requirement deploy/requirements-schemas.txt
	@umask 022; $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.audit: .venv/.development deploy/requirements-audit.txt
	@echo "Installing what audits"
	@umask 022; $(PIP) install --require-hashes --no-deps --requirement deploy/requirements-audit.txt
	@touch $@
