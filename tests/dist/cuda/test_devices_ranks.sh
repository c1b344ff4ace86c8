#!/bin/bash
# Collectives of devices, which the host plays, with 2, 3 and 4 ranks that have one each; and ranks that share one.
set -eu
build=$1
. "$(dirname "$0")/../../mpi.sh"
export CM3_CUDA_LIBRARY=$build/libcm3_simt.so
mpi 2 "$build/test_dist_cuda_devices"
export CM3_TEST_OWN_DEVICES=1 CM3_SIMT_DEVICES=own
for ranks in 2 3 4; do
    mpi $ranks "$build/test_dist_cuda_devices"
done
