#!/bin/bash
# Labels: slow (the sanitizers leave it out)
# The same global batch on 1, 2 and 4 ranks: every step's loss within 1e-5. A checkpoint of 4 ranks goes on, on 1 and on 2: the same bits at the start, the same
# next blocks, which shows in the next losses. The same layout twice: the same bits at the end.
source "$(dirname "$0")/lib.sh"
prepare
for n in 1 2 4; do
  copy "on$n"
  quietly ranks $n "$cm3leon" pretrain "$tiny" out="$work/on$n" pretrain.train.steps=6
done
python3 - "$work" <<'P' || fail "losses differ"
import json, sys
def losses(name): return [json.loads(l)["loss"] for l in open(f"{sys.argv[1]}/{name}/pretrain/metrics.jsonl") if '"kind":"train"' in l]
one = losses("on1")
assert len(one) == 6 and one[-1] < one[0], one
for n in (2, 4):
    for a, b in zip(one, losses(f"on{n}")): assert abs(a - b) <= 1e-5 * abs(a), (n, a, b)
P
copy again2
quietly ranks 2 "$cm3leon" pretrain "$tiny" out="$work/again2" pretrain.train.steps=6
[ "$(digest "$work/on2")" = "$(digest "$work/again2")" ] || fail "the same run on 2 ranks twice has different bits"

# Reshard: what 4 ranks wrote, read by 1 and 2 and written again without a step in between.
for n in 1 2; do
  cp -r "$work/on4" "$work/from4to$n"
  [ "$(digest "$work/on4")" = "$(digest "$work/from4to$n")" ] || fail "bits change in a copy"
  quietly ranks $n "$cm3leon" pretrain "$tiny" out="$work/from4to$n" pretrain.train.steps=9
done
quietly ranks 4 "$cm3leon" pretrain "$tiny" out="$work/on4" pretrain.train.steps=9
python3 - "$work" <<'P' || fail "resharded runs differ"
import json, sys
def losses(name): return {j["step"]: j["loss"] for j in map(json.loads, open(f"{sys.argv[1]}/{name}/pretrain/metrics.jsonl")) if j["kind"] == "train"}
four = losses("on4")
for n in (1, 2):
    other = losses(f"from4to{n}")
    for s in (7, 8, 9): assert abs(four[s] - other[s]) <= 1e-5 * four[s], (n, s, four[s], other[s])
P
echo "1 passed, 0 failed"
