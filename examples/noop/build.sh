#!/bin/sh
# Assembles noop.wat to the file named, noop.wasm by default, with wat2wasm of Debian's wabt.
set -eu
cd "$(dirname "$0")"
${WAT2WASM:-wat2wasm} -o "${1:-noop.wasm}" noop.wat
