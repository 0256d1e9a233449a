#!/usr/bin/env bash
# One copy of the weights for both ranks of a GPU beside a copy a rank, by the runs of two_ranks.sh one after the other, the
# weights in the page cache: memory, and how long until each rank can step. Needs what two_ranks.sh needs.
# usage: bash benchmarks/one_copy.sh WORK_FOLDER [steps of a video, default 1] [flags of generate.py, such as --preset]
set -euo pipefail

mkdir -p "$1"
work=$(cd "$1" && pwd)
steps=${2:-1}
flags=("${@:3}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
bash benchmarks/two_ranks.sh "$work" "$steps" "${flags[@]}"
mv "$work/summary.json" "$work/shared.json"
bash benchmarks/two_ranks.sh "$work" "$steps" --own-weights "${flags[@]}"
mv "$work/summary.json" "$work/own.json"
python3 benchmarks/two_ranks.py compare "$work/own.json" "$work/shared.json"
