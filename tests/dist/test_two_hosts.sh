#!/bin/bash
# The same tests with two ranks on each of two hosts, over TCP between them.
set -u
build=$1
here=$(dirname "$0")
. "$here/../mpi.sh"
export CM3_TEST_RANKS=4 CM3_TEST_RANKS_PER_HOST=2
for program in comm groups; do
    timeout -k 5 150 bash "$here/../two_hosts.sh" 2 "$build/test_dist_$program" || exit
done
