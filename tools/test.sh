#!/bin/bash
# Every test on a fresh Debian 12, as root or with sudo: installs what is missing, then three builds beside the sources:
#   build-test/  as released: all tests, and those of matrix products again with each of OpenBLAS's kernels
#   build-asan/  address and undefined-behaviour sanitizers: all tests but those labelled slow
#   build-tsan/  thread sanitizer: tests of our own threads
# Says little, and ends with the summary of the last ctest; the first failure ends it.
#
# usage: tools/test.sh [--bare | --cuda | --nothing-skipped]
#   --bare  as root: both commands of the README on a Debian 12 made just now (tools/fresh-debian.sh), the first with few
#           steps, the second with --nothing-skipped. A file that they make and git does not ignore is a failure.
#   --cuda  only what such a system cannot have: builds with this machine's CUDA toolkit, and runs the tests that want it
#   --nothing-skipped  every test; one that is skipped is a failure
set -eu
cd "$(dirname "$0")/.."
mode=${1-}
case $mode in
"" | --cuda | --nothing-skipped) ;;
--bare)
    exec tools/fresh-debian.sh bash -euc '
        tools/quickstart.sh {image_tokenizer,pretrain}.train.{steps=60,log_every=20} checkpoint.every=30
        [ -s out/emoji-quick/report.html ]
        tools/test.sh --nothing-skipped
        made=$(git status --porcelain)
        [ -z "$made" ] || { echo "git does not ignore: $made"; exit 1; }'
    ;;
*)
    echo "usage: tools/test.sh [--bare | --cuda | --nothing-skipped]" >&2
    exit 2
    ;;
esac
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

still=
# run_tests FOLDER CTEST-OPTION...
run_tests() {
    local folder=$1
    shift
    $still ctest --test-dir "$folder" -j2 --output-on-failure --no-tests=error --output-junit tests.xml "$@"
    [ "$mode" != --nothing-skipped ] || grep -q 'skipped="0"' "$folder/tests.xml" || {
        echo "tests were skipped on a system that can run them all"
        exit 1
    }
}

# The kernels of OpenBLAS, oldest first, that this processor can run.
kernels_of_openblas() {
    local flags
    flags=" $(grep -m 1 '^flags' /proc/cpuinfo) "
    case $flags in *" sse4_2 "*) echo Nehalem ;; esac
    case $flags in *" avx2 "*) echo Haswell Zen ;; esac
    case $flags in *" avx512vl "*) echo SkylakeX ;; esac
}

# For one kind of GPU: each takes another minute to compile.
build build-test all -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_ARCHITECTURES=90a-real
if [ "$mode" = --cuda ]; then
    [ -f build-test/libcm3_cuda.so ] || { echo "there is no CUDA toolkit here: nothing to test"; exit 0; }
    run_tests build-test -L cuda
    exit
fi
run_tests build-test
# Programs that can reach them, as ctest's names.
products=$(for program in build-test/test_*; do
    ! nm -D --undefined-only "$program" 2> /dev/null | grep -q " cblas_" || echo "^${program#build-test/test_}\$"
done | tr '_\n' '.|')
for kernel in $(kernels_of_openblas); do
    echo "matrix products with OPENBLAS_CORETYPE=$kernel"
    OPENBLAS_CORETYPE=$kernel run_tests build-test -R "${products%|}" -LE slow
done

# Lightly optimised, the sanitizers' builds take half the time to compile, and their stacks read better.
lightly=(-DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_C_FLAGS_RELWITHDEBINFO=-O1 -g1")
build build-asan all "${lightly[@]}" "-DCM3_SANITIZE=address;undefined"
# The fake stacks that find uses after return are aligned too little for vectors of AVX-512, so they stay off.
# One thread a test: two tests at a time already use the cores, and threads of slow code would wait for each other.
OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_stack_use_after_return=0 UBSAN_OPTIONS=print_stacktrace=1 \
    run_tests build-asan -LE slow

build build-tsan tests_of_threads "${lightly[@]}" -DCM3_SANITIZE=thread
# The thread sanitizer's fixed map of memory does not go with much address randomisation, where the system lets us lower it.
setarch -R true 2> /dev/null && still="setarch -R"
OMP_NUM_THREADS=1 run_tests build-tsan -L threads
