# For test scripts: `mpi N COMMAND...` runs N ranks, as any user, on any number of cores, with a time limit.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Open MPI keeps memory until the end, much of it from parts that are unloaded by then and so cannot be told by name:
# under mpirun the address sanitizer looks for everything but leaks. The same code runs without mpirun in other tests.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
mpi() {
    local ranks=$1
    shift
    CM3_TEST_RANKS=$ranks timeout -k 5 250 mpirun --bind-to none -n "$ranks" "$@"
}
