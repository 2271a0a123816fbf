#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian packages that pip cannot bring: software OpenGL for the simulated cameras, what a bare Python lacks, and for
# tests the browser that opens the operator's page.
# Installs them through apt where it may, else prints the one line to run and goes on.
# usage: scripts/system_packages.sh PYTHON [tests]
set -euo pipefail
python=$1

has_library() { ldconfig -p 2>/dev/null | grep -q "$1"; }

packages=()
# MuJoCo renders through EGL or OSMesa; either one will do.
if ! { has_library 'libEGL\.so\.1' && has_library 'libEGL_mesa\.so' && has_library 'libGL\.so\.1'; } &&
  ! has_library 'libOSMesa\.so'; then
  packages+=(libegl1 libegl-mesa0 libgl1-mesa-dri libgl1 libopengl0)
fi
if command -v "$python" >/dev/null; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
  headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -e "$headers/Python.h" ] || packages+=(python3-dev)
fi
command -v c++ >/dev/null || packages+=(g++)
# Ubuntu's package of that name is none but a hint to a snap; there its test is skipped.
if [ "${2:-}" = tests ] && ! command -v chromium >/dev/null && grep -qs '^ID=debian' /etc/os-release; then
  packages+=(chromium)
fi
[ ${#packages[@]} -gt 0 ] || exit 0

line="apt-get install -y --no-install-recommends ${packages[*]}"
if ! command -v apt-get >/dev/null; then
  echo "These Debian packages, or what your system calls them, are missing: ${packages[*]}" >&2
elif [ "$(id -u)" = 0 ]; then
  echo "Installing ${packages[*]}"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive $line -qq ||
    echo "That failed; install them by hand: $line" >&2
elif sudo -n true 2>/dev/null; then
  echo "Installing ${packages[*]}"
  sudo -n apt-get update -qq && sudo -n DEBIAN_FRONTEND=noninteractive $line -qq ||
    echo "That failed; install them by hand: sudo $line" >&2
else
  echo "Some system packages are missing. Run this line, then make again:  sudo $line" >&2
fi
