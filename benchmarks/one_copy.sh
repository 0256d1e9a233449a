#!/usr/bin/env bash
# One copy of the weights for both ranks of a GPU beside a copy a rank, by the runs of two_ranks.sh one after the other, the
# weights in the page cache: memory, and how long until each rank can step. Needs what two_ranks.sh needs.
# usage: bash benchmarks/one_copy.sh WORK_FOLDER [steps of a video, default 1] [flags of generate.py, such as --preset]
set -euo pipefail

work=$1
here=$(dirname "${BASH_SOURCE[0]}")
bash "$here/two_ranks.sh" "$work" "${2:-1}" "${@:3}"
mv "$work/summary.json" "$work/one_copy.json"
bash "$here/two_ranks.sh" "$work" "${2:-1}" --own-weights "${@:3}"
mv "$work/summary.json" "$work/a_copy_each.json"
python3 "$here/two_ranks.py" compare "$work/a_copy_each.json" "$work/one_copy.json"
