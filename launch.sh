#!/usr/bin/env bash
# The whole job on this machine, or its part of one over several: environment, checks, two ranks a GPU under torchrun,
# the verdict's exit code.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash launch.sh [--demo] [--tmux] [FLAGS OF generate.py]

Makes every video of a manifest with two ranks on each GPU, and ends with the verdict. Run it again and only what is
missing is made. Everything that can be checked is checked before a GPU is touched.

  bash launch.sh --demo                                   no GPU, no weights: the whole path on the pocket Wan inside
  bash launch.sh --manifest my/all.jsonl --output out     the real run
  bash launch.sh --tmux --manifest ...                    the same in tmux, which outlives this terminal: docs/tmux.md

environment (a flag wins):
  WAN_MANIFEST, WAN_OUTPUT     --manifest and --output (default: manifests/all.jsonl, results)
  WAN_MODEL, WAN_MODEL_DIR     --model and --model-dir: the checkpoint and its files (default: models/Wan2.1-T2V-14B)
  WAN_RANKS_PER_GPU            --ranks-per-gpu (default: 2)
  WAN_PRESET                   --preset: plain, fused, fp8 or fast (default: fused)
  WAN_NUM_RANKS                ranks on this machine in all (default: as many as its GPUs take, 2 without a GPU)
  WAN_MAX_RESTARTS             restarts of all ranks after a supervisor died (default: 3)
  WAN_TMUX_SOCKET              another tmux server than the user's own: its name, as for tmux -L
  NNODES, NODE_RANK            several nodes, each with its own launch.sh and one output folder: how many, and which of
                               them this is, from 0; all of these in docs/nodes.md
  RDZV_ENDPOINT                HOST[:PORT] of node 0, where the nodes meet (port: 29400)
  WAN_NODES_TIMEOUT            seconds for which the nodes wait for those that have not come (default: 120)
  RDZV_ID                      which launch this is, where several may meet at one endpoint (default: wan_ddp)
  OMP_NUM_THREADS              CPU threads a rank (default: the cores, shared out)
  PYTHON                       the interpreter to make .venv with (default: python3)

exit codes: 0 every video is there and verified; 1 finished, but some are missing or failed; 2 the command, manifest,
model or machine is not usable; 143 and 130 stopped by SIGTERM and Ctrl-C: the same command goes on.
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=environment.sh
source "$here/environment.sh"
# shellcheck source=tmux.sh
source "$here/tmux.sh"

# What a run imports; looked for without starting any of it, so that takes no second.
packages=(torch torchvision diffsynth accelerate numpy decord imageio_ffmpeg cv2 PIL pydantic safetensors tqdm)

demo=false
in_tmux=false
action=
flags=()
for argument in "$@"; do
    case $argument in
        --tmux)
            in_tmux=true
            continue
            ;;
        --demo) demo=true ;;
        --dry-run | --check | --verdict) action=$argument ;;
        --help | -h)
            usage
            if find_environment "${packages[@]}"; then
                echo
                PYTHONPATH=$here "$python" "$here/generate.py" --help
            fi
            exit 0
            ;;
    esac
    flags+=("$argument")
done
set -- "${flags[@]}"

