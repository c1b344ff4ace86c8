#!/bin/bash
# The program from outside: what it prints, where, and with which exit code.
program=$1/cm3leon
faults=0

# expect CODE STREAM TEXT ARGUMENT...: the exit code, and TEXT somewhere on that stream
expect() {
    local code=$1 stream=$2 text=$3 out err found
    shift 3
    out=$("$program" "$@" 2> err.txt)
    found=$?
    err=$(cat err.txt)
    [ "$found" = "$code" ] || { echo "cm3leon $*: exit code $found, expected $code"; faults=$((faults + 1)); }
    case "${!stream}" in *"$text"*) ;; *) echo "cm3leon $*: no \"$text\" on $stream: ${!stream}"; faults=$((faults + 1)) ;; esac
}

folder=$(mktemp -d) && cd "$folder" || exit 1
trap 'rm -rf "$folder"' EXIT

expect 2 err "cm3leon: error: a command is missing"
expect 0 out "pretrain" --help
expect 0 out "cm3leon 0." --version
expect 0 out "dense bf16" help recipe
expect 0 out "usage: cm3leon plan" help plan
expect 2 err 'cm3leon: error: there is no command "pretain"; did you mean pretrain?' pretain
expect 2 err 'cm3leon: error: there is no command "qqqqqqqqq"; see cm3leon --help' qqqqqqqqq

for command in $("$program" --help | sed -n 's/^  \([a-z-]*\) .*(not in this version)$/\1/p'); do
    expect 1 err "is not in this version" "$command"
    [ "$(wc -l < err.txt)" = 1 ] || { echo "cm3leon $command: more than one line"; faults=$((faults + 1)); }
done
for command in $("$program" --help | grep -v 'not in this version' | sed -n 's/^  \([a-z-]*\) .*/\1/p'); do
    expect 0 out "usage: cm3leon $command" "$command" --help
    expect 2 err "cm3leon: error: $command: there is no option --no-such-thing" "$command" --no-such-thing
done

"$program" --help > /dev/full 2> err.txt
[ $? = 1 ] && grep -q "standard output: cannot be written: No space left on device" err.txt ||
    { echo "a full disk behind stdout is not told"; faults=$((faults + 1)); }

exit $((faults > 0))
