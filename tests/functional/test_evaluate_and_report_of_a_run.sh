#!/bin/bash
# Labels: slow (the sanitizers leave it out)
# A tiny run is evaluated on one rank and on three, which share the pairs: the same figures. The curve has a point for every checkpoint. The page shows it.
source "$(dirname "$0")/lib.sh"
quietly "$cm3leon" run "$tiny" out="$work/run"
quietly "$cm3leon" evaluate "$work/run"
cp "$work/run/evaluation.json" "$work/one.json"
ranks 3 "$cm3leon" evaluate "$work/run" --json > "$work/three.json" 2> "$work/log" || { cat "$work/log" >&2; fail "three ranks"; }
quietly "$cm3leon" evaluate "$work/run" --all-checkpoints --prompts 5
quietly "$cm3leon" report "$work/run"
python3 - "$work" <<'P' || fail "figures"
import json, sys
work = sys.argv[1]
one, three = (json.load(open(f"{work}/{n}.json")) for n in ("one", "three"))
for a, b in ((one, three), (one["heldout"], three["heldout"])):
    assert a["pairs"] > 0 and a["pairs"] == b["pairs"], (a, b)
    assert a["text_tokens"] == b["text_tokens"] and a["image_tokens"] == 16 * a["pairs"]
    for key in ("loss_text", "loss_image"): assert abs(a[key] - b[key]) < 1e-5 * a[key], (key, a, b)
    assert abs(a["vq_psnr"] - b["vq_psnr"]) < 1e-3
    for key in ("text_to_image_top1", "caption_exact"): assert 0 <= a[key] <= 1
assert one["pairs"] + one["heldout"]["pairs"] == one["pictures"]
points = json.load(open(f"{work}/run/evaluation-curve.json"))["points"]
assert [p["step"] for p in points] == [3, 6, 9, 12], points
assert all(p["pairs"] == 5 for p in points)
page = open(f"{work}/run/report.html", encoding="utf-8").read()
assert page.count("<img ") > 50 and "http" not in page and 'class="missing"' not in page
P
"$cm3leon" evaluate "$work/run" --checkpoint "$work/none" 2> "$work/log" && fail "a checkpoint that is not there"
[ "$(wc -l < "$work/log")" = 1 ] || fail "more than one line for a checkpoint that is not there"
echo "1 passed, 0 failed"
