#!/bin/bash
# Written by 4 ranks, read and written again by 1, 2 and 3: equal bits of parameters and optimizer, and model.h5 stays one whole for
# any HDF5 program. A fault of one rank is the fault of all.
set -eu
program=$1/test_train_checkpoint
. "$(dirname "$0")/../mpi.sh"
run=$(mktemp -d "$1/ranks-XXXXXX")
trap 'rm -rf "$run"' EXIT
mpi 4 "$program" save "$run" 5
"$program" digest "$run" > "$run/four"
for ranks in 1 2 3 4; do
    mpi $ranks "$program" load "$run" 5
    mpi $ranks "$program" save "$run" 5
    "$program" digest "$run" > "$run/again"
    cmp "$run/four" "$run/again"
    (cd / && mpi 1 "$program" load "$run" 5) # views are found from any folder
done
mpi 3 "$program" sizes "$run/sizes" # two of the small group's pieces are empty
mpi 3 "$program" fault "$run/fault"
