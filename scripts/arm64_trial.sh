#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What of a Jetson can be tried without one: an arm64 root file system of Debian 12 (Python 3.11) under qemu, with the
# bare dependencies and the extra onnxruntime in it, checks a contract and a recorded motion, runs tests that need
# neither ROS nor torch, and computes one chunk beside this machine's. qemu emulates: nothing here says how fast it is.
# There are no ROS 2 packages for Debian 12 and no ros-* wheels for aarch64: nodes and messages are not tried, and the
# package runs from its sources, since its installation builds the messages.
# As root on x86-64 with Debian's debootstrap and qemu-user-static; takes 15 to 25 minutes.
# usage: scripts/arm64_trial.sh [FOLDER], where a run that was ended goes on
# environment: PYTHON, .venv/bin/python otherwise: an installation with the extras onnxruntime and dev
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$here/.venv/bin/python}
folder=${1:-$(mktemp -d)/arm64}
root=$folder/root
step() { echo "== $(date +%T) $*"; }
stop() { echo "$*" >&2; exit 2; }

[ "$(id -u)" = 0 ] || stop 'this needs root: it runs debootstrap and chroot'
for command in debootstrap qemu-aarch64-static; do
  command -v $command >/dev/null || stop "no $command: apt-get install debootstrap qemu-user-static binfmt-support"
done
mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
  stop 'this kernel or container does not permit binfmt_misc: run it on a machine of your own'
grep -qs enabled /proc/sys/fs/binfmt_misc/qemu-aarch64 || update-binfmts --enable qemu-aarch64 ||
  stop 'arm64 programs are not handed to qemu: update-binfmts --enable qemu-aarch64'
mkdir -p "$folder/wheels"
# A step that an earlier run in this folder has finished is not done again.
once() {
  if [ ! -e "$folder/$1.done" ]; then
    step "$1"
    "$1"
    touch "$folder/$1.done"
  fi
}
# A name space of its own: what is mounted is gone when the command ends.
inside() {
  unshare --mount bash -c 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"' \
    "$root" env -i HOME=/root LANG=C.UTF-8 PATH=/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

fetch_wheels() { # by this machine's pip, for the other
  (cd "$here" && "$python" - "$folder/wheels") <<'PY'
import subprocess
import sys

sys.path.insert(0, "scripts")
from aarch64_wheels import PLATFORMS
from ask_pip import declared

requirements = declared("3.11", ["onnxruntime"])
requirements += [r for r in declared("3.11", ["dev"]) if r.name.startswith(("hypothesis", "mcap", "pytest"))]
wanted = {r.name: f"{r.name}{r.specifier}" for r in requirements}
ruckig = wanted.pop("ruckig")
builders = ["scikit-build-core", "nanobind", "cmake", "ninja"]
pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", sys.argv[1]]
wheels = ["--only-binary", ":all:", "--python-version", "3.11", *PLATFORMS, "--platform=manylinux_2_36_aarch64"]
subprocess.run([*pip, *wheels, *wanted.values(), *builders], check=True)
subprocess.run([*pip, "--no-deps", "--no-binary", ":all:", ruckig], check=True)
PY
}

unpack_root() {
  debootstrap --arch=arm64 --variant=minbase --include=python3,python3-venv,ca-certificates --foreign bookworm "$root" \
    >"$folder/log"
  mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io" # it is thrown away, and emulated disks wait long
}

configure_root() { inside /debootstrap/debootstrap --second-stage >>"$folder/log"; }

install_compiler() { # of this machine's own kind, making arm64 code: what compiles is not emulated
  inside dpkg --add-architecture amd64
  inside apt-get update -qq
  inside apt-get install -y -qq --no-install-recommends python3-dev g++-aarch64-linux-gnu:amd64 >>"$folder/log"
}

install_packages() {
  mkdir -p "$root/wheels"
  cp "$folder"/wheels/* "$root/wheels"
  inside python3 -m venv /venv
  inside env CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ sh -c 'cd /wheels && pip install -q --no-index \
    --find-links . $(ls *.whl | grep -vE "^(pip|cmake|ninja|nanobind|scikit_build)") ruckig'
}

once fetch_wheels
once unpack_root
once configure_root
once install_compiler
once install_packages
rm -rf "$root/swiftvla"
mkdir "$root/swiftvla"
git -C "$here" archive HEAD | tar -x -C "$root/swiftvla"
echo /swiftvla >"$(echo "$root"/venv/lib/python3*/site-packages)/swiftvla_ros.pth"
echo "$(inside uname -m): $(du -sm "$root/venv" | cut -f1) MB in the environment"
swiftvla() { inside python3 -m swiftvla_ros.cli.main "$@"; }

step 'commands'
swiftvla check-contract so101_sim
swiftvla check-motion /swiftvla/test/replay/bags/pick_red

step 'tests of contract, motion and bags'
inside sh -c 'cd /swiftvla && python3 -m pytest -q -p no:cacheprovider test/contract \
  test/motion/planning test/motion/test_limit_check.py test/motion/test_starts.py test/motion/test_state_machine.py \
  test/episodes/bags'

step 'one chunk, here and there'
"$python" "$here/scripts/one_chunk.py" "$root/tmp/x86_64.npy"
inside python3 /swiftvla/scripts/one_chunk.py --beside /tmp/x86_64.npy
step 'done'
