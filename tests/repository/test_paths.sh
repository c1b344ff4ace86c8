#!/bin/bash
# The repository works wherever it is cloned: no file names a folder of the machine that it was written on.
cd "$(dirname "$0")/../.." || exit 1
machine='(^|[^[:alnum:]_.$}-])/(work|root|home|Users|mnt|media|scratch|workspace)/[[:alnum:]_.-]|/tmp/[[:alnum:]_-]+/[[:alnum:]_-]+\.[ch]\b'

if git rev-parse --is-inside-work-tree > /dev/null 2>&1; then
    list() { git ls-files -z --cached --others --exclude-standard; }
else
    list() { find . -path './build*' -prune -o -path ./out -prune -o -type f -print0; }
fi
count=$(list | tr -cd '\0' | wc -c)
found=$(list | xargs -0 grep -InE "$machine" -- 2> /dev/null | cut -c1-200)
absolute=$(list | xargs -0 grep -InE '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]/' -- 2> /dev/null)
[ -z "$found$absolute" ] || printf '%s\n' "$found" "$absolute"
echo "$count files"
[ "$count" -gt 10 ] && [ -z "$found$absolute" ]
