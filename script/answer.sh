#!/usr/bin/env bash
# answer.sh --config FILE [--key value ...]: a model answers samples -> answers_dir; the first step of both builds.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
launch answer.py "$@"
