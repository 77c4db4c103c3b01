# Everything that is run in this checkout. Each target brings what it needs on
# Debian 12 or 13 with Python 3.11 or later, make and git.

PYTHON ?= python3
LAB ?= default
PORT_BASE ?= 18000
SEED := $(or $(SEED),$(shell date +%s))

export PATH := $(CURDIR)/.venv/bin:$(PATH)
RUN := @.venv/bin/python tests/tools/run.py
LABCTL := @.venv/bin/python lab/lab.py
CONTAINED := .venv/bin/python tests/tools/contained.py

# What the tests of pgBackRest need on a host that has it.
PGBACKREST := postgresql pgbackrest python3-pytest python3-psycopg2 python3-yaml ansible-core zstd procps

# What those of the maintenance answer need, with the HAProxy of that host.
HAPROXY := haproxy socat python3-pytest python3-yaml python3-trustme ansible-core

# Which lab these work with, and the first of its ports.
demo bench lab-up lab-down lab-status: export MATRIXON_LAB_NAME = $(LAB)
demo bench lab-up lab-down lab-status: export MATRIXON_LAB_PORT_BASE = $(PORT_BASE)

.DEFAULT_GOAL := help
.PHONY: help setup system images demo test check lint sanity unit integration molecule
.PHONY: lab-up lab-down lab-status bench soak pins clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv, and the link under which Ansible finds the checkout
	@$(PYTHON) tests/tools/bootstrap.py

system: ## Install the Debian packages of the tests, if they are missing
	@$(PYTHON) tests/tools/system.py chromium=chromium promtool=prometheus shellcheck=shellcheck \
		restic=restic rsync=rsync age=age zstd=zstd etcd=etcd-server knotd=knot patroni=patroni prometheus-alertmanager=prometheus-alertmanager

images: setup ## Have Docker run, and build the images of the Molecule scenarios
	@.venv/bin/python tests/images/images.py

demo: setup lab-up ## Start the lab and run the operations guide against it
	ansible-playbook playbooks/demo.yml

test: setup system images ## Run every test: check, the integration tests, the Molecule scenarios
	$(RUN) test

check: setup ## Run what needs no server: lint, sanity, documentation, unit tests
	$(RUN) check

lint: setup ## Run ruff, yamllint, mypy and ansible-lint
	$(RUN) lint

sanity: setup ## Run ansible-test sanity
	$(RUN) sanity

unit: setup ## Run the unit tests
	$(RUN) unit

integration: setup system ## Run the tests against the servers of the lab
	$(RUN) integration

molecule: setup images ## Run the scenarios on systemd hosts in Docker: SCENARIO=default
	$(RUN) $(if $(SCENARIO),molecule-$(SCENARIO),molecule)

lab-up: setup ## Start the lab: LAB=default PORT_BASE=18000
	$(LABCTL) up

lab-down: setup ## Stop the lab and remove what it left
	$(LABCTL) down

lab-status: setup ## Show what runs in the lab
	$(LABCTL) status

bench: setup system ## Measure against the guide's scripts; asserts nothing: BENCH="backup --help"
	.venv/bin/python tests/bench $(BENCH)

soak: setup system images ## Run the long randomised tests; repeat a run with SEED=number
	@echo "SEED=$(SEED)"
	SEED=$(SEED) .venv/bin/python -m pytest -s tests/soak --ignore=tests/soak/test_archive_loss.py
	.venv/bin/python -m pytest -v -m soak tests/integration
	$(RUN) molecule-certbot
	MATRIXON_DR_TESTS=soak molecule test --scenario-name dr_failover
	MATRIXON_FLEET_TESTS=soak molecule test --scenario-name default
	SEED=$(SEED) $(CONTAINED) $(PGBACKREST:%=--package %) -- \
		python3 -m pytest -s -p no:cacheprovider -o addopts=--import-mode=importlib tests/soak/test_archive_loss.py
	$(CONTAINED) $(PGBACKREST:%=--package %) -- \
		python3 -m pytest -p no:cacheprovider -o addopts=--import-mode=importlib \
		tests/integration/backup/test_pgbackrest.py
	$(CONTAINED) $(HAPROXY:%=--package %) -- \
		python3 -m pytest -p no:cacheprovider -o addopts=--import-mode=importlib \
		tests/integration/window/test_window_parts.py -k "not silence and not alertmanager"

pins: ## Write tests/constraints.txt anew with the newest versions
	$(PYTHON) -m venv --clear .build/pins
	.build/pins/bin/pip install -qq -r tests/requirements.txt
	@sed -i '/^[^#]/d' tests/constraints.txt
	.build/pins/bin/pip freeze --exclude pip >> tests/constraints.txt

clean: ## Stop the lab; remove .venv, reports and caches
	@if [ -x .venv/bin/python ] && [ -f lab/lab.py ]; then $(MAKE) lab-down; fi
	rm -rf .ansible .build .venv reports tests/output .mypy_cache .pytest_cache .ruff_cache *.tar.gz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
