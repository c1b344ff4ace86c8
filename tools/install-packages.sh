#!/bin/bash
# Installs what building and running needs, from Debian 12's own packages; with --tests also what the tests need.
# As root or with sudo. Does nothing, and needs neither, when all are there.
set -eu

packages="gcc g++ libc6-dev cmake ninja-build pkg-config
    libopenmpi-dev openmpi-bin libopenblas-openmp-dev libhdf5-dev zlib1g-dev
    libjansson-dev libyaml-dev libutf8proc-dev libxxhash-dev
    libjpeg62-turbo-dev libpng-dev libwebp-dev libfreetype-dev libharfbuzz-dev
    fonts-noto-color-emoji unicode-data unicode-cldr-core"
# Network namespaces, pgrep, PCRE2 as an oracle: what tests call and a small system may lack.
tests="libcmocka-dev libpcre2-dev iproute2 procps python3"
[ "${1-}" = --tests ] && packages="$packages $tests"
# Fuzzing (cmake -DCM3_FUZZ=ON) also wants clang and libomp-dev.
[ "${1-}" = --fuzz ] && packages="$packages $tests clang libclang-rt-14-dev libomp-dev"

missing=
for package in $packages; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi
if [ -n "$as_root" ] && ! command -v sudo > /dev/null; then
    echo "install-packages.sh: run as root, or install sudo; missing:$missing" >&2
    exit 1
fi
echo "installing:$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{
    $as_root apt-get -q update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing
} > "$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "install-packages.sh: apt-get failed (its last lines are above)" >&2
    exit 1
}
