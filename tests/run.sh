#!/bin/sh
# Builds and runs every test that needs no GPU: tests/run.sh BUILD. Units and flows run twice, as
# built and with the address and undefined-behaviour sanitizers; fuzzers replay their corpus.
# The last line is "N passed, N failed"; the exit status is 0 when nothing failed.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
san=$build/san
jobs=$(nproc)
log=$build/test
flags="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"

mkdir -p "$log"
rm -f "$log"/*
unset SEEDPRESS_BROKER SEEDPRESS_LEDGER 2>/dev/null || true

# The oldest and the newest: those between differ in what ptxas chooses only, and take minutes.
CUDA_TARGETS="-gencode arch=compute_80,code=[sm_80,compute_80] -gencode arch=compute_90a,code=sm_90a"
export CUDA_TARGETS
cuda=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null) || cuda=

echo "building"
make -s -j"$jobs" B="$build" all tests
echo "building with sanitizers"
make -s -j"$jobs" B="$san" CFLAGS="$flags" LDFLAGS="-fsanitize=address,undefined" NVCC= all tests

export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
export MSGPACK_PURE=

# One program, its TAP lines into a file of its own: one.sh BUILD PROGRAM LOG [ARGUMENT...]
cat >"$log/one.sh" <<'END'
#!/bin/sh
build=$1 program=$2 log=$3
shift 3
name=$(echo "$program" "$@" | tr '/ ' '__')
out=$log/$name.tap
SEEDPRESS_BUILD=$build timeout 600 "$program" "$@" >"$out" 2>"$out.err" </dev/null
status=$?
passed=$(grep -c '^ok ' "$out")
skipped=$(grep -c '^not ok [0-9]* # SKIP' "$out")
failed=$(($(grep -c '^not ok ' "$out") - skipped))
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
[ "$passed" -gt 0 ] || [ "$failed" -gt 0 ] || failed=1      # ran nothing: no success
echo "$passed $failed $skipped" >"$out.sum"
if [ "$failed" -gt 0 ]; then
    echo "FAILED $program $* (status $status)"
    grep -A6 '^not ok ' "$out" | grep -v '^ok ' | head -n 40
    tail -n 40 "$out.err"
else
    echo "passed $program $* ($passed)"
fi
END
chmod +x "$log/one.sh"

# What takes longest first.
list() {
    [ -z "$cuda" ] || echo "$build tests/cuda_build.sh $log $build"
    echo "$build tests/client_node.sh $log $build"
    # The GPU's kernels on the emulator, part by part; with sanitizers the smallest cases. "small"
    # is for a device's own sanitizer: here "network" and "golden" do the same and more.
    for b in "$build" "$san"; do
        "$b/emulated/check" --list |
            while read -r part rest; do
                [ "$b $part" = "$san small" ] || echo "$b $b/emulated/check $log --tap $part"
            done
        echo "$b $b/emulated/check_emulator $log"
    done
    echo "$build tests/browser/run.sh $log"
    echo "$build client/python/tests/run.sh $log"
    for b in "$build" "$san"; do
        for t in tests/flow_*.c tests/test_*.c; do
            echo "$b $b/${t%.c} $log"
        done
    done
    for t in tests/fuzz_*.c; do
        name=$(basename "$t" .c)
        echo "$san $san/${t%.c} $log tests/corpus/${name#fuzz_}"
    done
}
list | xargs -P "$((jobs + 1))" -L 1 "$log/one.sh"

if tests/check_layers.sh >"$log/layers"; then
    echo "1 0" >"$log/layers.sum"
else
    cat "$log/layers"
    echo "0 1" >"$log/layers.sum"
fi
cat "$log"/*.sum | awk '{ p += $1; f += $2; s += $3 }
    END { printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : ""; exit f > 0 }'
