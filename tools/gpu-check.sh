#!/bin/bash
# Everything that only a GPU can show, in one command and one report:
#
#     tools/gpu-check.sh [--quick] [BUILD [RUN [REPORT]]]
#
# BUILD   folder of the programs: cm3leon, libcm3_cuda.so, test_core_cuda_{parity,sample,memory,drelu,graph},
#         test_model_cuda_generate, test_train_cuda_late
#         (default: build)
# RUN     a run whose tokens are there, OUT of `cm3leon tokenize configs/emoji-quick.yaml` (default: out/emoji-quick);
#         without one the training checks are left out, without a checkpoint of its model that of `evaluate`, and the
#         report says so
# REPORT  where the report goes (default: gpu-check.md)
#
# Correctness first (operations, training, determinism, the sanitizer), then speed beside PyTorch if Python has it. Each
# check is a section of the report with its command, its output's end and PASS, FAIL or LEFT OUT; the exit code is 1 if
# anything failed. CUDA's libraries are looked for in the system and in Python's wheels; no setting of a GPU is touched.
set -u
quick=
[ "${1:-}" = --quick ] && quick=1 && shift
here=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath -m "${1:-$here/build}")
run=$(realpath -m "${2:-$here/out/emoji-quick}")
report=$(realpath -m "${3:-gpu-check.md}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$here"
cm3leon=$build/cm3leon
[ -x "$cm3leon" ] || { echo "$cm3leon: is not there; build it first, or name the build folder" >&2; exit 2; }

wheels=$(python3 -c 'import nvidia; print("\n".join(nvidia.__path__))' 2> /dev/null)
libraries=$(for w in $wheels; do find "$w" -maxdepth 3 -name lib -type d; done
            ls -d /usr/local/cuda/lib64 2> /dev/null)
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}:$(echo $libraries | tr ' ' ':')"

failed=0
say() { echo "$*" | tee -a "$report"; }
# check NAME COMMAND...
check() {
    local name=$1 begin=$SECONDS result=PASS
    shift
    "$@" > "$work/log" 2>&1 || { result=FAIL; failed=1; }
    say "" && say "## $result: $name ($((SECONDS - begin)) s)" && say "" && say '```' && say "\$ $*"
    tail -n "${lines:-12}" "$work/log" | tee -a "$report" && say '```'
}
left_out() { say "" && say "## LEFT OUT: $1" && say "" && say "$2"; }

# --- training ------------------------------------------------------------------------------------------------------
# train NAME OVERRIDES...: from the same tokens and the same initial parameters
train() {
    local name=$1
    shift
    [ -d "$work/$name" ] || { mkdir "$work/$name" && cp -r "$run/tokenize" "$run/config.yaml" "$work/$name/"; }
    "$cm3leon" pretrain "$work/$name/config.yaml" out="$work/$name" pretrain.train.log_every=50 checkpoint.every=100 "$@"
}
digest() { "$cm3leon" inspect "$1" --digest --moments; }

