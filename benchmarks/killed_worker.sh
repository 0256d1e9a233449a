#!/usr/bin/env bash
# A worker killed with SIGKILL in the middle of a video at the true shapes of Wan2.1-T2V-14B, 832x480, 81 frames: how long
# until the next step is done and until the video is there, and whether it is the video of an unbroken run, by SHA-256.
# Needs one 80 GB GPU, 45 GB of disk and 64 GB of memory.
# usage: bash benchmarks/killed_worker.sh WORK_FOLDER [steps of the video, default 8] [flags of generate.py, such as --preset]
set -euo pipefail

mkdir -p "$1"
work=$(cd "$1" && pwd)
steps=${2:-8}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
if [[ ! -d $work/Wan2.1-T2V-14B ]]; then
    time python3 -m wan_ddp checkpoint make --like Wan2.1-T2V-14B "$work/Wan2.1-T2V-14B"
fi
python3 benchmarks/killed_worker.py "$work" --model-dir "$work/Wan2.1-T2V-14B" --num-inference-steps "$steps" "${@:3}"
