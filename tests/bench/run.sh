#!/bin/sh
# Builds and runs the benchmarks: tests/bench/run.sh BUILD [BENCHMARK...], all of them if none is
# named, but recall, which takes long: broker whole_path ledger gateway engine likeness conv_peers marking.
# Figures are ratios within one run; absolute rates move with whatever else the machine does.
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- broker whole_path ledger gateway engine likeness conv_peers marking
targets=
for name in "$@"; do
    [ -f "tests/bench/$name.c" ] || { echo "no benchmark \"$name\"" >&2; exit 2; }
    targets="$targets $build/tests/bench/$name"
done
# shellcheck disable=SC2086 # a list
make -s -j"$(nproc)" B="$build" all $targets
for name in "$@"; do
    SEEDPRESS_BUILD=$build "$build/tests/bench/$name"
done