follows_the_cpu() {
    train cpu device=cpu pretrain.train.steps=$steps && train f32 device=cuda compute=f32 pretrain.train.steps=$steps &&
        train bf16 device=cuda compute=bf16 pretrain.train.steps=$steps || return 1
    python3 - "$work" << 'P'
import json, sys
def losses(name):
    lines = map(json.loads, open(f"{sys.argv[1]}/{name}/pretrain/metrics.jsonl"))
    return [line["loss"] for line in lines if line["kind"] == "train"]
cpu, ok = losses("cpu"), True
print("step      cpu      f32     bf16")
f32, bf16 = losses("f32"), losses("bf16")
for s in range(0, len(cpu), max(1, len(cpu) // 20)):
    print(f"{s + 1:4}  {cpu[s]:7.4f}  {f32[s]:7.4f}  {bf16[s]:7.4f}")
def window(x, s): return sum(x[max(0, s - 9): s + 1]) / len(x[max(0, s - 9): s + 1])
for name, other, early, late in (("f32", f32, 1e-4, 0.03), ("bf16", bf16, 0.02, 0.06)):
    first = max(abs(a - b) / a for a, b in zip(cpu[:10], other[:10]))  # before rounding has grown
    whole = max(abs(window(cpu, s) - window(other, s)) / window(cpu, s) for s in range(9, len(cpu)))
    good = len(other) == len(cpu) and first <= early and whole <= late
    print(f"{name}: first 10 steps within {first:.1e} (wanted {early:g}), means of 10 within {whole:.1e} (wanted {late:g})")
    ok &= good
sys.exit(not ok)
P
}

same_bits() {
    local -x CM3_CUDNN=0 # no trial of times decides between kernels
    train once device=cuda compute=bf16 pretrain.train.steps=$steps || return 1
    train again device=cuda compute=bf16 pretrain.train.steps=$steps || return 1
    train killed device=cuda compute=bf16 pretrain.train.steps=$steps &
    local pid=$!
    until [ -d "$work/killed/pretrain/checkpoints/step-100" ] || ! kill -0 $pid 2> /dev/null; do sleep 0.05; done
    pkill -KILL -P $pid
    wait $pid 2> /dev/null
    train killed device=cuda compute=bf16 pretrain.train.steps=$steps || return 1
    local first again killed
    first=$(digest "$work/once") again=$(digest "$work/again") killed=$(digest "$work/killed")
    echo "once: $first"; echo "twice: $again"; echo "killed and resumed: $killed"
    [ -n "$first" ] && [ "$first" = "$again" ] && [ "$first" = "$killed" ]
}

# --- both networks -------------------------------------------------------------------------------------------------
tokenizes_like_the_cpu() {
    local device
    for device in cpu cuda; do
        "$cm3leon" image-tokenizer "$run/config.yaml" out="$work/images-$device" device=$device \
            image_tokenizer.train.steps=60 image_tokenizer.train.log_every=20 || return 1
    done
    python3 - "$work" << 'P'
import json, sys
def losses(name):
    lines = map(json.loads, open(f"{sys.argv[1]}/images-{name}/image-tokenizer/metrics.jsonl"))
    return [line["loss"] for line in lines if line["kind"] == "train"]
cpu, gpu = losses("cpu"), losses("cuda")
first = max(abs(a - b) / a for a, b in zip(cpu[:5], gpu[:5]))  # before rounding has grown
last = abs(sum(cpu[-10:]) - sum(gpu[-10:])) / sum(cpu[-10:])
print(f"losses: first 5 steps within {first:.1e} (wanted 1e-3), the last 10 within {last:.1e} (wanted 0.05)")
sys.exit(not (len(cpu) == len(gpu) and first <= 1e-3 and last <= 0.05))
P
}

evaluates_like_the_cpu() {
    cp -r "$run" "$work/evaluated" || return 1
    local name
    for name in cpu/f32 cuda/f32 cuda/bf16; do
        "$cm3leon" evaluate "$work/evaluated" --prompts 40 --json device=${name%/*} compute=${name#*/} \
            > "$work/${name/\//-}.json" || return 1
    done
    python3 - "$work" << 'P'
import json, sys
cpu, f32, bf16 = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("cpu-f32", "cuda-f32", "cuda-bf16"))
ok = True
for key, exact, near in (("loss_text", 1e-3, 0.03), ("loss_image", 1e-3, 0.03), ("vq_psnr", 1e-3, 1e-3),
                         ("text_to_image_top1", 0.05, 0.15), ("caption_exact", 0.05, 0.15)):
    print(f"{key:20} cpu {cpu[key]:.5f}  f32 {f32[key]:.5f}  bf16 {bf16[key]:.5f}")
    ok &= abs(cpu[key] - f32[key]) <= exact * cpu[key] and abs(cpu[key] - bf16[key]) <= near * cpu[key]
sys.exit(not ok)
P
}

# --- the report ----------------------------------------------------------------------------------------------------
: > "$report"
say "# GPU check"
say "" && say "$(date -u +%F), commit $(git rev-parse --short HEAD 2> /dev/null || echo unknown)" && say ""
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv 2>&1 |
    sed 's/^/    /' | tee -a "$report"

check "every operation against the cpu, f32 and bf16" "$build/test_core_cuda_parity"
check "tokens that the device draws" "$build/test_core_cuda_sample"
check "memory, pinned memory and marks" "$build/test_core_cuda_memory"
check "ReLU's masks from product to product" "$build/test_core_cuda_drelu"
check "steps kept as graphs" "$build/test_core_cuda_graph"
check "metrics one step late" "$build/test_train_cuda_late"
check "generation, token by token" "$build/test_model_cuda_generate"
if command -v compute-sanitizer > /dev/null && [ -z "$quick" ]; then
    # Races between the threads of a block, and barriers that not all reach, are what the host cannot show.
    for part in norm embed linear "attention, causal" "cross entropy" conv code; do
        for tool in memcheck racecheck synccheck; do
            check "compute-sanitizer, $tool: $part" \
                compute-sanitizer --tool $tool --error-exitcode 9 "$build/test_core_cuda_parity" "$part"
        done
    done
    check "compute-sanitizer, racecheck: drawing" \
        compute-sanitizer --tool racecheck --error-exitcode 9 "$build/test_core_cuda_sample"
else
    left_out "compute-sanitizer" "not asked for, or not installed"
fi
steps=200
if [ -f "$run/tokenize/store.h5" ]; then
    lines=30 check "$steps steps of emoji-quick: the cpu's losses" follows_the_cpu
    check "our own kernels: the same bits twice, and after kill -9 and resume" same_bits
    if "$cm3leon" image-tokenizer "$run/config.yaml" out="$work/source" device=cpu image_tokenizer.train.steps=1 > "$work/log" 2>&1
    then
        check "the image tokenizer: the cpu's losses" tokenizes_like_the_cpu
        if [ -d "$run/pretrain/checkpoints" ]; then
            check "generation, captions, scoring: as on the cpu" evaluates_like_the_cpu
        else
            left_out "evaluate" "$run/pretrain has no checkpoint"
        fi
    else
        left_out "the image tokenizer, evaluate" "no images: $(tail -n 1 "$work/log")"
    fi
else
    left_out "training" "$run/tokenize/store.h5 is not there: make it by \`cm3leon run configs/emoji-quick.yaml\`"
fi
step="device=cuda cluster.gpus=1 pretrain.data.batch=8 pretrain.train.micro_batch=8"
for size in 350m 760m; do
    check "step, $size, 4,096 tokens" "$cm3leon" bench step configs/paper-$size.yaml $step
done
check "step, four layers of the 7B, 4,096 tokens" "$cm3leon" bench step configs/paper-7b.yaml $step model.layers=4
for size in 350m 7b; do
    check "1,024 image tokens with guidance, $size" "$cm3leon" bench generate configs/paper-$size.yaml device=cuda
done
check "image tokenizer, 256 px" "$cm3leon" bench image-tokenizer configs/paper-350m.yaml device=cuda \
    image_tokenizer.train.micro_batch=16
if python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
    for shape in 350m 760m 7b-layers; do
        check "the same beside PyTorch: $shape" \
            python3 tools/bench/torch_step.py --cm3leon "$cm3leon" --device cuda --compile --shape $shape
    done
    check "the image tokenizer beside PyTorch, 256 px" python3 tools/bench/torch_images.py --cm3leon "$cm3leon" \
        --device cuda --compile configs/paper-350m.yaml image_tokenizer.train.micro_batch=16
else
    left_out "PyTorch" "python3 has no torch that sees a GPU"
fi
say "" && [ $failed = 0 ] && say "Everything that ran passed." || say "Something failed."
exit $failed
