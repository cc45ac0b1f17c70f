#!/usr/bin/env bash
# Published recipes on the embedded world -> asset/recipes.{md,json,png}. Trailing --key value pairs override the YAML.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NPROC_PER_NODE=1 launch recipes.py --config "$REPO/configs/demo/recipes.yaml" "$@"
