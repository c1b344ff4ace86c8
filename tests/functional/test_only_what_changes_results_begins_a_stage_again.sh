#!/bin/bash
# Labels: slow (the sanitizers leave it out)
# Settings of speed, memory and reports neither encode a data set again nor refuse a run that is resumed; settings that change results do, by name.
# What cannot work is said before any stage begins, and leaves a run as it was.
source "$(dirname "$0")/lib.sh"
prepare
run() { "$cm3leon" "$1" "$tiny" out="$work/run" "${@:2}" >"$work/log" 2>&1; }
refused() { # CODE PATTERN COMMAND OVERRIDES...: one error that matches, and no file changes
  local before code=$1 pattern=$2
  before=$(cd "$work/run" && find . -type f -exec md5sum {} + | sort)
  run "${@:3}"
  [ $? = "$code" ] || { cat "$work/log" >&2; fail "not exit code $code: ${*:3}"; }
  grep -q -F "$pattern" "$work/log" || { cat "$work/log" >&2; fail "no line has '$pattern': ${*:3}"; }
  [ "$before" = "$(cd "$work/run" && find . -type f -exec md5sum {} + | sort)" ] || fail "the run has changed: ${*:3}"
}
copy run
run run pretrain.train.steps=3 || { cat "$work/log" >&2; fail "the run"; }
for stage in text-tokenizer tokenize; do grep -q "$stage: up to date" "$work/log" || fail "$stage was done again at once"; done

run run pretrain.train.steps=6 pretrain.data.prefetch=0 pretrain.data.memory=1 pretrain.train.micro_batch=4 model.recompute=layers \
  image_tokenizer.data.memory=0 image_tokenizer.network.recompute=activations checkpoint.every=2 pretrain.train.log_every=1 guard.on_nonfinite=skip ||
  { cat "$work/log" >&2; fail "settings that change no result are refused"; }
for stage in text-tokenizer tokenize; do grep -q "$stage: up to date" "$work/log" || fail "$stage was done again"; done
grep -q 'from step 3' "$work/log" || { cat "$work/log" >&2; fail "it was not resumed"; }

refused 2 'pretrain.data.mask_mean was 1, is 2' pretrain pretrain.train.steps=9 pretrain.data.mask_mean=2
refused 2 'pretrain.optimizer.learning_rate was 0.001, is 0.01' run pretrain.train.steps=9 pretrain.optimizer.learning_rate=1e-2
refused 2 'image_tokenizer.network.codes was 32, is 64' run image_tokenizer.network.codes=64
refused 2 'the global batch (pretrain.data.batch = 6) is not divisible by 4' run pretrain.data.batch=6 pretrain.train.micro_batch=4
refused 2 'model.width was 32, is 64' text-tokenizer model.width=64
refused 2 "image_tokenizer.train.steps is 10, its newest checkpoint's step 8" run image_tokenizer.train.steps=10
refused 2 'vocab.sentinels was 8, is 9' run vocab.sentinels=9
refused 2 'text_tokenizer.vocabulary was 300, is 290' run text_tokenizer.vocabulary=290
refused 2 'data.lanes: renamed to pretrain.data.batch' run data.lanes=8

# More steps of the image tokenizer make other codes: the pairs are encoded again, and the model of the old codes is not trained on them.
cp -r "$work/run" "$work/kept"
run image-tokenizer image_tokenizer.train.steps=10 || { cat "$work/log" >&2; fail "more steps"; }
refused 2 'tokenize is out of date; run `cm3leon tokenize`' pretrain pretrain.train.steps=9
refused 2 'was trained on other results of tokenize' run image_tokenizer.train.steps=10
run tokenize image_tokenizer.train.steps=10 && ! grep -q 'up to date' "$work/log" || { cat "$work/log" >&2; fail "tokens of old codes are up to date"; }
refused 2 'was trained on other results of tokenize' pretrain pretrain.train.steps=9
"$cm3leon" generate "$work/run" --prompt x >"$work/log" 2>&1
[ $? = 1 ] && grep -q 'pretrain/checkpoints/step-6: vocabulary: found [0-9a-f]*, expected ' "$work/log" || { cat "$work/log" >&2; fail "a model of other codes draws"; }
rm -r "$work/run" && mv "$work/kept" "$work/run"

# Tokens that are lost are made again as they were, and the model goes on with them.
rm -r "$work/run/tokenize"
run run pretrain.train.steps=7 || { cat "$work/log" >&2; fail "tokens that are made again are refused"; }
rm "$work/run/tokenize/stage.json" # as while tokenize is at work: the folder still stands for its run
"$cm3leon" generate "$work/run/tokenize" --prompt x --out "$work/x.png" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "a stage's folder is not its run"; }
run tokenize || fail "tokenize"

# A global batch that the ranks do not divide: nothing is written, by no stage.
ranks 3 "$cm3leon" run "$tiny" out="$work/none" >"$work/log" 2>&1
[ $? = 2 ] && grep -q -F 'the global batch (image_tokenizer.data.batch = 8) is not divisible by 3 ranks' "$work/log" || { cat "$work/log" >&2; fail "3 ranks"; }
[ ! -e "$work/none" ] || fail "a refused run left files"

# Records of an older version.
echo '{"settings":"0123456789abcdef","inputs":"00000000000000000000000000000000"}' > "$work/run/tokenize/stage.json"
refused 1 'tokenize/stage.json: the run folder has format version 1, expected 2' run
"$cm3leon" generate "$work/run" --prompt x >"$work/log" 2>&1
[ $? = 1 ] && grep -q -F 'format version 1, expected 2' "$work/log" || { cat "$work/log" >&2; fail "generate reads an old run"; }
echo "1 passed, 0 failed"
