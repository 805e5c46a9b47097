#!/bin/sh
# Compiles sw.c to the file named, sw.wasm by default. The same compiler gives the same bytes:
# Debian 12's clang 14, lld, wasi-libc and libclang-rt-14-dev-wasm32.
set -eu
cd "$(dirname "$0")"
${CLANG:-clang} --target=wasm32-wasi -std=c11 -O3 -msimd128 -Wall -Wextra -Werror \
  -Wl,--strip-all -o "${1:-sw.wasm}" sw.c -lm
