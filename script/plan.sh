#!/usr/bin/env bash
# plan.sh --gpus 4 --memory 40: memory and hours of the trainings on these GPUs; needs no GPU, no data, no checkpoint.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch plan.py "$@"
