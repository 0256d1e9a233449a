#!/usr/bin/env bash
# The whole job on this machine: environment, checks, two ranks a GPU under torchrun, the verdict's exit code.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash launch.sh [--demo] [FLAGS OF generate.py]

Makes every video of a manifest with two ranks on each GPU, and ends with the verdict. Run it again and only what is
missing is made. Everything that can be checked is checked before a GPU is touched.

  bash launch.sh --demo                                   no GPU, no weights: the whole path on a tiny random model
  bash launch.sh --manifest my/all.jsonl --output out     the real run

environment (a flag wins):
  WAN_MANIFEST, WAN_OUTPUT     --manifest and --output (default: manifests/all.jsonl, results)
  WAN_MODEL, WAN_MODEL_DIR     --model and --model-dir: the checkpoint and its files (default: models/Wan2.1-T2V-14B)
  WAN_RANKS_PER_GPU            --ranks-per-gpu (default: 2)
  WAN_NUM_RANKS                ranks on this machine in all (default: as many as its GPUs take, 2 without a GPU)
  WAN_MAX_RESTARTS             restarts of all ranks after a supervisor died (default: 3)
  OMP_NUM_THREADS              CPU threads a rank (default: the cores, shared out)
  PYTHON                       the interpreter to make .venv with (default: python3)

exit codes: 0 every video is there and verified; 1 finished, but some are missing or failed; 2 the command, manifest,
model or machine is not usable; 143 and 130 stopped by SIGTERM and Ctrl-C: the same command goes on.
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=environment.sh
source "$here/environment.sh"

# What a run imports; looked for without starting any of it, so that takes no second.
packages=(torch torchvision diffsynth accelerate numpy decord imageio_ffmpeg cv2 PIL pydantic safetensors tqdm)

demo=false
for argument in "$@"; do
    case $argument in
        --demo) demo=true ;;
        --help | -h)
            usage
            if find_environment "${packages[@]}"; then
                echo
                "$python" "$here/generate.py" --help
            fi
            exit 0
            ;;
    esac
done

make_environment "$here/requirements.txt" "${packages[@]}" || exit 2
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
if $demo; then
    echo "launch: the demo's model has random weights, so its videos are noise: what it shows is the path"
    "$python" -m wan_ddp references make --demo || exit 2
fi

echo "launch: checking the manifest, references, model, machine and output folder"
allowed=$("$python" "$here/generate.py" "$@" --check) || exit $?
num_ranks=${WAN_NUM_RANKS:-$allowed}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(("$(nproc)" > num_ranks ? "$(nproc)" / num_ranks : 1))}
WAN_RUN_ID=$(date -u +%Y%m%dT%H%M%SZ)-$$
export WAN_RUN_ID

# torchrun gets a process group of its own, so that a signal reaches it once, from here; a second Ctrl-C ends it at once,
# and its ranks with it.
stopped_by=0
torchrun_pid=
stop() {  # exit code, signal
    ((stopped_by)) && kill -KILL -- "-$torchrun_pid" 2>/dev/null
    stopped_by=$1
    kill "-$2" "$torchrun_pid" 2>/dev/null || true
}
trap 'stop 143 TERM' TERM HUP
trap 'stop 130 INT' INT

echo "launch: run $WAN_RUN_ID, $num_ranks ranks"
set -m
"$python" -m wan_ddp.agent --nnodes=1 --nproc_per_node="$num_ranks" --rdzv-backend=c10d \
    --rdzv-endpoint=localhost:0 --max-restarts="${WAN_MAX_RESTARTS:-3}" "$here/generate.py" "$@" &
torchrun_pid=$!
set +m
# A trapped signal interrupts wait; only a second wait sees torchrun's own end.
while kill -0 "$torchrun_pid" 2>/dev/null; do
    wait "$torchrun_pid" || true
done
if ((stopped_by)); then
    echo "launch: stopped; the same command goes on where this run stopped" >&2
    exit "$stopped_by"
fi
"$python" "$here/generate.py" "$@" --verdict
