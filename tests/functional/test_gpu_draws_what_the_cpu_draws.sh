#!/bin/bash
# Labels: slow (the sanitizers leave it out)
# What lies around the training of the transformer, by the backend of GPUs, whose kernels the host runs in a GPU's place: the image tokenizer's training
# follows the CPU's losses; images get the CPU's codes; a model draws, describes and scores as on the CPU in f32, and in bf16 near enough.
source "$(dirname "$0")/lib.sh"
quietly "$cm3leon" run "$tiny" out="$work/base"
export CM3_CUDA_LIBRARY=$1/libcm3_simt.so
gpu="device=cuda compute=f32"

# The image tokenizer: two micro-batches a step, codes that are started again, validation images.
learn() { quietly "$cm3leon" image-tokenizer "$tiny" out="$work/$1" image_tokenizer.train.micro_batch=4 image_tokenizer.network.dead_steps=2 "${@:2}"; }
learn cpu
learn gpu device=cuda
grep -q "cuda (" "$work/log" || fail "the start-up line does not name the device: $(head -2 "$work/log")"
python3 - "$work" <<'P' || fail "losses of the image tokenizer differ"
import json, sys
def lines(name, kind): return [j for j in map(json.loads, open(f"{sys.argv[1]}/{name}/image-tokenizer/metrics.jsonl")) if j["kind"] == kind]
cpu, gpu = lines("cpu", "train"), lines("gpu", "train")
assert len(cpu) == len(gpu) == 8 and sum(j["codes_restarted"] for j in cpu) > 0, cpu
for a, b in zip(cpu + lines("cpu", "heldout"), gpu + lines("gpu", "heldout")):
    for key in ("loss", "loss_pixels", "loss_codes", "psnr", "grad_norm"):
        if key in a: assert abs(a[key] - b[key]) <= 1e-3 * abs(a[key]), (key, a, b)
    assert a.get("codes_restarted") == b.get("codes_restarted"), (a, b)
P

# The same images under the same network: the same codes.
cp -r "$work/base" "$work/codes"
rm -rf "$work/codes/tokenize"
quietly "$cm3leon" tokenize "$tiny" out="$work/codes" device=cuda
sees() { for slot in 0 3 6; do "$cm3leon" inspect "$tiny" out="$work/$1" --step 1 --slot $slot || fail "inspect"; done; }
[ "$(sees base)" = "$(sees codes)" ] || fail "images have other codes"

# Drawing, describing, scoring.
evaluate() { "$cm3leon" evaluate "$work/base" --prompts 6 --json "${@:2}" > "$work/$1.json" 2> "$work/log" || fail "evaluate: $(cat "$work/log")"; }
evaluate cpu generate.temperature=1 generate.guidance=2
evaluate f32 generate.temperature=1 generate.guidance=2 $gpu
grep -q "cuda (" "$work/log" || fail "evaluate does not name the device"
evaluate bf16 generate.temperature=1 generate.guidance=2 device=cuda
python3 - "$work" <<'P' || fail "evaluations differ"
import json, sys
cpu, f32, bf16 = (json.load(open(f"{sys.argv[1]}/{n}.json")) for n in ("cpu", "f32", "bf16"))
for a, b, c in ((cpu, f32, bf16), (cpu["heldout"], f32["heldout"], bf16["heldout"])):
    for key in ("pairs", "text_to_image_top1", "caption_exact", "text_tokens"): assert a[key] == b[key], (key, a, b)
    for key in ("loss_text", "loss_image", "vq_psnr"):
        assert abs(a[key] - b[key]) <= 2e-5 * abs(a[key]) and abs(a[key] - c[key]) <= 1e-2 * abs(a[key]), (key, a, b, c)
assert cpu["loss_image"] != bf16["loss_image"], "bf16 is f32"
P
generate() { "$cm3leon" generate "$work/base" --prompt dog --samples 2 --temperature 1 --out "$work/$1" --seed 7 "${@:2}" > "$work/out" 2> "$work/log" || fail "generate: $(cat "$work/log")"; }
generate drawn-cpu
generate drawn-gpu $gpu
grep -q "cuda (" "$work/log" || fail "generate does not name the device: $(cat "$work/log")"
generate drawn-bf16 device=cuda
image=$(ls "$work"/drawn-cpu/*.png | head -1)
describe() { "$cm3leon" generate "$work/base" --image "$image" "$@" 2> "$work/log" || fail "describe: $(cat "$work/log")"; }
[ "$(describe)" = "$(describe $gpu)" ] || fail "another caption"
[ "$(ls "$work/drawn-cpu")" = "$(ls "$work/drawn-bf16")" ] || fail "other images"
# Images that a training run draws meanwhile, where it trains.
quietly "$cm3leon" pretrain "$tiny" out="$work/codes" pretrain.train.steps=13 pretrain.train.sample_every=13 $gpu
[ -f "$work/codes/pretrain/samples/step-13.png" ] || fail "no sample images"
echo "1 passed, 0 failed"
