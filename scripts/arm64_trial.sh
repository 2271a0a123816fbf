#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What of a Jetson can be tried without one: an arm64 root file system of Debian 12 (Python 3.11) under qemu, with the
# bare dependencies and the extra onnxruntime in it, checks a contract and a recorded motion, runs tests that need
# neither ROS nor torch, and computes one chunk beside this machine's. qemu emulates: nothing here says how fast it is.
# There are no ROS 2 packages for Debian 12 and no ros-* wheels for aarch64: nodes and messages are not tried, and the
# package runs from its sources, since its installation builds the messages.
# As root on x86-64 with Debian's debootstrap, qemu-user-static and g++-aarch64-linux-gnu; takes 20 to 30 minutes.
# usage: scripts/arm64_trial.sh [FOLDER], where a run that was ended goes on
# environment: PYTHON, .venv/bin/python otherwise: a Python 3.11 that has its headers and the extras onnxruntime and dev
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$here/.venv/bin/python}
folder=${1:-$(mktemp -d)/arm64}
root=$folder/root
step() { echo "== $(date +%T) $*"; }
stop() { echo "$*" >&2; exit 2; }

[ "$(id -u)" = 0 ] || stop 'this needs root: it runs debootstrap and chroot'
for command in debootstrap qemu-aarch64-static aarch64-linux-gnu-g++; do
  command -v $command >/dev/null ||
    stop "no $command: apt-get install debootstrap qemu-user-static binfmt-support g++-aarch64-linux-gnu"
done
[ "$("$python" -c 'import sys; print(*sys.version_info[:2])')" = '3 11' ] || stop "PYTHON: 3.11 is needed, Debian 12's"
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
# A name space of its own: what is mounted is gone when the command ends. The processor is the nearest that qemu has to
# an Orin's; ONNX Runtime looks it up in these files, and crashes over those of another kind.
inside() {
  unshare --mount bash -c 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount --rbind /sys "$0/sys" &&
    mount --bind "$0/etc/cpuinfo" "$0/proc/cpuinfo" && exec chroot "$0" "$@"' "$root" env -i QEMU_CPU=cortex-a76 \
    HOME=/root LANG=C.UTF-8 PATH=/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
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
pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", sys.argv[1]]
wheels = ["--only-binary", ":all:", "--python-version", "3.11", *PLATFORMS, "--platform=manylinux_2_36_aarch64"]
subprocess.run([*pip, *wheels, *wanted.values()], check=True)
subprocess.run([*pip, "--no-deps", "--no-binary", ":all:", ruckig], check=True)
PY
}

unpack_root() {
  debootstrap --arch=arm64 --variant=minbase --include=python3,python3-venv,ca-certificates --foreign bookworm "$root" \
    >"$folder/log"
  mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io" # it is thrown away
  for core in $(seq 0 $(($(nproc) - 1))); do
    printf '%s\t: %s\n' processor "$core" \
      Features 'fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp' \
      'CPU implementer' 0x41 'CPU architecture' 8 'CPU variant' 0x4 'CPU part' 0xd0b 'CPU revision' 1
    echo
  done >"$root/etc/cpuinfo"
}

configure_root() { inside /debootstrap/debootstrap --second-stage </dev/null >>"$folder/log"; }

build_ruckig() { # by this machine's compiler for arm64: an emulated one takes an hour
  "$python" -m venv "$folder/build"
  "$folder/build/bin/pip" install -q cmake ninja nanobind
  mkdir -p "$folder/ruckig"
  tar xzf "$folder"/wheels/ruckig-*.tar.gz --strip-components=1 -C "$folder/ruckig"
  (
    export PATH=$folder/build/bin:$PATH
    cmake -G Ninja -S "$folder/ruckig" -B "$folder/ruckig/build" -DCMAKE_BUILD_TYPE=Release \
      -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
      -DBUILD_PYTHON_MODULE=ON -DBUILD_SHARED_LIBS=OFF -DBUILD_EXAMPLES=OFF -DBUILD_TESTS=OFF \
      -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DPython_EXECUTABLE="$folder/build/bin/python" \
      -DPython_INCLUDE_DIR="$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')"
    cmake --build "$folder/ruckig/build" --target python_ruckig
  ) >>"$folder/log"
}

install_packages() {
  mkdir -p "$root/wheels"
  cp "$folder"/wheels/*.whl "$root/wheels"
  inside python3 -m venv /venv
  inside sh -c 'pip install -q --no-index --find-links /wheels --no-compile /wheels/*.whl'
  cp "$folder"/ruckig/build/ruckig*.so "$(echo "$root"/venv/lib/python3*/site-packages)/ruckig.so"
}

once fetch_wheels
once unpack_root
once configure_root
once build_ruckig
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
inside sh -c 'cd /swiftvla && python3 -m pytest -q -p no:cacheprovider --timeout 600 test/contract/checks \
  test/contract/test_contract.py test/contract/test_action_coding.py test/motion/planning test/motion/test_limit_check.py \
  test/motion/test_starts.py test/motion/test_state_machine.py test/episodes/bags/test_bag.py'

step 'one chunk, here and there'
"$python" "$here/scripts/one_chunk.py" "$root/tmp/x86_64.npy"
inside python3 /swiftvla/scripts/one_chunk.py --beside /tmp/x86_64.npy
step 'done'
