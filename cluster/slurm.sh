# shellcheck shell=bash
# What slurm.sbatch and slurm-array.sbatch share, sourced by them: the run as a step of the job, and how the job ends.

# The site's own, which may use variables that are not set: before that is an error.
# shellcheck source=/dev/null
[[ -z ${WAN_SETUP:-} ]] || source "$WAN_SETUP" || exit 2
set -euo pipefail

# One task of an array has the array's own number as its SLURM_JOB_ID; that would mean all of them here.
job=$SLURM_JOB_ID
[[ -z ${SLURM_ARRAY_JOB_ID:-} ]] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

run_as_step() {  # command: starts it once on each of the job's nodes, and ends the job with its exit code
    local status=0 step
    # Slurm warns of the time limit by a signal to this shell alone (B:), and of a preemption by one to the step alone.
    # Not with kill: srun would take SIGTERM for a reason to kill the step at once.
    trap 'pass_on TERM' TERM
    trap 'pass_on INT' INT
    # The step gets all that the job has on each node, and a node whose part has ended does not end the others.
    srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=0 \
        --wait=0 "$@" &
    step=$!
    wait "$step" || status=$?
    while kill -0 "$step" 2>/dev/null; do  # a signal interrupted wait
        status=0
        wait "$step" || status=$?
    done
    if ((status == 143)) && is_running; then
        echo "slurm: stopped by SIGTERM, not cancelled: job $job goes back into the queue"
        scontrol requeue "$job" || true
    fi
    exit "$status"
}

pass_on() {  # signal: to launch.sh on every node
    # A job that Slurm is ending cannot be told: Slurm itself has told its step then.
    scancel --signal="$1" "$job" 2>/dev/null || true
}

is_running() {  # not while Slurm ends it: because it was cancelled, or because it is in the queue again already
    [[ $(squeue --noheader --states=all --format=%T --job "$job") == RUNNING ]]
}
