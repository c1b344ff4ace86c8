#!/bin/bash
# Every test on a fresh Debian 12, as root or with sudo: installs what is missing, then three builds beside the sources:
#   build-test/  as released: all tests
#   build-asan/  address and undefined-behaviour sanitizers: all tests but those labelled slow
#   build-tsan/  thread sanitizer: tests of our own threads. It sees POSIX threads only: gcc's OpenMP is not instrumented,
#                and would be blamed for races that its barriers exclude. So there OpenMP runs with one thread.
# Says little, and ends with the summary of the last ctest; the first failure ends it.
set -eu
cd "$(dirname "$0")/.."
tools/install-packages.sh --tests

launcher=
command -v ccache > /dev/null && launcher=-DCMAKE_C_COMPILER_LAUNCHER=ccache
export OMP_WAIT_POLICY=passive # threads that wait must not hold the cores that other tests want
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

# build FOLDER TARGET CMAKE-OPTION...: silent unless it fails
build() {
    local folder=$1 target=$2 log=$1/build.log
    shift 2
    mkdir -p "$folder"
    if { cmake -S . -B "$folder" -G Ninja $launcher "$@" && cmake --build "$folder" --target "$target"; } > "$log" 2>&1; then
        return
    fi
    grep -E "error|FAILED|CMake Error" -A 5 "$log" | head -n 60
    echo "building $folder failed; $log holds everything"
    exit 1
}

# For one kind of GPU: each takes another minute to compile.
build build-test all -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_ARCHITECTURES=90a-real
ctest --test-dir build-test -j2 --output-on-failure --no-tests=error

# Lightly optimised, the sanitizers' builds take half the time to compile, and their stacks read better.
lightly=(-DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_C_FLAGS_RELWITHDEBINFO=-O1 -g1")
build build-asan all "${lightly[@]}" "-DCM3_SANITIZE=address;undefined"
# The fake stacks that find uses after return are aligned too little for vectors of AVX-512, so they stay off.
# One thread a test: two tests at a time already use the cores, and threads of slow code would wait for each other.
OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_stack_use_after_return=0 UBSAN_OPTIONS=print_stacktrace=1 \
    ctest --test-dir build-asan -j2 --output-on-failure --no-tests=error -LE slow

build build-tsan tests_of_threads "${lightly[@]}" -DCM3_SANITIZE=thread
# The thread sanitizer's fixed map of memory does not go with much address randomisation, where the system lets us lower it.
still=
setarch -R true 2> /dev/null && still="setarch -R"
OMP_NUM_THREADS=1 $still ctest --test-dir build-tsan -j2 --output-on-failure --no-tests=error -L threads
