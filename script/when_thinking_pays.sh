#!/usr/bin/env bash
# When does thinking pay? -> asset/when_thinking_pays.{md,json,png}. Trailing --key value pairs override the YAML.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NPROC_PER_NODE=1 launch when_thinking_pays.py --config "$REPO/configs/demo/when_thinking_pays.yaml" "$@"
