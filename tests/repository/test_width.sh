#!/bin/bash
# No line of the sources, and none of the prose beside them, is longer than 120 characters; tables of Markdown may be.
# A ruler between sections is one line of 119: its title between three dashes and as many as fill the line.
cd "$(dirname "$0")/../.." || exit 1
export LC_ALL=C.UTF-8
files=$(find . -path './build*' -prune -o -path ./out -prune -o -path ./.git -prune -o -type f \
    \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cpp' -o -name '*.py' -o -name '*.md' \) -print)
long=$(grep -nE '^.{121,}' $files | grep -vE '^[^:]*\.md:[0-9]+:[[:space:]]*\|')
[ -z "$long" ] || cut -c1-120 <<<"$long"
rulers=$(grep -nE '^ */\* ?(-{3}|={3})' $files | grep -vE '^[^:]*:[0-9]*:/\* --- .{107}-- \*/$')
[ -z "$rulers" ] || cut -c1-160 <<<"rulers of another form: $rulers"
echo "$(wc -w <<<"$files") files"
[ "$(wc -w <<<"$files")" -gt 10 ] && [ -z "$long$rulers" ]
