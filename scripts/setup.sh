#!/usr/bin/env bash
# Installs what NJU needs: system packages and the Python environment of the
# tests (.venv). Safe to run again: it installs only what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<EOF
usage: scripts/setup.sh [--check | --help]

Installs the system packages and the Python test environment (.venv) that NJU
needs. Uses sudo for system packages only, and only if some are missing.

  --check   say what is missing and change nothing (exit code 1 if anything is)
EOF
}

check_only=0
case "${1:-}" in
  --check) check_only=1 ;;
  --help|-h) usage; exit 0 ;;
  "") ;;
  *) echo "setup: error: unknown option '$1', expected --check or --help" >&2; exit 1 ;;
esac

say() { echo "setup: $*"; }
fail() { echo "setup: error: $*" >&2; exit 1; }

# One line for each need: what it is for, then the packages of each family.
debian_packages=(
  cmake ninja-build pkg-config git ca-certificates
  clang-22 lld-22 llvm-22-dev libmlir-22-dev mlir-22-tools libomp-22-dev
  libclang-rt-22-dev clang-format-22 clang-tidy-22
  protobuf-compiler libprotobuf-dev
  libsentencepiece-dev libpcre2-dev libicu-dev nlohmann-json3-dev libcli11-dev
  libdlpack-dev libgtest-dev zlib1g-dev libzstd-dev libcurl4-openssl-dev libxml2-dev
  python3 python3-venv
)

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else fail "'$*' needs root, and there is no sudo: run it as root, then run this again"
  fi
}

missing_debian() {
  local package
  for package in "${debian_packages[@]}"; do
    dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || echo "$package"
  done
}

install_debian() {
  local missing
  mapfile -t missing < <(missing_debian)
  if [ ${#missing[@]} = 0 ]; then
    say "every system package is there"
    return
  fi
  say "missing system packages: ${missing[*]}"
  [ $check_only = 0 ] || { incomplete=1; return 0; }
  as_root apt-get update -q >/dev/null || fail "apt-get update failed: is there a network?"
  if ! apt-cache show libmlir-22-dev >/dev/null 2>&1; then
    fail "this system's apt sources have no libmlir-22-dev: add LLVM's apt repository as docs/install.md tells, then run this again"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get install failed: see its message above"
  say "installed ${#missing[@]} system packages"
}

# A system that is not Debian or Ubuntu: name what is missing.
name_missing() {
  local missing=() need name found
  # Any of a line will do.
  while read -r need; do
    found=0
    for name in $need; do
      if command -v "$name" >/dev/null; then found=1; fi
    done
    [ $found = 1 ] || missing+=("${need%% *}")
  done <<EOF
cmake
ninja ninja-build
pkg-config
git
clang++-22 clang++
ld.lld-22 ld.lld
mlir-opt-22 mlir-opt /usr/lib64/llvm22/bin/mlir-opt
protoc
python3
EOF
  for need in sentencepiece_processor.h pcre2.h unicode/unistr.h nlohmann/json.hpp CLI/CLI.hpp dlpack/dlpack.h gtest/gtest.h; do
    [ -e "/usr/include/$need" ] || [ -e "/usr/local/include/$need" ] || missing+=("$need")
  done
  [ ${#missing[@]} = 0 ] && return 0
  echo "setup: error: this system ($1) is not Debian or Ubuntu; install what is missing by hand (docs/install.md), then run this again:" >&2
  printf '  %s\n' "${missing[@]}" >&2
  exit 1
}

install_python() {
  local stamp=.venv/.requirements requirements=scripts/requirements-test.txt
  if [ -x .venv/bin/python ] && cmp -s "$requirements" "$stamp"; then
    say "the Python environment .venv is up to date"
    return
  fi
  say "the Python environment .venv lacks $(grep -c "^[a-z]" "$requirements") packages of $requirements"
  [ $check_only = 0 ] || { incomplete=1; return 0; }
  local python=/usr/bin/python3
  [ -x $python ] || python=python3
  [ -x .venv/bin/python ] || $python -m venv .venv || fail "cannot make .venv: install python3-venv"
  .venv/bin/python -m pip install -q --disable-pip-version-check -r "$requirements" ||
    fail "pip could not install $requirements"
  cp "$requirements" "$stamp"
  say "made the Python environment .venv"
}

incomplete=0
system=unknown
[ -r /etc/os-release ] && system=$(. /etc/os-release; echo "${ID:-unknown} ${ID_LIKE:-}")
case " $system " in
  *" debian "*|*" ubuntu "*) install_debian ;;
  *) name_missing "$system" ;;
esac
install_python
[ $incomplete = 0 ] || exit 1
