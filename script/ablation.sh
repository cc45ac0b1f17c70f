#!/usr/bin/env bash
# The ablation on the embedded world -> asset/ablation.{md,json,png}. Trailing --key value pairs override the YAML.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NPROC_PER_NODE=1 launch ablation.py --config "$REPO/configs/demo/ablation.yaml" "$@"
