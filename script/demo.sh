#!/usr/bin/env bash
# The embedded default end to end on the CPU: base model -> answers -> guided thought dropout -> LoRA SFT -> answers ->
# curriculum -> GRPO -> inference -> scores -> runs/demo/report.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
demo="$REPO/runs/demo"
stages="$REPO/configs/demo"
export NPROC_PER_NODE=1
infer() { launch infer.py "$1" --config "$stages/infer.yaml" --device cpu "${@:2}"; }

launch demo.py --out "$demo"
infer "$demo/base"
bash "$REPO/script/build_sft.sh" --config "$stages/build_sft.yaml" --device cpu
launch sft.py --config "$stages/sft_lora.yaml" --device cpu
infer "$demo/sft_lora/merged"
bash "$REPO/script/build_clst.sh" --config "$stages/build_clst.yaml" --device cpu
launch grpo.py --config "$stages/clst.yaml" --device cpu
infer "$demo/grpo"
infer "$demo/grpo" --thought empty
infer "$demo/grpo" --audio silence
infer "$demo/grpo" --audio other
launch report.py "$demo"
