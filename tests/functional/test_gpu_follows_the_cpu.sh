#!/bin/bash
# Labels: slow (the sanitizers leave it out: each kernel goes through every operation case there)
# Training by the backend of GPUs, whose kernels the host runs in a GPU's place: the losses are the CPU's, in f32 to rounding and in bf16 near enough;
# two runs and a resumed one give the same bits; two ranks, whose gradients are all-reduced through host memory, the same losses, and
# the same bits as two whose devices all-reduce among themselves.
source "$(dirname "$0")/lib.sh"
prepare
export CM3_CUDA_LIBRARY=$1/libcm3_simt.so
pretrain() {
  local name=$1 ranks=$2
  shift 2
  [ -d "$work/$name" ] || copy "$name"
  quietly ranks "$ranks" "$cm3leon" pretrain "$tiny" out="$work/$name" "$@"
}
pretrain cpu 1 device=cpu pretrain.train.steps=6
pretrain f32 1 device=cuda compute=f32 pretrain.train.steps=6
grep -q "cuda (" "$work/log" || fail "the start-up line does not name the device: $(head -2 "$work/log")"
pretrain bf16 1 device=cuda pretrain.train.steps=6
pretrain two 2 device=cuda compute=f32 pretrain.train.steps=6
grep -q "all-reduced through host memory" "$work/log" || fail "ranks that share a GPU do not say so"
CM3_SIMT_DEVICES=own pretrain devices 2 device=cuda compute=f32 pretrain.train.steps=6
cp -r "$work/f32" "$work/resumed" # as if killed after step 3
rm -rf "$work"/resumed/pretrain/checkpoints/step-[456]
[ -d "$work/resumed/pretrain/checkpoints/step-3" ] || fail "no checkpoint of step 3"
pretrain resumed 1 device=cuda compute=f32 pretrain.train.steps=6
grep -q "resuming from step 3" "$work/log" || fail "it did not resume"
pretrain micro 1 device=cuda compute=f32 pretrain.train.micro_batch=2 pretrain.train.steps=6
pretrain again 1 device=cuda compute=f32 pretrain.train.steps=6
python3 - "$work" <<'P' || fail "losses differ"
import json, sys
def losses(name, key="loss"):
    return [j[key] for j in map(json.loads, open(f"{sys.argv[1]}/{name}/pretrain/metrics.jsonl")) if j["kind"] == "train"]
cpu = losses("cpu")
assert len(cpu) == 6 and cpu[-1] < cpu[0], cpu
for name, allowed in (("f32", 2e-5), ("two", 2e-5), ("micro", 2e-5), ("bf16", 1e-2)):
    other = losses(name)
    assert len(other) == 6, (name, other)
    for step, (a, b) in enumerate(zip(cpu, other)): assert abs(a - b) <= allowed * abs(a), (name, step, a, b)
    norms = list(zip(losses("cpu", "grad_norm"), losses(name, "grad_norm")))
    for a, b in norms: assert abs(a - b) <= 10 * allowed * abs(a), (name, "norm", a, b)
assert losses("bf16") != losses("f32"), "bf16 is f32"
P
[ "$(digest "$work/f32")" = "$(digest "$work/again")" ] || fail "the same run twice has different bits"
[ "$(digest "$work/two")" = "$(digest "$work/devices")" ] || fail "ranks with a device each have other bits than ranks that share one"
[ "$(digest "$work/f32")" = "$(digest "$work/resumed")" ] || fail "a resumed run has other bits"
echo "1 passed, 0 failed"
