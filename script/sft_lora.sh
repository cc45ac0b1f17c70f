#!/usr/bin/env bash
# LoRA SFT, then merge -> runs/sft_lora/merged. Trailing --key value pairs override the YAML.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
launch sft.py --config "$REPO/configs/sft_lora.yaml" "$@"
