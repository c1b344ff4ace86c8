#!/bin/bash
# Labels: slow (the sanitizers leave it out)
# k steps, kill -9, resume, k steps, against 2k straight: parameters and moments have the same bits, and no step is missing or twice in the metrics.
source "$(dirname "$0")/lib.sh"
prepare
copy straight
copy killed
quietly "$cm3leon" pretrain "$tiny" out="$work/straight" pretrain.train.steps=24

# Killed while it runs, as soon as a checkpoint is there.
"$cm3leon" pretrain "$tiny" out="$work/killed" pretrain.train.steps=24 --quiet 2>/dev/null &
pid=$!
while [ ! -d "$work/killed/pretrain/checkpoints/step-3" ] && kill -0 $pid 2>/dev/null; do sleep 0.002; done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
[ -d "$work/killed/pretrain/checkpoints/step-24" ] && echo "note: it was done before the kill"
quietly "$cm3leon" pretrain "$tiny" out="$work/killed" pretrain.train.steps=24
[ "$(digest "$work/straight")" = "$(digest "$work/killed")" ] || fail "resumed bits differ"
for run in straight killed; do
  grep '"kind":"train"' "$work/$run/pretrain/metrics.jsonl" | grep -o '"step":[0-9]*' > "$work/$run.steps"
  [ "$(sort -u "$work/$run.steps" | wc -l)" = 24 ] && [ "$(wc -l < "$work/$run.steps")" = 24 ] || fail "$run: steps are missing or twice"
done

# The image tokenizer resumes the same way, on two ranks.
cp -r "$work/base" "$work/vq"
rm -rf "$work/vq/image-tokenizer" "$work/vq/tokenize"
cp -r "$work/vq" "$work/vq2"
quietly ranks 2 "$cm3leon" image-tokenizer "$tiny" out="$work/vq" image_tokenizer.train.steps=8
quietly ranks 2 "$cm3leon" image-tokenizer "$tiny" out="$work/vq2" image_tokenizer.train.steps=8 checkpoint.every=4 2>&1
rm -rf "$work/vq2/image-tokenizer/checkpoints/step-8"
quietly ranks 2 "$cm3leon" image-tokenizer "$tiny" out="$work/vq2" image_tokenizer.train.steps=8
[ "$(digest "$work/vq/image-tokenizer")" = "$(digest "$work/vq2/image-tokenizer")" ] || fail "image tokenizer: resumed bits differ"

# SIGUSR1: a checkpoint, and exit code 3.
copy asked
"$cm3leon" pretrain "$tiny" out="$work/asked" pretrain.train.steps=100000 checkpoint.every=0 --quiet 2>"$work/asked.log" &
pid=$!
while [ ! -s "$work/asked/pretrain/metrics.jsonl" ]; do sleep 0.01; done
kill -USR1 $pid
wait $pid
[ $? = 3 ] || fail "SIGUSR1: exit code is not 3: $(cat "$work/asked.log")"
ls "$work/asked/pretrain/checkpoints" | grep -q step- || fail "SIGUSR1: no checkpoint"
echo "1 passed, 0 failed"
