#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/test_lerobot.sh [VERSION…]: the tests of integrations/lerobot_* with each version of LeRobot, each in an
# environment of its own, .venv-lerobot-VERSION, which is made once (some GB: torch). PYTEST_ARGS are pytest's.
# PYTHON names the Python for all of them; else one is looked for that the version takes. SWIFTVLA_SYSTEM names the
# `swiftvla` that starts the simulated system which LeRobot drives; without it .venv's, without that no such test.
set -euo pipefail
cd "$(dirname "$0")/.."
policy=integrations/lerobot_policy_swiftvla
robot=integrations/lerobot_robot_swiftvla
[[ ! -x .venv/bin/swiftvla ]] || export SWIFTVLA_SYSTEM=${SWIFTVLA_SYSTEM:-$PWD/.venv/bin/swiftvla}
export PIP_DISABLE_PIP_VERSION_CHECK=1 SWIFTVLA_WITHOUT_ROS=1

find_python() { # VERSION…: the first that runs, also one that only pyenv knows
  for version in "$@"; do
    for name in "${PYTHON:-}" "python$version"; do
      path=$(PYENV_VERSION=$version "${name:-false}" -c "import sys; assert sys.version.startswith('$version.'); \
print(sys.executable)" 2>/dev/null) && echo "$path" && return
    done
  done
  return 1
}

versions=("$@")
[[ $# -gt 0 ]] || versions=(0.4.4 0.6.1)
worst=0
for version in "${versions[@]}"; do
  case $version in
  0.4.*) needed=(3.11 3.10) lerobot="lerobot[peft]==$version" ;;
  *) needed=(3.12 3.13) lerobot="lerobot[diffusion,evaluation,peft,training]==$version" ;;
  esac
  venv=.venv-lerobot-$version
  # Made anew where what it is made of has changed.
  if [[ ! -e $venv/.ready || $(find "$policy" "$robot" . -maxdepth 1 -name pyproject.toml -newer "$venv/.ready") ||
    scripts/test_lerobot.sh -nt $venv/.ready ]]; then
    python=$(find_python "${needed[@]}") || {
      echo "lerobot $version needs Python ${needed[*]}, and none is here; name one with PYTHON=…" >&2
      worst=1
      continue
    }
    echo "lerobot $version: installing into $venv; the first time takes some minutes"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install -q --upgrade pip setuptools
    "$venv/bin/python" -m pip install -q "$lerobot"
    "$venv/bin/python" -m pip install -q --no-build-isolation -e . -e "$policy[test]" -e "$robot[test]"
    touch "$venv/.ready"
  fi
  echo "lerobot $version, $("$venv/bin/python" -V)"
  for plugin in "$policy" "$robot"; do
    OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -c "$plugin/pyproject.toml" "$plugin/tests" ${PYTEST_ARGS:-} || worst=1
  done
done
exit "$worst"
