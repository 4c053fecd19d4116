#!/bin/sh
# make gpu-check: builds the checks for the GPU of this machine and runs them: tests/gpu/run.sh BUILD
# Needs the CUDA toolkit, a C compiler and make; no package and no network. Every part prints its rows
# as they are made, has its own limit and stops no other. Exit status: 0 everything held; 1 something
# was missed; 2 there is no GPU here; 3 all is right, but slower than the targets.
set -u
cd "$(dirname "$0")/../.."
build=${1:-build}

# Seconds. They sum to less than 8 minutes.
build_s=${GPU_CHECK_BUILD_S:-100}
parts_s=${GPU_CHECK_PARTS_S:-150}
sanitizer_s=${GPU_CHECK_SANITIZER_S:-75}        # three side by side
bench_s=${GPU_CHECK_BENCH_S:-60}
peer_s=${GPU_CHECK_PEER_S:-70}

missed=0
slow=0
summary=
began=$(date +%s)
check=$build/gpu/check
figures=$build/gpu/bench.jsonl

say() {
    echo "gpu-check: $*"
}

# part NAME STATUS: a line for the end; any status but 0 is a miss.
part() {
    if [ "$2" -eq 0 ]; then
        verdict=held
    elif [ "$2" -eq 124 ] || [ "$2" -eq 137 ]; then
        verdict="MISSED: stopped at its limit"
        missed=1
    else
        verdict="MISSED (status $2)"
        missed=1
    fi
    summary="$summary
gpu-check: $1: $verdict"
}

limited() {
    seconds=$1
    shift
    timeout -k 5 "$seconds" "$@"
}

nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null) || {
    say "there is no nvcc here: it takes the CUDA toolkit"
    exit 2
}
targets=$(tests/gpu/targets.sh) || {
    say "no GPU answers here, so nothing was checked; \"make test\" runs the same checks emulated"
    exit 2
}

say "building for $targets"
mkdir -p "$build/gpu"
limited "$build_s" make -s -k -j"$(nproc)" B="$build" NVCC="$nvcc" GPU_TARGETS="$targets" \
    "$check" </dev/null
status=$?
part build $status
say "built in $(($(date +%s) - began)) s"
if [ $status -ne 0 ]; then
    echo "$summary"
    say "nothing could be run"
    exit 1
fi

limited 10 "$check" --part device </dev/null
[ $? -ne 2 ] || exit 2
limited $((parts_s + 10)) "$check" --total "$parts_s" </dev/null
part "kernels, golden networks, invariance" $?

sanitizer=$(command -v compute-sanitizer || ls "$(dirname "$nvcc")/compute-sanitizer" 2>/dev/null) || true
echo
echo "== compute-sanitizer: whole renders at 16 to 32 pixels, its three tools side by side" \
    "(at most $sanitizer_s s)"
for tool in memcheck racecheck synccheck; do
    log=$build/gpu/$tool
    rm -f "$log".*
    [ -z "$sanitizer" ] || {
        limited "$sanitizer_s" "$sanitizer" --tool $tool --error-exitcode 9 --print-limit 20 \
            "$check" --scale tiny --part small </dev/null >"$log.log" 2>&1
        echo $? >"$log.status"
    } &
done
wait
for tool in memcheck racecheck synccheck; do
    log=$build/gpu/$tool
    if [ -z "$sanitizer" ]; then
        say "there is no compute-sanitizer here"
        part "compute-sanitizer $tool" 1
        continue
    fi
    echo "-- $tool"
    # All of what it says of errors; of the renders that held, the last.
    grep -v '^  ok ' "$log.log" | head -n 60
    grep '^  ok ' "$log.log" | tail -n 1
    part "compute-sanitizer $tool" "$(cat "$log.status")"
done
say "racecheck may not see what the copy engine and wgmma do to shared memory"

echo
echo "== bench (at most $bench_s s)"
rm -f "$figures"
SEEDPRESS_BENCH_OUT=$figures limited "$bench_s" "$check" --part bench </dev/null
part bench $?

echo
echo "== peer: PyTorch on the same GPU, and the targets (at most $peer_s s)"
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    limited $((peer_s + 10)) python3 tests/bench/gpu_peer.py --seconds "$peer_s" --ours "$figures" \
        --out "$build/gpu/peer.jsonl" </dev/null
    status=$?
    if [ $status -eq 3 ]; then
        slow=1
        summary="$summary
gpu-check: peer: some targets were not reached"
    else
        part peer $status
    fi
else
    say "python3 here has no torch that sees a GPU: no peer"
fi

echo "$summary"
say "$(($(date +%s) - began)) s"
[ $missed -eq 0 ] || exit 1
[ $slow -eq 0 ] || exit 3
say "everything held"
