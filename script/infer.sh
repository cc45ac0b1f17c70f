#!/usr/bin/env bash
# infer.sh CHECKPOINT [--key value ...]: answers and scores MMAU-mini and MMAR -> CHECKPOINT/infer/<benchmark>/
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
launch infer.py "$@"
