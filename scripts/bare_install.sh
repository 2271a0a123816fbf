#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a robot's machine gets: clones this commit, installs it without extras into a new environment, prints its size,
# and checks a contract and a recorded motion there; then adds the extra ros, and starts executor and camera node.
# The messages are built with pip, so the first install needs a compiler and takes minutes.
# usage: scripts/bare_install.sh [FOLDER], a folder that is not there yet
# environment: PYTHON, python3 otherwise
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$(mktemp -d)/bare}
git clone -q "$here" "$folder"
cd "$folder"
"${PYTHON:-python3}" -m venv .venv
. .venv/bin/activate
size() { echo "$(du -sm "$VIRTUAL_ENV" | cut -f1) MB in the environment, $(pip list --format=freeze 2>/dev/null | wc -l) packages: $1"; }
size 'empty'
pip install -q .
size 'bare'
[ "$(command -v swiftvla)" = "$VIRTUAL_ENV/bin/swiftvla" ] || { echo 'swiftvla is not in the environment' >&2; exit 1; }
cd /  # what is installed, not what lies in the clone
swiftvla check-contract so101
swiftvla check-motion "$folder/test/replay/bags/pick_red"
echo 'a command that needs an extra:'
swiftvla demo || [ $? -eq 2 ]

pip install -q "$folder[ros]"
size 'with ros'
log=$(mktemp)
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
for node in 'trajectory_executor_node' 'camera_node -p camera:=front'; do
  set -- $node
  name=$1
  shift
  timeout --signal=INT 25 "$name" --ros-args -p robot:=so101 "$@" >"$log" 2>&1 && status=0 || status=$?
  # 124: it ran until it was told to end
  if [ $status -eq 124 ] && ! grep -qE 'Traceback|FATAL' "$log"; then
    echo "$name: configured, active, ran until it was ended"
  else
    cat "$log" >&2
    echo "$name: exit status $status" >&2
    exit 1
  fi
done
