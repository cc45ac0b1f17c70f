"""What `script/serve_vllm.sh` adds to the workers of a vLLM server: which model it serves, and weights from a folder.

vLLM loads it by its name (`--worker-extension-cls`), in the server's own processes.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

TEXT_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
    "tie_word_embeddings",
)  # fmt: skip
AUDIO_SIZES = (
    "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins", "output_dim", "n_window",
)  # fmt: skip


class PolicyWorker:
    """Methods that a GRPO run calls by `/collective_rpc`; vLLM mixes them into its worker."""

    def describe_policy(self) -> dict:
        """The served model: its folder or Hub id, precision, device and sizes."""
        config = self.model_config
        return {
            "model": config.model,
            "device": self.device.type,
            "max_model_len": config.max_model_len,
            "logprobs_mode": str(config.logprobs_mode),
            "dtype": str(config.dtype).removeprefix("torch."),
            **thinker_sizes(getattr(config.hf_config, "thinker_config", config.hf_config)),
        }

    def load_policy(self, folder: str, names: list[str]) -> list[str]:
        """Take over the weights of these safetensors files; returns those that cannot be seen here, then loads nothing."""
        files = [Path(folder, name) for name in names]
        if missing := [str(file) for file in files if not file.is_file()]:
            return missing
        self.reload_weights(weights_iterator=tensors_of(files))
        return []


def thinker_sizes(config) -> dict[str, int | bool]:
    """The sizes that two models have in common if the weights of one fit the other."""
    text, audio = config.text_config, config.audio_config
    sizes = {name: getattr(text, name) for name in TEXT_SIZES}
    return sizes | {f"audio {name}": getattr(audio, name) for name in AUDIO_SIZES}


def tensors_of(files: list[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of safetensors files, one at a time."""
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no mapping
                yield name, tensors.get_tensor(name)
