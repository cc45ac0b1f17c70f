#!/usr/bin/env bash
# sbatch [OPTIONS] script/slurm.sh CLST.sh [--key value ...]: runs a launcher of script/ on every node of the job, and puts the
# job back into the queue when it was preempted. Submit it from the repository's folder. docs/clusters.md has examples.
#SBATCH --job-name=omni-clst
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

preempted=75 # exit status of a run that has saved a checkpoint and goes on when it is started again

[[ $# -gt 0 ]] || { echo "error: no launcher given: sbatch script/slurm.sh CLST.sh [--key value ...]" >&2; exit 2; }
# Slurm runs a copy of this file, so that its own path does not lead to the repository.
launcher=${SLURM_SUBMIT_DIR:-$PWD}/script/$1
[[ -f $launcher ]] || { echo "error: no $launcher: submit from the repository's folder" >&2; exit 2; }
shift

nodes=${SLURM_JOB_NUM_NODES:-1}
if [[ $nodes -gt 1 ]]; then
    hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
    MASTER_ADDR=${hosts%%$'\n'*} # the first; `head` would end scontrol by SIGPIPE
    MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)) # two jobs may share a node
    export MASTER_ADDR MASTER_PORT
fi
export NNODES=$nodes

# A node that ends a moment before the others must not end them; a crashed one ends the job after five minutes.
srun --kill-on-bad-exit=0 --wait=300 bash -c 'NODE_RANK=$SLURM_NODEID exec bash "$@"' bash "$launcher" "$@" &
run=$! noticed=1 status=0
trap 'noticed=1; kill -s USR1 "$run" 2>/dev/null || true' USR1 TERM # srun passes USR1 on to every node
while [[ $noticed == 1 ]]; do # a signal ends `wait` too
    noticed=0 status=0
    wait "$run" || status=$?
done
if [[ $status == "$preempted" ]]; then
    echo "preempted: back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
