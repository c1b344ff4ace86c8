#!/bin/bash
# From a fresh clone to a page of generated images, on a fresh Debian 12 with two cores, as root or with sudo:
# installs what is missing, builds, trains on emoji under mpirun, evaluates, and writes out/emoji-quick/report.html.
# Started again, it goes on where it was. usage: tools/quickstart.sh [section.key=value ...], any but out
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
recipe=configs/emoji-quick.yaml
out=out/emoji-quick

tools/install-packages.sh
echo "building ..."
# Kernels for GPUs take minutes to compile, which only a machine with a GPU is asked for.
[ -e /dev/nvidiactl ] && gpu=ON || gpu=OFF
{ cmake -S . -B build -G Ninja -DCM3_TESTS=OFF -DCM3_CUDA=$gpu -DCMAKE_CUDA_ARCHITECTURES=native &&
    cmake --build build; } > build.log 2>&1 || { tail -20 build.log; exit 1; }
rm -f build.log

# As root, and with less than two cores, Open MPI wants to be asked.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( ($(nproc) + 1) / 2 ))}
mpirun -n 2 --bind-to none build/cm3leon run $recipe "$@"
unset OMP_NUM_THREADS
build/cm3leon evaluate $out --all-checkpoints
build/cm3leon report $out
echo "done in $(( (SECONDS - started) / 60 )) min $(( (SECONDS - started) % 60 )) s: open $out/report.html in a browser, or draw something else:"
echo "  build/cm3leon generate $out --prompt 'green apple' --samples 4"
