#!/usr/bin/env bash
# answer.sh --config FILE [--key value ...]: a model answers samples -> its answers folder; what the builds do first.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
launch answer.py "$@"
