"""A tiny random model of the whole released class: thinker, talker and token2wav."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_world import make_base
from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

SPEAKER = {"Chelsie": {"bos_token": 1, "cond": torch.zeros(1, 4), "ref_mel": torch.zeros(1, 4, 8)}}


def make_speaking_base(folder: Path, hidden: int = 128) -> Path:
    """A base of `make_base` with the other two parts, in files beside it."""
    make_base(folder, hidden=hidden, gain=1.2)  # vLLM's attention on a CPU takes heads of 32 and more
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["enable_audio_output"] = True
    config["talker_config"] |= {
        "vocab_size": 8448, "embedding_size": hidden, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "layer_types": ["full_attention"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    config["token2wav_config"] = {
        "dit_config": {
            "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16, "emb_dim": 16,
            "num_embeds": 20, "mel_dim": 8, "enc_emb_dim": 8, "enc_dim": 8, "enc_channels": [8, 8, 8, 8, 24],
            "enc_attention_channels": 4, "enc_se_channels": 4, "look_ahead_layers": [0], "look_backward_layers": [0],
        },
        "bigvgan_config": {"mel_dim": 8, "upsample_initial_channel": 64},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    model = Qwen2_5OmniForConditionalGeneration(Qwen2_5OmniConfig.from_pretrained(folder))
    speech = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("thinker.")}
    save_file(speech, folder / "speech.safetensors", metadata={"format": "pt"})
    torch.save(SPEAKER, folder / "spk_dict.pt")
    return folder
