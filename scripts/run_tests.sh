#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/run_tests.sh PYTHON [ARGUMENT…]: all tests, with pytest's ARGUMENTs.
# Tests of live nodes mostly wait: those of single nodes and those of whole systems run in a process each, and the others
# beside them in two more, with what the nodes leave: at the lowest priority, and with one thread, since threads that
# wait for one another suffer most from sharing a core; where a test asks for several, none spins while it waits.
set -uo pipefail
# Where bytecode is not written, as images of containers have it, each node's process compiles the package anew.
unset PYTHONDONTWRITEBYTECODE

python=$1
shift
logs=$(mktemp -d)
declare -A processes

# The tests of a part. Where a signal kills their process, as ROS' own libraries have done, another one goes on from that
# file, once; and files with live nodes that failed are run once more, with nodes and a process of their own: a machine
# that stood still spoils what a file's tests share, and then all of them fail, however often each is run again.
run() {
  local part=$1 status
  shift
  for _ in once again; do
    # In one word: pytest takes a word that is a file, as this one is the second time, for what is to be tested.
    "$python" -m pytest --part "$part" "--progress=$logs/$part.progress" "$@" &
    trap "kill $! 2>/dev/null; exit 143" TERM
    wait $!
    status=$?
    if ((status > 128)); then
      echo "$part: signal $((status - 128)) killed the process of the tests: $(tail -n 1 "$logs/$part.progress")"
    elif [[ $part == systems || $part == nodes ]] && ((status == 1 || status == 3)); then
      echo "$part: files that did not pass are run once more"
    else
      break
    fi
  done
  return $status
}

for part in computing others; do
  (
    renice -n 19 -p $BASHPID >/dev/null
    export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
    run "$part" -m "not ros" "$@"
  ) >"$logs/$part" 2>&1 &
  processes[$part]=$!
done
run systems -m ros "$@" >"$logs/systems" 2>&1 &
processes[systems]=$!
run nodes -m ros "$@" &
processes[nodes]=$!
trap 'kill "${processes[@]}" 2>/dev/null; rm -rf "$logs"' EXIT

wait "${processes[nodes]}"
worst=$?
for part in systems computing others; do
  wait "${processes[$part]}"
  status=$?
  cat "$logs/$part"
  # 5: nothing was selected, which is no failure where another part has something.
  [[ $worst -eq 5 || ($status -ne 5 && $status -gt $worst) ]] && worst=$status
done
exit $worst
