#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/run_tests.sh PYTHON [ARGUMENT…]: all tests, with pytest's ARGUMENTs.
# Tests of live nodes mostly wait. The others run beside them, with what the nodes leave: at the lowest priority, and
# with one thread, since threads that wait for one another suffer most from sharing a core; where a test asks for
# several, none spins while it waits.
set -uo pipefail

python=$1
shift
log=$(mktemp)
OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive nice -n 19 "$python" -m pytest -m "not ros" "$@" >"$log" 2>&1 &
others=$!
trap 'kill "$others" 2>/dev/null; rm -f "$log"' EXIT

"$python" -m pytest --live -m ros "$@"
live=$?
wait "$others"
rest=$?
cat "$log"
# 5: nothing was selected, which is no failure of the other half.
[[ $live -eq 5 ]] && live=$rest
[[ $rest -eq 5 ]] && rest=$live
exit $((live > rest ? live : rest))
