#!/bin/bash
# Runs a command under mpirun across two hosts that do not exist: two network namespaces with host names of their own, joined
# by a virtual cable. usage: two_hosts.sh RANKS_PER_HOST COMMAND [ARG ...]; exit code 77 where it may not make them.
set -u
ranks=$1
shift
tag=cm3$$
work=$(mktemp -d)
clean() {
    ip netns del "${tag}a" 2> "$work/null"
    ip netns del "${tag}b" 2> "$work/null"
    rm -rf "$work"
}
trap clean EXIT
skip() {
    echo "two_hosts: $1" >&2
    exit 77
}
command -v ip > "$work/null" || skip "needs the program ip"
ip netns add "${tag}a" 2> "$work/null" || skip "may not make network namespaces"
ip netns add "${tag}b" 2> "$work/null" || skip "may not make network namespaces"
ip link add "${tag}x" netns "${tag}a" type veth peer name "${tag}y" netns "${tag}b" 2> "$work/null" || skip "may not make virtual cables"
ip -n "${tag}a" addr add 10.77.0.1/24 dev "${tag}x"
ip -n "${tag}b" addr add 10.77.0.2/24 dev "${tag}y"
ip -n "${tag}a" link set lo up
ip -n "${tag}b" link set lo up
ip -n "${tag}a" link set "${tag}x" up
ip -n "${tag}b" link set "${tag}y" up
# What mpirun starts instead of ssh: the remote command, inside the other host.
cat > "$work/agent" << AGENT
#!/bin/bash
case "\$1" in 10.77.0.1) host=${tag}a ;; 10.77.0.2) host=${tag}b ;; *) exit 1 ;; esac
shift
exec ip netns exec \$host unshare -u bash -c "hostname \$host; \$*"
AGENT
chmod +x "$work/agent"
ip netns exec "${tag}a" unshare -u bash -c "hostname ${tag}a; exec \"\$@\"" sh \
    mpirun --bind-to none -n $((2 * ranks)) --host "10.77.0.1:$ranks,10.77.0.2:$ranks" --mca plm_rsh_agent "$work/agent" \
    --mca btl tcp,vader,self --mca pml ob1 --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
    -x CM3_TEST_RANKS -x CM3_TEST_RANKS_PER_HOST -x OMP_NUM_THREADS "$@"
