#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What this machine's arms and cameras say of themselves, as tables to send to somebody. Five minutes; nothing moves, and
# nothing is written into a servo.
#
#   scripts/first_hardware_check.sh [CONTRACT]      a YAML file, or the name of a shipped contract; so101 if left out
set -u
robot=${1:-so101}
out=first_hardware_check.txt
if [ -x .venv/bin/swiftvla ]; then swiftvla=.venv/bin/swiftvla; else swiftvla=swiftvla; fi

step() {
  echo
  echo "== $1"
  shift
  timeout 120 "$@" 2>&1 </dev/null || echo "(exit code $?)"
}

{
  echo "first hardware check, $(date --iso-8601=seconds), $(uname -srm), contract $robot"
  step "serial ports and the servos on them" "$swiftvla" calibrate --ports
  step "the arm: servos, read rate, checksums, calibration" "$swiftvla" calibrate --robot "$robot" --report
  step "the leader: the same (skip it if there is none)" "$swiftvla" calibrate --robot "$robot" --leader --report
  step "cameras and their modes" "$swiftvla" cameras
  step "the cameras of the contract, read all at once for 10 s" "$swiftvla" cameras --robot "$robot" --try 10
  step "may this user use ports and cameras" id -Gn
  step "USB devices" sh -c 'command -v lsusb >/dev/null && lsusb || echo "lsusb is not installed"'
} | tee "$out"
echo
echo "All of this is in $out: send that file."
echo "Then, with a hand on the limp arm: $swiftvla calibrate --robot $robot --check"
