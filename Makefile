# Everything on a machine without ROS: Python 3.10 to 3.13, a C and C++ compiler, and this file.
# On a ROS 2 machine use colcon instead (README.md).
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
INSTRUCTION ?= pick up the red block
TEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# of the environment, once it is there
PYTHON_VERSION := $(shell $(firstword $(wildcard $(BIN)/python) $(PYTHON)) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
LOCK := $(wildcard requirements-$(PYTHON_VERSION).txt)
INTERFACES := $(wildcard msg/*.msg srv/*.srv action/*.action)

# A ROS installation that happens to be sourced must not be mixed with the one in $(VENV).
unexport PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO LD_LIBRARY_PATH
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-lerobot faults lint format setup system clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22
	@echo '  Variables: PYTHON (now $(PYTHON)), INSTRUCTION (of demo), TEST_ARGS (for pytest)'

demo: setup ## Simulated robot, policy and executor as separate processes carry out INSTRUCTION
	$(BIN)/swiftvla demo "$(INSTRUCTION)"

test: FOR = tests
test: setup ## Run the tests
	scripts/run_tests.sh $(BIN)/python --session-timeout=1200 $(TEST_ARGS)

test-lerobot: ## Run the tests of the LeRobot plugin, in an environment of its own for each version of LeRobot
	scripts/test_lerobot.sh

# Times on a machine that stalls are not the system's: a row that fails is measured again.
faults: setup ## Break a running system in every way of docs/faults.md
	$(BIN)/python -m pytest test/faults --reruns 2 --session-timeout=1800 $(TEST_ARGS)

lint: setup ## Check style (ruff), format and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: system $(VENV)/.messages ## Make .venv ready; does nothing when it is

system:
	@scripts/system_packages.sh $(PYTHON) $(FOR)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo 'swiftvla_ros needs Python 3.10 to 3.13, and "$(PYTHON)" is $(or $(PYTHON_VERSION),not there): write make PYTHON=python3.11' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q pip==26.3

# The lock is for one Python version and holds what the build needs, too. The others take what pyproject.toml allows.
$(VENV)/.dependencies: $(LOCK) | $(BIN)/python
	@echo 'Installing into $(VENV); the first time takes some minutes'
	$(if $(LOCK),$(BIN)/python -m pip install -q -r $(LOCK))
	@touch $@

$(VENV)/.messages: $(VENV)/.dependencies pyproject.toml setup.py CMakeLists.txt package.xml $(wildcard cmake/*) $(INTERFACES)
	@echo 'Generating and compiling the ROS messages'
	PYTHONWARNINGS='ignore:Editable installation' \
	  $(BIN)/python -m pip install -q $(if $(LOCK),--no-build-isolation) -e '.[torch,openvino,onnxruntime,export,train,sim,so101,view,panel,ros,dev]'
	@touch $@

clean: ## Remove .venv and everything that was built
	rm -rf $(VENV) build install log *.egg-info swiftvla_ros/msg swiftvla_ros/srv swiftvla_ros/action swiftvla_ros/*.so
