#!/bin/bash
# Labels: slow (the sanitizers leave it out)
# Everything a user does wrong ends in one clear line and the right exit code, and loses nothing.
source "$(dirname "$0")/lib.sh"
prepare
copy run
quietly "$cm3leon" pretrain "$tiny" out="$work/run" pretrain.train.steps=6
good=$(digest "$work/run")

# expect CODE PATTERN COMMAND...: exit code, a line that matches, and only one error
expect() {
  local code=$1 pattern=$2
  shift 2
  "$@" >"$work/out" 2>&1 </dev/null
  local found=$?
  [ $found = "$code" ] || { cat "$work/out" >&2; fail "exit code $found, expected $code: $*"; }
  grep -q -E "$pattern" "$work/out" || { cat "$work/out" >&2; fail "no line matches '$pattern': $*"; }
  [ "$(grep -c 'cm3leon: error:' "$work/out")" = 1 ] || { cat "$work/out" >&2; fail "not one error: $*"; }
}
train() { "$cm3leon" pretrain "$tiny" out="$work/run" "$@"; }

sed 's/width: 32/widht: 32/' "$tiny" > "$work/misspelt.yaml"
expect 2 'did you mean model.width' "$cm3leon" plan "$work/misspelt.yaml"
expect 2 'pretrain.train.steps' "$cm3leon" plan "$tiny" pretrain.train.steps=many
expect 2 'model.heads.*5 heads do not divide' "$cm3leon" plan "$tiny" model.heads=5
expect 2 'the global batch \(pretrain.data.batch = 8\) is not divisible by 3 ranks' ranks 3 "$cm3leon" pretrain "$tiny" out="$work/run"
expect 1 'Debian package unicode-data' "$cm3leon" text-tokenizer "$tiny" out="$work/nofont" source.path="$work/nothing"
expect 1 'text-tokenizer' "$cm3leon" tokenize "$tiny" out="$work/empty"
expect 1 'text-tokenizer' "$cm3leon" tokenize "$tiny" out="$work/empty" --dry-run
if [ ! -e /dev/nvidiactl ]; then # what needs a GPU
  expect 1 'device: cuda|GPU|CUDA|cuda' "$cm3leon" run "$tiny" out="$work/empty" device=cuda
  expect 2 'compute: bf16 needs a GPU' "$cm3leon" run "$tiny" out="$work/empty" device=auto compute=bf16
  expect 2 'compute: bf16 needs a GPU' "$cm3leon" plan "$tiny" device=auto compute=bf16
fi
[ ! -e "$work/empty" ] || fail "a refused command left files"
expect 2 'did you mean pretrain' "$cm3leon" pretrian "$tiny"
expect 1 'not in this version' "$cm3leon" finetune "$tiny"
expect 1 'not the folder of a run' "$cm3leon" generate "$work" --prompt x

# Other people's data.
mkdir -p "$work/data" "$work/none"
printf '\211PNG\r\n\032\n\0\0\0\rIHDR\0\0\0\020\0\0\0\020\010\002\0\0\0' > "$work/data/a.png"
echo "an image" > "$work/data/a.txt"
folder=(source.kind=folder "source.groups=[]" source.limit=0 source.validation=0)
expect 1 'a\.png' "$cm3leon" image-tokenizer "$tiny" out="$work/cut" "${folder[@]}" source.path="$work/data"
printf 'caf\351\n' > "$work/data/a.txt"
expect 1 'a\.txt.*UTF-8' "$cm3leon" text-tokenizer "$tiny" out="$work/latin" "${folder[@]}" source.path="$work/data"
expect 1 'none' "$cm3leon" text-tokenizer "$tiny" out="$work/empty2" "${folder[@]}" source.path="$work/none"
printf '{"image": "a.png", "text": "x"}\n{"image": "a.p' > "$work/cut.jsonl"
expect 1 'cut\.jsonl:2' "$cm3leon" text-tokenizer "$tiny" out="$work/cutjson" "${folder[@]}" source.kind=jsonl source.path="$work/cut.jsonl"

# A store of another vocabulary; other settings in the same folder.
copy other
cp "$work/other/tokenize/store.h5" "$work/kept.h5"
quietly "$cm3leon" run "$tiny" out="$work/other2" text_tokenizer.vocabulary=280 pretrain.train.steps=1
cp "$work/kept.h5" "$work/other2/tokenize/store.h5"
expect 1 'store.h5.*vocabulary' "$cm3leon" pretrain "$tiny" out="$work/other2" text_tokenizer.vocabulary=280 pretrain.train.steps=3
expect 2 'other settings' train model.width=16

# Damaged checkpoints: a flipped byte, a missing shard.
cp -r "$work/run" "$work/damaged"
shard=$(ls "$work"/damaged/pretrain/checkpoints/step-6/shard-*.h5)
size=$(stat -c %s "$shard")
printf '\x55' | dd of="$shard" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
expect 1 'shard-0000' "$cm3leon" pretrain "$tiny" out="$work/damaged" pretrain.train.steps=9
rm "$shard"
expect 1 'shard-0000' "$cm3leon" pretrain "$tiny" out="$work/damaged" pretrain.train.steps=9

# Two runs in one folder.
"$cm3leon" pretrain "$tiny" out="$work/run" pretrain.train.steps=1000000 checkpoint.every=0 --quiet 2>/dev/null &
pid=$!
while ! grep -q '"step":8' "$work/run/pretrain/metrics.jsonl"; do sleep 0.01; done
expect 1 "process $pid|$pid" train
kill -9 $pid
wait $pid 2>/dev/null
[ "$(digest "$work/run/pretrain/checkpoints/step-6")" = "$good" ] || fail "the checkpoint changed"

# A full disk while saving: the last good checkpoint stays.
if [ "$(id -u)" = 0 ] && mkdir -p "$work/small" && mount -t tmpfs -o size=3m tmpfs "$work/small" 2>/dev/null; then
  cp -r "$work/base" "$work/small/run"
  "$cm3leon" pretrain "$tiny" out="$work/small/run" pretrain.train.steps=1000 checkpoint.every=3 checkpoint.keep=0 >"$work/out" 2>&1
  code=$?
  last=$(ls -v "$work/small/run/pretrain/checkpoints" | grep -v tmp | tail -1)
  intact=$("$cm3leon" inspect "$work/small/run/pretrain/checkpoints/$last" --digest)
  umount "$work/small"
  [ $code = 1 ] && grep -q 'No space left' "$work/out" || { cat "$work/out" >&2; fail "full disk: exit code $code"; }
  [ -n "$intact" ] || fail "full disk: the last good checkpoint is gone"
fi

# A rank killed in the middle: the job ends, and the run goes on from its last checkpoint.
copy ranked
mpirun -n 2 --bind-to none "$cm3leon" pretrain "$tiny" out="$work/ranked" pretrain.train.steps=1000000 checkpoint.every=3 checkpoint.keep=2 --quiet >"$work/out" 2>&1 &
pid=$!
while ! ls "$work"/ranked/pretrain/checkpoints 2>/dev/null | grep -q 'step-[0-9]*$'; do sleep 0.02; done
victim=$(pgrep -P $pid cm3leon | tail -1)
kill -9 "$victim"
wait $pid
[ $? != 0 ] || fail "a killed rank: mpirun says all is well"
step=$("$cm3leon" inspect "$work/ranked" --json | grep -o '"step":[0-9]*' | cut -d: -f2)
quietly ranks 2 "$cm3leon" pretrain "$tiny" out="$work/ranked" pretrain.train.steps=$((step + 3)) checkpoint.every=3
echo "1 passed, 0 failed"
