#!/usr/bin/env bash
# infer.sh CHECKPOINT [--key value ...]: answers and scores the benchmarks under data/ -> CHECKPOINT/infer/<benchmark>/
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[[ $# -gt 0 && $1 != --* ]] || fail "no checkpoint given: infer.sh CHECKPOINT [--key value ...]"
launch infer.py "$1" --config "$REPO/configs/infer.yaml" "${@:2}"
