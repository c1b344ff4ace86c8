#!/bin/bash
# `bench ops` measures an operation beside its floor, and says when a name fits none.
set -e
program=$1/cm3leon
result=$("$program" bench ops "qk norm" --seconds 0.01 --json)
for field in sgemm_flops_per_second copy_bytes_per_second '"operation":"qk norm"' '"direction":"backward"' floor_seconds; do
  grep -qF "$field" <<<"${result//: /:}" || { echo "no $field in: $result"; exit 1; }
done
status=0
message=$("$program" bench ops nonsense 2>&1) || status=$?
[ "$status" = 2 ] && grep -q nonsense <<<"$message" || { echo "status $status, message: $message"; exit 1; }
