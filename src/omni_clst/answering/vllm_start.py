"""Starts vLLM with a checkpoint that is to answer."""

import torch

from ..data.encoder import OmniEncoder
from ..errors import InputError
from ..model.checkpoints import Checkpoint, load_thinker
from ..model.sampling import Sampling
from ..model.vllm_engine import VLLMEngine, VLLMSettings
from ..processes import process_count
from .config import AnsweringConfig


def require_split(config: AnsweringConfig, checkpoint: Checkpoint) -> None:
    """Raise `InputError` where a model is to be split over GPUs in a way that vLLM cannot be started here."""
    processes = process_count()
    if config.tensor_parallel_size > 1 and processes > 1:
        raise InputError(
            f"tensor_parallel_size {config.tensor_parallel_size} in a launch of {processes} processes: set "
            "NPROC_PER_NODE=1, vLLM starts the others; or leave it at 1, and every process answers its share"
        )
    if config.tensor_parallel_size > 1 and checkpoint.is_adapter:
        raise InputError(
            f"{checkpoint.source}: an adapter cannot be split over {config.tensor_parallel_size} GPUs; give the merged "
            "model, or tensor_parallel_size 1"
        )


def start_vllm(
    config: AnsweringConfig,
    checkpoint: Checkpoint,
    encoder: OmniEncoder,
    sampling: Sampling,
    dtype: torch.dtype,
    device: torch.device,
    clips_per_prompt: int,
) -> VLLMEngine:
    """vLLM with the checkpoint's weights; an adapter is merged into its base on the way."""
    settings = VLLMSettings(
        dtype=str(dtype).removeprefix("torch."),
        gpu_memory_utilization=config.gpu_memory_utilization,
        tensor_parallel_size=config.tensor_parallel_size,
        suppressed=encoder.suppressed_ids,
        clips_per_prompt=clips_per_prompt,
    )
    engine = VLLMEngine(checkpoint.full_model, encoder, sampling, settings, device)
    if checkpoint.is_adapter:  # vLLM's own adapters leave the audio tower out
        engine.load(load_thinker(checkpoint, dtype, "cpu").state_dict().items())
    return engine
