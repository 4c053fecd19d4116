#!/bin/sh
# Compiles every .cu file for every target and reads what ptxas says of each kernel:
#     tests/cuda_build.sh BUILD
# TAP. A kernel fails that spills more than 64 bytes, takes more registers than
# kernels/cuda/registers.txt allows it, or whose wgmma the compiler had to put in a row. What
# `make all` has compiled already is not compiled again: its ptxas logs are kept.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
plan=kernels/cuda/registers.txt
spill_max=64

command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || {
    echo "# skipped: no nvcc here"
    exit 0
}
ls kernels/cuda/*.cu >/dev/null 2>&1 || {
    echo "# skipped: no kernels/cuda/*.cu yet"
    exit 0
}

failed=0
check=
[ ! -f kernels/cuda/backend.cu ] || check=$build/cuda/check     # that links as gpu-check's will
for cu in kernels/cuda/*.cu tests/gpu/*.cu; do
    [ -f "$cu" ] || continue
    object=$build/cuda/${cu%.cu}.o
    if make -s B="$build" "$object" >&2; then
        echo "ok - $cu compiles"
    else
        echo "not ok - $cu compiles"
        failed=1
        check=
        continue
    fi
    c++filt <"${object%.o}.ptxas" | awk -v file="$cu" -v spill_max=$spill_max '
        # The plan first: lines of a pattern and a number.
        FNR == NR {
            if ($0 !~ /^#/ && NF >= 2) {
                limit[++rules] = $NF
                sub(/[ \t]+[0-9]+[ \t]*$/, "")
                pattern[rules] = $0
            }
            next
        }
        function allowed(name, i) {
            for (i = 1; i <= rules; i++)
                if (name ~ pattern[i])
                    return limit[i]
            return -1
        }
        /Compiling entry function/ {
            split($0, part, "\047")
            kernel = part[2]
            target = part[4]
            targets[target] = 1
        }
        /bytes spill stores/ {
            for (i = 2; i <= NF; i++)
                if ($i == "spill")
                    spilled = $(i - 2) > spilled ? $(i - 2) : spilled
        }
        # Entry: the function properties come first, then its registers.
        /: Used [0-9]+ registers/ {
            match($0, /Used [0-9]+/)
            used = substr($0, RSTART + 5, RLENGTH - 5) + 0
            kernels[target]++
            most[target] = used > most[target] ? used : most[target]
            if (spilled > spill_max) {
                printf "not ok - %s %s: %s spills %d bytes, more than %d\n", file, target, kernel,
                    spilled, spill_max
                bad = 1
            }
            if (file ~ /^kernels/ && allowed(kernel) < 0) {
                printf "not ok - %s %s: no line of registers.txt is for %s (%d)\n", file, target,
                    kernel, used
                bad = 1
            } else if (file ~ /^kernels/ && used > allowed(kernel)) {
                printf "not ok - %s %s: %s takes %d registers, more than %d\n", file, target,
                    kernel, used, allowed(kernel)
                bad = 1
            }
            spilled = 0
        }
        /C7508|C7510|C7514|wgmma.*serializ/ {
            printf "not ok - %s: %s\n", file, $0
            bad = 1
        }
        END {
            for (t in targets)
                printf "ok - %s %s: %d kernels, %d registers at most\n", file, t, kernels[t], most[t]
            exit bad
        }' "$plan" - || failed=1
done
if [ -n "$check" ]; then
    if make -s B="$build" "$check" >&2 && "$check" --list >&2; then
        echo "ok - gpu-check's program links"
    else
        echo "not ok - gpu-check's program links"
        failed=1
    fi
fi
exit $failed
