#!/bin/sh
# Builds and runs the benchmarks: tests/bench/run.sh BUILD. Figures are ratios within one run; absolute
# rates move with whatever else the machine does.
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build}
make -s -j"$(nproc)" B="$build" all "$build/tests/bench/whole_path" "$build/tests/bench/engine" \
    "$build/tests/bench/conv_peers"
SEEDPRESS_BUILD=$build "$build/tests/bench/whole_path"
"$build/tests/bench/engine"
"$build/tests/bench/conv_peers"
