#!/usr/bin/env bash
# Installs the runtime, builds examples/embed-c against it by find_package, and
# compares what it generates with nju-run.
#
# usage: embed-c-test.sh CMAKE BUILD_DIR SOURCE_DIR MODEL.so NJU_RUN CC
set -euo pipefail
cmake=$1 build=$2 source=$3 model=$4 nju_run=$5 cc=$6

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cmake" --install "$build" --component nju-runtime --prefix "$work/prefix" >"$work/log" ||
  { cat "$work/log"; exit 1; }
"$cmake" -G Ninja -S "$source" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCMAKE_C_COMPILER="$cc" -DNJU_MODEL="$model" >"$work/log" || { cat "$work/log"; exit 1; }
"$cmake" --build "$work/build" >"$work/log" || { cat "$work/log"; exit 1; }

expected=$("$nju_run" generate "$model" --tokens 1,5,9 --max-new-tokens 20 --ignore-eos --print tokens)
actual=$("$work/build/embed-c" "${model%.so}.safetensors" 20 1 5 9)
if [ "$actual" != "$expected" ]; then
  echo "embed-c generated $actual, nju-run $expected"
  exit 1
fi
# The installed program finds the installed library.
"$work/prefix/bin/nju-run" --version >"$work/log"
# Errors of the API arrive.
if "$work/build/embed-c" "$model" 1 1 2>"$work/log"; then
  echo "embed-c took a library for a weight file"
  exit 1
fi
grep -q "embed-c: error: weight file '$model' is damaged" "$work/log"
