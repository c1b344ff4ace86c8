#!/bin/bash
# The library of GPUs can be opened where CUDA's libraries are, a GPU or none: training without a GPU ends in one clear
# line. Only where the library was built. Labels: cuda
set -e
recipe=$(dirname "$0")/../functional/tiny.yaml
[ ! -e /dev/nvidiactl ] || exit 0
status=0
message=$(CM3_CUDA_LIBRARY=$1/libcm3_cuda.so "$1/cm3leon" image-tokenizer "$recipe" device=cuda out="$(mktemp -d)" 2>&1) ||
  status=$?
[ "$status" = 1 ] && grep -q "no GPU can be used" <<< "$message" || { echo "status $status, message: $message"; exit 1; }
