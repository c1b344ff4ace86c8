#!/bin/bash
# Runs a command, as root, in a clone of HEAD on a Debian 12 that was made just now: the smallest that debootstrap makes,
# git and certificates, nothing else. It lies in one folder under TMPDIR (4 GB) and is gone at the end, however that comes.
# Mirror, suites, keys and proxies are those of this machine's apt; deb.debian.org if apt knows no Debian 12.
# usage: tools/fresh-debian.sh COMMAND [ARG ...]; the exit code is the command's, or 125 if there is no such system
set -eu
cd "$(dirname "$0")/.."
log() { echo "fresh-debian.sh: $*" >&2; }
refuse() { log "$*"; exit 125; }
[ $# -gt 0 ] || refuse "usage: tools/fresh-debian.sh COMMAND [ARG ...]"
[ "$(id -u)" = 0 ] || refuse "making a Debian needs root"
command -v apt-get > /dev/null || refuse "this machine has no apt, whose mirror is to be used"
if ! command -v debootstrap > /dev/null; then
    { apt-get -q update && apt-get -q -y --no-install-recommends install debootstrap; } > /dev/null 2>&1 ||
        refuse "apt-get cannot install debootstrap"
fi
unshare --mount --pid --fork true 2> /dev/null || refuse "may not make namespaces (of mounts and processes)"
work=$(mktemp -d) init=
# Mounts and processes belong to namespaces that end with their first process; so nothing is mounted here when rm comes.
clean() {
    trap '' INT TERM HUP
    if [ -n "$init" ]; then
        kill -KILL $(cat "/proc/$init/task/$init/children" 2> /dev/null) "$init" 2> /dev/null || true
        wait "$init" 2> /dev/null || true
    fi
    for try in 1 2 3; do rm -rf --one-file-system "$work" && break || sleep 1; done
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
[ "$(df -kP "$work" | awk 'NR == 2 {print $4}')" -ge 4000000 ] || refuse "less than 4 GB are free for $work (TMPDIR)"
export GIT_CONFIG_GLOBAL=$work/gitconfig # root clones from whoever owns the folder
printf '[safe]\n\tdirectory = *\n' > "$GIT_CONFIG_GLOBAL"
git rev-parse -q --verify HEAD > /dev/null || refuse "not a clone with a commit"
[ -z "$(git status --porcelain)" ] || log "changes that are not committed are left out"

# apt_value NAME: what apt is configured with, or nothing
apt_value() {
    local value=
    eval "$(apt-config shell value "$1")"
    echo "$value"
}
# proxy SCHEME: what the environment says, else apt
proxy() {
    local variable=$1_proxy detect
    [ -z "${!variable-}" ] || { echo "${!variable}"; return; }
    detect=$(apt_value "Acquire::$1::Proxy-Auto-Detect")
    [ -n "$detect" ] || detect=$(apt_value "Acquire::$1::ProxyAutoDetect")
    if [ -n "$detect" ]; then "$detect" || true; else apt_value "Acquire::$1::Proxy"; fi
}
http_proxy=$(proxy http) https_proxy=$(proxy https)
export http_proxy https_proxy
[ -n "$http_proxy" ] || unset http_proxy
[ -n "$https_proxy" ] || unset https_proxy

# Lines of URI, suite, component, file: Debian 12's own indexes that apt has.
indexes() {
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT) $(SOURCESENTRY)' 'Created-By: Packages' |
        sed -nE 's/^Debian (https?:[^ ]* bookworm(-updates|-security)? main [^ ]*):[0-9]+$/\1/p' | sort -u
}
sources=$(indexes)
[ -n "$sources" ] || { apt-get -q update > /dev/null 2>&1 && sources=$(indexes); } || true
read -r mirror _ _ file <<< "$(grep ' bookworm ' <<< "$sources")" || true
if [ -z "$mirror" ]; then
    log "apt knows no Debian 12 here: taking deb.debian.org"
    mirror=http://deb.debian.org/debian file=/dev/null
    sources="$mirror bookworm main"
fi
keys=$(sed -nE 's/^Signed-By: *(\/[^ ]*\.gpg)$/\1/p; s/^deb .*signed-by=(\/[^], ]*\.gpg)[], ].*/\1/p' "$file" | head -n 1)
keys=${keys:-/usr/share/keyrings/debian-archive-keyring.gpg}
[ -f "$keys" ] || refuse "$keys is missing (package debian-archive-keyring)"

# Runs as the first process of the namespaces.
make_debian() {
    local root=$work/root
    mkdir "$root"
    mount --bind "$root" "$root" # so that what runs there may make mounts of its own
    debootstrap --variant=minbase --include=git,ca-certificates --keyring="$keys" bookworm "$root" "$mirror" \
        > "$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; return 1; }
    awk '{print "deb", $1, $2, $3}' <<< "$sources" > "$root/etc/apt/sources.list"
    cp "$keys" "$root/etc/apt/trusted.gpg.d/"
    apt-config dump --empty=false --format '%f "%v";%n' | grep -E '^Acquire::(https?|Check-|Retries|ForceIPv)' |
        grep -viE '::(proxy-?auto-?detect|CAInfo|Ssl[A-Za-z]*) ' > "$root/etc/apt/apt.conf.d/50machine" || true
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    git clone -q --no-hardlinks . "$root/cm3leon"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mkdir -p "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
}
enter_debian() {
    local keep=() name
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [ -z "${!name-}" ] || keep+=("$name=${!name}")
    done
    env -i HOME=/root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${keep[@]}" \
        chroot "$work/root" sh -c 'cd /cm3leon && exec "$@"' sh "$@"
}
started=$SECONDS
log "making a Debian 12 from $mirror"
export work keys mirror sources
export -f make_debian enter_debian
# The first process stays the shell, which collects what is orphaned.
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child bash -c '
    bash -euc make_debian || exit 125
    echo "fresh-debian.sh: made in $SECONDS s" >&2
    enter_debian "$@"
    exit $?' sh "$@" < /dev/null &
init=$!
status=0
wait "$init" || status=$?
init=
log "$1 ended with exit code $status, $((SECONDS - started)) s after the start"
exit "$status"
