#!/usr/bin/env bash
# Two ranks on each GPU of this machine: the right GPU for each, memory, scaling over GPUs, balanced shards against a
# category a GPU, and a worker killed and a GPU's ranks stopped in the middle. At the true shapes of Wan2.1-T2V-14B, with
# random weights and few steps. Written for four GPUs, runs on any number; without one, eight ranks of the tiny model on
# the CPU. Needs 80 GB a GPU, 45 GB of disk, 64 GB of memory, about ten minutes.
# usage: bash benchmarks/eight_ranks.sh WORK_FOLDER [flags of generate.py, such as --preset plain]
# PARTS="gpus scaling faults" in the environment: some of these alone.
set -euo pipefail

mkdir -p "$1"
work=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
if [[ -n $(nvidia-smi -L 2>/dev/null) && ! -d $work/Wan2.1-T2V-14B ]]; then
    time python3 -m wan_ddp checkpoint make --like Wan2.1-T2V-14B "$work/Wan2.1-T2V-14B"
fi
python3 benchmarks/eight_ranks.py "$work" "${@:2}"
