#!/usr/bin/env bash
# export.sh RUN OUTPUT [--push OWNER/NAME]: a run's model as a folder with a model card that transformers and vLLM load.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch export.py "$@"
