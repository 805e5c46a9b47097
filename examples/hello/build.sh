#!/bin/sh
# Compiles hello.c to the file named, hello.wasm by default, with Debian 12's clang 14 and wasi-libc.
set -eu
cd "$(dirname "$0")"
${CLANG:-clang} --target=wasm32-wasi -std=c11 -O2 -Wall -Wextra -Werror \
  -Wl,--strip-all -o "${1:-hello.wasm}" hello.c
