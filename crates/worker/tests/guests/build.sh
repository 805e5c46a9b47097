#!/bin/sh
# Builds the guests of the tests: ./build.sh TARGET_FOLDER
# Needs Debian's clang, lld, wasi-libc and libclang-rt-14-dev-wasm32.
set -eu
cd "$(dirname "$0")"
for source in *.c; do
  clang --target=wasm32-wasi -O2 -s -o "$1/${source%.c}.wasm" "$source" -lm
done
