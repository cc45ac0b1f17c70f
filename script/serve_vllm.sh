#!/usr/bin/env bash
# serve_vllm.sh CHECKPOINT [--key value ...]: vLLM's own server for the rollouts of GRPO runs (CLST.sh --vllm_server http://HOST:PORT).
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch serve_vllm.py "$@"
