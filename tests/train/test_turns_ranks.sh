#!/bin/bash
# Two networks with two optimizers on 2 ranks: a run that was stopped ends with the bits of one that was not.
set -eu
program=$1/test_train_turns
. "$(dirname "$0")/../mpi.sh"
run=$(mktemp -d "$1/turns-XXXXXX")
trap 'rm -rf "$run"' EXIT
mkdir "$run/straight" "$run/stopped"
mpi 2 "$program" "$run/straight" 11 > "$run/expected"
mpi 2 "$program" "$run/stopped" 5 > /dev/null
mpi 2 "$program" "$run/stopped" 11 > "$run/found"
cmp "$run/expected" "$run/found"
