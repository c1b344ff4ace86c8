# Shared by the functional tests: a scratch folder, the program, mpirun as any user, and small assertions.
set -u
source "$(dirname "${BASH_SOURCE[0]}")/../mpi.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cm3leon=$1/cm3leon
tiny=$here/tiny.yaml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# quietly COMMAND...: shows the output only if it fails
quietly() {
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$*"; }
}

# ranks N COMMAND...
ranks() {
  local n=$1
  shift
  if [ "$n" = 1 ]; then "$@"; else mpirun -n "$n" --bind-to none "$@"; fi
}

digest() { "$cm3leon" inspect "$1" --digest --moments || fail "no digest of $1"; }

# Tokenizers and tokens of the tiny recipe, once; copies start from there.
prepare() {
  quietly "$cm3leon" run "$tiny" out="$work/base" pretrain.train.steps=1
  rm -rf "$work/base/pretrain"
}
copy() { cp -r "$work/base" "$work/$1"; }
