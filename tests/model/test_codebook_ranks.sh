#!/bin/bash
# The codebook of several ranks holds the same bits as that of one.
set -eu
build=$1
. "$(dirname "$0")/../mpi.sh"
for ranks in 2 4; do
    mpi $ranks "$build/test_model_vqgan_codebook" ranks
done
