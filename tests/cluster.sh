#!/usr/bin/env bash
# The tests of cluster/*.sbatch on a real Slurm: tests/cluster.sh, as root, on Debian. Arguments go to pytest.
# Slurm is installed where it is missing. A private one of twelve nodes runs in namespaces of its own (network, processes,
# mounts, host names), so it meets nothing of this machine's, and all of it is gone when this script ends, however it does.
set -euo pipefail

nodes=({1..12})
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"
# shellcheck source=environment.sh
source ./environment.sh
if ((EUID)); then
    echo "error: tests/cluster.sh must be root, for Slurm's daemons and for namespaces" >&2
    exit 2
fi

install_slurm() {
    local missing=() command policy=/usr/sbin/policy-rc.d
    for command in slurmctld slurmd sbatch:slurm-client munged:munge ip:iproute2 unshare:util-linux; do
        command -v "${command%%:*}" >/dev/null || missing+=("${command##*:}")
    done
    ((${#missing[@]})) || return 0
    echo "cluster: installing ${missing[*]}"
    apt-get update -q
    # Debian would start the daemons, on this machine's own configuration.
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        # shellcheck disable=SC2064  # as it is now
        trap "rm -f $policy" EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
    [[ -z $(trap -p EXIT) ]] || { rm -f "$policy" && trap - EXIT; }
}

configure() {  # writes what the daemons read into $folder
    local node
    head -c 1024 /dev/urandom >"$folder/munge.key"
    chmod 400 "$folder/munge.key"
    printf '127.0.0.1 localhost\n10.0.0.100 control\n' >"$folder/hosts"
    for node in "${nodes[@]}"; do
        echo "10.0.0.$node node$node" >>"$folder/hosts"
    done
    # No cgroups and no accounting, which a container or a machine without systemd may not have: processes are found by
    # their parents (linuxproc; by groups they would not be, as launch.sh makes some). The nodes claim to have CPUs, memory
    # and GPUs enough for the scripts as they are. A job put back in the queue starts again when its credential has
    # expired: 120 s by default.
    cat >"$folder/slurm.conf" <<TEXT
ClusterName=wan
SlurmctldHost=control(10.0.0.100)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=1
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core,CR_LLN
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=30
InactiveLimit=0
TEXT
    for node in "${nodes[@]}"; do
        echo "NodeName=node$node NodeAddr=10.0.0.$node CPUs=64 RealMemory=1000000 Gres=gpu:8" \
            >>"$folder/slurm.conf"
    done
    cat >>"$folder/slurm.conf" <<'TEXT'
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
TEXT
    touch "$folder"/gpu{0..7}  # what the device files of GPUs would be
    echo "Name=gpu File=$folder/gpu[0-7]" >"$folder/gres.conf"
    echo CgroupPlugin=cgroup/v1 >"$folder/cgroup.conf"  # which asks nothing of the machine while no cgroups are used
    mkdir "$folder/state" "${nodes[@]/#/$folder/spool-node}"
}

start_node() {  # number: a host of its own as far as its processes can see
    ip netns add "node$1"
    ip link add "to-node$1" master switch up type veth peer eth0 netns "node$1"
    ip -n "node$1" address add "10.0.0.$1/24" dev eth0
    ip -n "node$1" link set eth0 up
    ip -n "node$1" link set lo up
    # shellcheck disable=SC2016  # for the shell in there, which is the first of its processes and buries the others
    nsenter --net="/run/netns/node$1" unshare --uts --pid --mount --fork --kill-child --mount-proc \
        bash -c 'hostname "$0"; slurmd -D & wait' "node$1" >"$folder/node$1.txt" 2>&1 &
}

run_cases() {
    mount -t tmpfs tmpfs /run  # where ip keeps the names of network namespaces
    mount -t tmpfs tmpfs /sys/fs/cgroup  # so that slurmd finds no cgroups to manage, whichever there are

    hostname control
    ip link set lo up
    ip link add switch type bridge
    ip address add 10.0.0.100/24 dev switch
    ip link set switch up
    mount --bind "$folder/hosts" /etc/hosts
    export SLURM_CONF=$folder/slurm.conf
    munged --force --key-file "$folder/munge.key" --socket "$folder/munge.socket" --pid-file "$folder/munged.pid" \
        --seed-file "$folder/munge.seed" --log-file "$folder/munged.log"
    slurmctld -D >"$folder/slurmctld.txt" 2>&1 &
    for node in "${nodes[@]}"; do
        start_node "$node"
    done
    export WAN_MODEL_DIR=$folder/model PYTHONPATH=$here
    "$python" -c 'import sys; from pathlib import Path; from wan_ddp.wan.random_checkpoint import make_checkpoint as make
make(Path(sys.argv[1]), "tiny")' "$WAN_MODEL_DIR"
    local tries=0
    until [[ $(sinfo --noheader --format=%D --states=idle 2>/dev/null) == "${#nodes[@]}" ]]; do
        if ((++tries > 100)); then
            echo "error: Slurm does not start:" >&2
            tail -n 5 "$folder"/*.log "$folder"/*.txt >&2
            exit 1
        fi
        sleep 0.2
    done
    # More cases at a time than cores: they wait for Slurm more than they compute. Which node runs what is Slurm's business.
    "$python" -m pytest tests/cluster -n 7 --dist worksteal -p no:cacheprovider --timeout=900 --basetemp="$folder/cases" "$@"
}

packages=(torch diffsynth numpy imageio_ffmpeg pydantic pytest pytest_timeout xdist)
if [[ -n ${WAN_TEST_SLURM:-} ]]; then  # inside the namespaces
    folder=$WAN_TEST_SLURM
    find_environment "${packages[@]}"
    run_cases "$@"
    exit
fi

make_environment requirements-dev.txt "${packages[@]}"
install_slurm
folder=$(mktemp -d /tmp/wan-slurm.XXXXXX)
configure
WAN_TEST_SLURM=$folder setpriv --pdeathsig KILL \
    unshare --net --uts --mount --pid --fork --kill-child --mount-proc bash "${BASH_SOURCE[0]}" "$@" &
inside=$!
# unshare itself waits for its child whatever it is told; with it the first process in there dies, and so all of them.
trap 'kill -KILL "$inside" 2>/dev/null || true; rm -rf "$folder" || { sleep 1 && rm -rf "$folder"; }' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
wait "$inside"