check_count() {  # name, value, smallest allowed
    if ! [[ $2 =~ ^[0-9]{1,4}$ ]] || ((10#$2 < $3)); then
        echo "error: $1 is '$2' in the environment; it must be an integer from $3 to 9999" >&2
        exit 2
    fi
}
check_count WAN_NUM_RANKS "${WAN_NUM_RANKS:-1}" 1
check_count WAN_MAX_RESTARTS "${WAN_MAX_RESTARTS:-3}" 0
check_count WAN_NODES_TIMEOUT "${WAN_NODES_TIMEOUT:-120}" 1

check_nodes() {  # sets $several_nodes
    local host='([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])'
    several_nodes=false
    if [[ -z ${NNODES:-} && -n ${NODE_RANK:-}${RDZV_ENDPOINT:-} ]]; then
        echo "error: NODE_RANK or RDZV_ENDPOINT is set in the environment without NNODES; set NNODES to the number of" \
            "nodes, or unset them for this machine alone" >&2
        exit 2
    fi
    check_count NNODES "${NNODES:-1}" 1
    check_count NODE_RANK "${NODE_RANK:-0}" 0
    ((10#${NNODES:-1} > 1)) || return 0
    if [[ -z ${NODE_RANK:-} ]] || ((10#$NODE_RANK >= 10#$NNODES)); then
        echo "error: NODE_RANK is '${NODE_RANK:-}' in the environment; of $NNODES nodes it must be from 0 to" \
            "$((10#$NNODES - 1)), each node's own" >&2
        exit 2
    fi
    if ! [[ ${RDZV_ENDPOINT:-} =~ ^$host(:([0-9]{1,5}))?$ ]] || ((10#0${BASH_REMATCH[3]} > 65535)); then
        echo "error: RDZV_ENDPOINT is '${RDZV_ENDPOINT:-}' in the environment; it must be HOST or HOST:PORT of the node" \
            "with NODE_RANK 0, the same on all nodes" >&2
        exit 2
    fi
    if ! [[ ${RDZV_ID:-wan_ddp} =~ ^[A-Za-z0-9_.-]{1,200}$ ]]; then
        echo "error: RDZV_ID is '$RDZV_ID' in the environment; it must be letters, digits and _.- only, the same on" \
            "all nodes" >&2
        exit 2
    fi
    several_nodes=true
}
check_nodes

if $in_tmux && $several_nodes; then
    echo "error: --tmux is for one machine; on several nodes start each launch.sh in a tmux of your own" >&2
    exit 2
fi

if $in_tmux; then
    if [[ -n $action ]]; then
        echo "error: --tmux is for a run; leave it out with $action" >&2
        exit 2
    fi
    find_tmux || exit 2
    join_session
fi

# Every step is a process group of its own, so that a signal reaches it once, from here, and a second Ctrl-C ends it all
# at once: torchrun's agent, its ranks and their workers each die with their parents.
stopped_by=0
group=
stop() {  # exit code, signal
    if ((!stopped_by)); then
        stopped_by=$1 stopping=$2
        [[ -z $group ]] || kill "-$2" -- "-$group" 2>/dev/null || true
    elif [[ $2 == INT && -n $group ]]; then
        kill -KILL -- "-$group" 2>/dev/null || true
    fi
}
trap 'stop 143 TERM' TERM HUP
trap 'stop 130 INT' INT

step() {  # command: its exit status; ends this script if a signal came
    local status=0
    end_if_stopped
    set -m
    "$@" &
    group=$!
    set +m
    ((!stopped_by)) || kill "-$stopping" -- "-$group" 2>/dev/null || true
    wait "$group" 2>/dev/null || status=$?
    # A trapped signal interrupts wait; only another wait sees the step's own end.
    while ((stopped_by)) && kill -0 "$group" 2>/dev/null; do
        wait "$group" 2>/dev/null || true
    done
    group=
    end_if_stopped
    return "$status"
}

end_if_stopped() {
    ((stopped_by)) || return 0
    trap '' PIPE  # the terminal may be gone
    echo "launch: stopped; the same command goes on where this run stopped" >&2 2>/dev/null || true
    exit "$stopped_by"
}

if ! find_current_environment "$here/requirements.txt" "${packages[@]}"; then
    step make_environment "$here/requirements.txt" "${packages[@]}" >&2 || exit 2
    find_current_environment "$here/requirements.txt" "${packages[@]}" || exit 2  # a step cannot set $python here
fi
# Without the working directory, where a file may be called torch.py.
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1

if [[ -n $action && $action != --check ]]; then
    exec "$python" "$here/generate.py" "$@"
fi
# A rank's own, which torchrun sets: left over from somewhere else, they would be taken for this machine's.
unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE TORCHELASTIC_RESTART_COUNT
unset TORCHELASTIC_RUN_ID WAN_NODE_RANK WAN_NNODES
if $demo && [[ -z ${WAN_TMUX_RUN:-} ]]; then
    # Into references-demo/ beside this file, where manifests/demo.jsonl looks for them.
    step env -C "$here" "$python" -m wan_ddp references make --demo >&2 || exit 2
fi
if [[ -n $action ]]; then
    exec "$python" "$here/generate.py" "$@"
fi

if [[ -n ${WAN_TMUX_RUN:-} ]]; then  # inside the session: --tmux has checked everything
    read -r WAN_RUN_ID num_ranks <<<"$WAN_TMUX_RUN"
    unset WAN_TMUX_RUN
    trap 'say_ended $?' EXIT
else
    echo "launch: checking the manifest, references, model, machine and output folder"
    exec {answer}<> <(:)  # a pipe, open at both ends
    step env LOCAL_WORLD_SIZE="${WAN_NUM_RANKS:-1}" "$python" "$here/generate.py" "$@" --check >&"$answer" || exit $?
    read -r -t 1 allowed <&"$answer"
    exec {answer}>&-
    num_ranks=${WAN_NUM_RANKS:-$allowed}
    # Not by process: the launches of two containers or pods have the same numbers.
    WAN_RUN_ID=$(date -u +%Y%m%dT%H%M%SZ)-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
fi
if $in_tmux; then
    start_session "$WAN_RUN_ID" "$num_ranks" "$@" && exit
    join_session  # somebody started one at the same moment
    exit 2
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(("$(nproc)" > num_ranks ? "$(nproc)" / num_ranks : 1))}
export WAN_RUN_ID WAN_LAUNCH_PID=$$

agent=("$python" -m wan_ddp.agent --nproc_per_node="$num_ranks" --max-restarts="${WAN_MAX_RESTARTS:-3}")
if $several_nodes; then
    unset WAN_RUN_ID  # the nodes agree on one when they meet: an old report can not be taken for this run's
    export WAN_NODE_RANK=$((10#$NODE_RANK)) WAN_NNODES=$((10#$NNODES))
    echo "launch: node $WAN_NODE_RANK of $WAN_NNODES, $num_ranks ranks here; the nodes meet at $RDZV_ENDPOINT"
    # From one node on, so that the others can meet again without one that is lost.
    agent+=(--nnodes="1:$WAN_NNODES" --rdzv-backend=c10d_nodes --rdzv-endpoint="$RDZV_ENDPOINT"
        --rdzv-id="${RDZV_ID:-wan_ddp}"
        --rdzv-conf="node_rank=$WAN_NODE_RANK,last_call_timeout=${WAN_NODES_TIMEOUT:-120}")
    exec {agreed}<> <(:)  # a pipe, open at both ends
    export WAN_RUN_ID_PIPE=$agreed
else
    echo "launch: run $WAN_RUN_ID, $num_ranks ranks"
    # By the name that every machine has: not every one finds its own.
    agent+=(--nnodes=1 --rdzv-backend=c10d --rdzv-endpoint=localhost:0 --local-addr=localhost)
fi
status=0
step "${agent[@]}" "$here/generate.py" "$@" || status=$?
case $status in
    2 | 130 | 143) exit "$status" ;;  # no verdict: unusable after all, or somebody else stopped the agent
esac
if $several_nodes; then
    if ! read -r -t 1 WAN_RUN_ID <&"$agreed" || [[ -z $WAN_RUN_ID ]]; then
        echo "error: torchrun's agent was killed; the same command goes on where this run stopped" >&2
        exit 1
    fi
    export WAN_RUN_ID
fi
step "$python" "$here/generate.py" "$@" --verdict || exit $?
