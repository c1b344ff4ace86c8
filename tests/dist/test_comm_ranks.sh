#!/bin/bash
# Communicators under mpirun with 1, 2, 3 and 4 ranks; a killed rank ends the job.
set -eu
build=$1
. "$(dirname "$0")/../mpi.sh"
for ranks in 1 2 3 4; do
    mpi $ranks "$build/test_dist_comm"
    mpi $ranks "$build/test_dist_groups"
done
if CM3_TEST_KILL=1 mpi 2 "$build/test_dist_comm" > killed.log 2>&1; then
    echo "a job whose rank was killed ended as if all were well"
    exit 1
fi
