#!/usr/bin/env bash
# Stands in for launch.sh where the scripts of cluster/ are under test: says how it was called, and ends as $CODES says,
# a word for each node.
rank=${NODE_RANK:-$SLURM_ARRAY_TASK_ID}
printf '%s\n' "$@" >"$MARKS/arguments$rank"
hostname >"$MARKS/host$rank"
env | grep -E '^(NNODES|NODE_RANK|RDZV_.*|SITE|PWD)=' >"$MARKS/environ$rank"
read -ra codes <<<"${CODES:-0 0}"
code=${codes[${NODE_RANK:-0}]}
if [[ $code != wait ]]; then
    exit "$code"
fi
trap 'echo TERM >>"$MARKS/told$rank"; exit 143' TERM
trap 'echo INT >>"$MARKS/told$rank"; exit 130' INT
echo "waits"
touch "$MARKS/waiting$rank"
while true; do
    sleep 0.1
done
