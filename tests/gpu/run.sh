#!/bin/sh
# make gpu-check: builds the checks for the GPU of this machine and runs them: tests/gpu/run.sh BUILD
# Needs the CUDA toolkit, a C compiler and make; no package and no network. Every part prints its rows
# as they are made, has its own limit and stops no other. Exit status: 0 everything held; 1 something
# was missed; 2 there is no GPU here; 3 all is right, but slower than the targets.
#
# All of it is kept in BUILD/gpu/log, and with the figures under $OUT where that is a folder: who sees
# no more than the end of the output finds all misses in it. GPU_CHECK_PROGRAM: a check program that
# was built elsewhere (build/gpu/check of such a GPU's target); nothing is built then.
set -u
cd "$(dirname "$0")/../.."
build=${1:-build}

# Seconds; 0: not this time. They sum to less than 10 minutes.
build_s=${GPU_CHECK_BUILD_S:-150}
parts_s=${GPU_CHECK_PARTS_S:-200}
sanitizer_s=${GPU_CHECK_SANITIZER_S:-75}        # three side by side
bench_s=${GPU_CHECK_BENCH_S:-75}
peer_s=${GPU_CHECK_PEER_S:-70}

# Once more, with a log.
if [ -z "${GPU_CHECK_LOG:-}" ]; then
    mkdir -p "$build/gpu"
    GPU_CHECK_LOG=$build/gpu/log
    [ ! -d "${OUT:-}" ] || GPU_CHECK_LOG=$OUT/log
    export GPU_CHECK_LOG
    rm -f "$build/gpu/status"
    { tests/gpu/run.sh "$build"; echo $? >"$build/gpu/status"; } 2>&1 | tee "$GPU_CHECK_LOG"
    # The first misses again, in few words: what shows only the end of the output shows them.
    grep -E '^  MISS' "$GPU_CHECK_LOG" | head -n 25 | cut -c1-160
    exit "$(cat "$build/gpu/status" 2>/dev/null || echo 1)"
fi

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

# Whoever fetches $OUT has what there is so far.
keep() {
    [ ! -d "${OUT:-}" ] || cp "$@" "$OUT"/ 2>/dev/null || true
}

nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null) || {
    say "there is no nvcc here: it takes the CUDA toolkit"
    exit 2
}
targets=$(tests/gpu/targets.sh) || {
    say "no GPU answers here, so nothing was checked; \"make test\" runs the same checks emulated"
    exit 2
}

nvidia-smi --query-gpu=name,driver_version,memory.used,temperature.gpu,power.draw,clocks.sm,clocks.max.sm \
    --format=csv 2>/dev/null || true

# cuBLAS lies with the toolkit; not every loader was told. PyTorch has one of its own.
peers_libraries=${LD_LIBRARY_PATH:-}
LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(dirname "$(dirname "$nvcc")")/lib64
export LD_LIBRARY_PATH

if [ -n "${GPU_CHECK_PROGRAM:-}" ]; then
    check=$GPU_CHECK_PROGRAM
else
    say "building for $targets"
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
fi

# The first to open cuBLAS reads 600 MB from the disk.
limited 60 "$check" --part device </dev/null
[ $? -ne 2 ] || exit 2
if [ "$parts_s" -gt 0 ]; then
    limited $((parts_s + 10)) "$check" --total "$parts_s" </dev/null
    part "kernels, golden networks, invariance" $?
fi

sanitize() {
    echo
    echo "== compute-sanitizer: whole renders at 16 to 32 pixels, its three tools side by side" \
        "(at most $sanitizer_s s)"
    sanitizer=$(command -v compute-sanitizer || ls "$(dirname "$nvcc")/compute-sanitizer" 2>/dev/null) ||
        {
            say "there is no compute-sanitizer here"
            part compute-sanitizer 1
            return
        }
    for tool in memcheck racecheck synccheck; do
        log=$build/gpu/$tool
        rm -f "$log".*
        # Only memcheck looks at cuBLAS's kernels too: its races, if there are any, are not ours.
        own=
        [ $tool = memcheck ] || own=SEEDPRESS_CUDA_NO_BLAS=1
        {
            limited "$sanitizer_s" env $own "$sanitizer" --tool $tool --error-exitcode 9 \
                --print-limit 20 "$check" --scale tiny --part small </dev/null >"$log.log" 2>&1
            echo $? >"$log.status"
        } &
    done
    wait
    for tool in memcheck racecheck synccheck; do
        log=$build/gpu/$tool
        keep "$log.log"
        echo "-- $tool"
        # All of what it says of errors; of the renders that held, the last.
        grep -v '^  ok ' "$log.log" | head -n 60
        grep '^  ok ' "$log.log" | tail -n 1
        part "compute-sanitizer $tool" "$(cat "$log.status")"
    done
    say "racecheck may not see what cp.async, the copy engine and wgmma do to shared memory"
}

bench() {
    echo
    echo "== bench (at most $bench_s s)"
    rm -f "$figures"
    SEEDPRESS_BENCH_OUT=$figures limited "$bench_s" "$check" --part bench </dev/null
    part bench $?
    keep "$figures"
}

peer() {
    echo
    echo "== peer: PyTorch on the same GPU, and the targets (at most $peer_s s)"
    LD_LIBRARY_PATH=$peers_libraries
    limited 60 python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null || {
        say "python3 here has no torch that sees a GPU: no peer"
        return
    }
    limited $((peer_s + 10)) python3 tests/bench/gpu_peer.py --seconds "$peer_s" --ours "$figures" \
        --out "$build/gpu/peer.jsonl" </dev/null
    status=$?
    keep "$build/gpu/peer.jsonl"
    if [ $status -eq 3 ]; then
        slow=1
        summary="$summary
gpu-check: peer: some targets were not reached"
    else
        part peer $status
    fi
}

[ "$sanitizer_s" -eq 0 ] || sanitize
[ "$bench_s" -eq 0 ] || bench
[ "$peer_s" -eq 0 ] || peer

echo "$summary"
say "$(($(date +%s) - began)) s"
[ $missed -eq 0 ] || exit 1
[ $slow -eq 0 ] || exit 3
say "everything held"
