#!/usr/bin/env bash
# ask.sh CHECKPOINT CLIP "question" [choice ...] [--key value ...]: the model's thought and answer; with the checkpoint alone
# questions are read line by line, as CLIP | QUESTION | CHOICE | ..., and the model stays loaded.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch ask.py "$@"
