#!/bin/bash
# A file system that is really full: half a megabyte in memory, in a mount namespace of its own.
set -u
program=$1/test_train_checkpoint
folder=$(mktemp -d "$1/full-XXXXXX")
trap 'rmdir "$folder"' EXIT
unshare -m true 2> /dev/null || { echo "may not mount"; exit 77; }
unshare -m bash -c 'mount -t tmpfs -o size=512k tmpfs "$2" || exit 77; "$1" fill "$2/run"' sh "$program" "$folder"
