#!/bin/bash
# `plan` of a paper's recipe is that of bf16 on a GPU, on any machine: a program without libcm3_cuda.so beside it counts the same bytes as one
# with it, and as ever before (figures of a build that asked the library). A recipe's device=cpu is still its own.
set -e
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "failed: $*"; exit 1; }
unset CM3_CUDA_LIBRARY CM3_CUDNN
cp "$1/cm3leon" "$work/" # alone: no library lies beside it
for recipe in paper-350m paper-760m paper-7b; do
  "$work/cm3leon" plan configs/$recipe.yaml --json > "$work/alone"
  "$1/cm3leon" plan configs/$recipe.yaml device=cuda --json > "$work/here"
  cmp "$work/alone" "$work/here" || fail "$recipe: the plan depends on what is built"
  grep -q '"device":"cuda","compute":"bf16"' "$work/alone" || fail "$recipe is not planned in bf16 on a GPU: $(cat "$work/alone")"
  known=$(grep "^$recipe " <<P | cut -d' ' -f2
paper-350m "step_bytes":1.703542784e+10
paper-760m "step_bytes":25524568064
paper-7b "peak_bytes":127408472192,"parameter_bytes":40365981696,"gradient_bytes":26910654464,"optimizer_bytes":53821308928,"step_bytes":6310527104
P
)
  grep -q "$known" "$work/alone" || fail "$recipe has other bytes: $(cat "$work/alone")"
done
"$work/cm3leon" plan configs/paper-7b.yaml device=cpu | grep -q "pretrain, on cpu in f32" || fail "device=cpu is not obeyed"
echo "1 passed, 0 failed"
