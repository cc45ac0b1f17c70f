#!/usr/bin/env bash
# A table of your own, AVQA, AudSem, AudioMCQ and benchmarks under data/ -> samples in the project's format, an audit of every
# clip, and data/source.jsonl, the input of both builds. With a source's name first (avqa --input ... --output ...) that alone.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch prepare.py "$@"
