#!/bin/sh
# Says to nvcc which machine code the GPU of this machine wants; fails where no GPU answers. A
# capability of 9.0 is sm_90a: the plain sm_90 has no wgmma. What is newer than all of the backend's
# targets runs the PTX, as it would in use.
set -eu
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ')
# A driver that does not work is told of on the standard output.
case $capability in
'' | *[!0-9]*)
    nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
    capability=$("$(dirname "$nvcc")/__nvcc_device_query" 2>/dev/null | cut -d , -f 1) || true
    ;;
esac
case $capability in
90) echo "-gencode arch=compute_90a,code=sm_90a" ;;
80 | 86 | 89) echo "-gencode arch=compute_$capability,code=sm_$capability" ;;
[1-9][0-9]*) echo "-gencode arch=compute_80,code=compute_80" ;;
*) exit 1 ;;
esac
