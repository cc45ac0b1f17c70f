#!/usr/bin/env bash
# The embedded default end to end on the CPU: base model -> answers -> guided thought dropout -> LoRA SFT -> merge ->
# inference -> scores -> runs/demo/report.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
demo="$REPO/runs/demo"
export NPROC_PER_NODE=1
infer() { launch infer.py "$1" --config "$REPO/configs/demo/infer.yaml" --device cpu "${@:2}"; }

launch demo.py --out "$demo"
infer "$demo/base"
bash "$REPO/script/build_sft.sh" --config "$REPO/configs/demo/build_sft.yaml" --device cpu
launch sft.py --config "$REPO/configs/demo/sft_lora.yaml" --device cpu
infer "$demo/sft_lora/merged"
infer "$demo/sft_lora/merged" --audio silence
infer "$demo/sft_lora/merged" --audio other
launch report.py "$demo"
