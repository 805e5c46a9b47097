#!/bin/sh
# Builds every checked-in .wasm anew and compares. Exit 0: all the same, or their compiler is not here
# (said in a message). Exit 1: a .wasm does not belong to its source; run that folder's build.sh.
set -eu
cd "$(dirname "$0")"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
status=0

has_clang() {
  "${CLANG:-clang}" --version 2>/dev/null | grep -q 'clang version 14\.0\.6' &&
    printf 'int main(void){return 0;}' |
    "${CLANG:-clang}" --target=wasm32-wasi -x c -o "$fresh/probe.wasm" - 2>/dev/null
}

compare() { # folder/name
  "${1%/*}/build.sh" "$fresh/${1##*/}"
  if cmp -s "$1" "$fresh/${1##*/}"; then
    echo "same: $1"
  else
    echo "DIFFERS: $1 is not what its source compiles to; run examples/${1%/*}/build.sh" >&2
    status=1
  fi
}

if has_clang; then
  compare smith-waterman/sw.wasm
  compare hello/hello.wasm
else
  echo "not rebuilt: sw.wasm, hello.wasm (needs clang 14.0.6, lld, wasi-libc, libclang-rt-14-dev-wasm32)"
fi
if command -v "${WAT2WASM:-wat2wasm}" >/dev/null; then
  compare noop/noop.wasm
else
  echo "not rebuilt: noop.wasm (needs wat2wasm of wabt)"
fi
exit $status
