#!/usr/bin/env bash
# Two ranks on one GPU at the true shapes of Wan2.1-T2V-14B, 832x480, 81 frames: load time, seconds a forward, peak
# memory of both together, and the time of each part of a video. Needs one 80 GB GPU, 45 GB of disk and 64 GB of memory;
# of several, CUDA_VISIBLE_DEVICES names one by its number.
# usage: bash benchmarks/two_ranks.sh WORK_FOLDER [steps of a video, default 4] [flags of generate.py, such as --preset]
set -euo pipefail

mkdir -p "$1"
work=$(cd "$1" && pwd)
steps=${2:-4}
flags=("${@:3}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
rm -rf "$work/output"
if [[ ! -d $work/Wan2.1-T2V-14B ]]; then
    time python3 -m wan_ddp checkpoint make --like Wan2.1-T2V-14B "$work/Wan2.1-T2V-14B"
fi
python3 benchmarks/two_ranks.py prepare "$work" "$steps"
nvidia-smi --id="${CUDA_VISIBLE_DEVICES:-0}" --query-gpu=memory.used,utilization.gpu --format=csv,noheader,nounits --loop-ms=200 >"$work/gpu.csv" &
sampler=$!
free -m --seconds 1 >"$work/memory.txt" 2>/dev/null &
sampler="$sampler $!"
trap 'kill $sampler' EXIT
code=0
date +%s.%N >"$work/launched"
time bash launch.sh "${flags[@]}" --manifest "$work/manifest.jsonl" --output "$work/output" --model-dir "$work/Wan2.1-T2V-14B" || code=$?
python3 benchmarks/two_ranks.py summarise "$work"
exit "$code"
