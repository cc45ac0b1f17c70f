"""Measure the preprocessing of a batch of clips, with this project's code and with the stock one, in one run.

    python bench/preprocess.py --clips 8 --seconds 10 --sampling_rate 44100 --repeats 7

Synthesises the clips as wav files in a temporary folder, asks a question about each, checks that both sides give the
same numbers, and prints the median of each step and their ratio. Stock is what the released Qwen2.5-Omni comes with:
qwen-omni-utils (librosa), and its processor with the feature extractor at its released settings, which pads every clip
to 300 s. The tokenizer is the embedded world's on both sides, so that nothing is downloaded.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import soundfile
import torch
from qwen_omni_utils import process_audio_info
from transformers import Qwen2_5OmniProcessor, WhisperFeatureExtractor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from omni_clst.data.audio import load_audio  # noqa: E402
from omni_clst.data.encoder import OmniEncoder, collate  # noqa: E402
from omni_clst.data.mel import log_mel  # noqa: E402
from omni_clst.data.prompts import make_prompt  # noqa: E402
from omni_clst.data.samples import AudioQASample  # noqa: E402
from omni_clst.demo.pretrain import tokenizer_corpus  # noqa: E402
from omni_clst.demo.tiny import make_processor  # noqa: E402

PACKAGES = ("torch", "transformers", "numpy", "librosa", "soundfile", "soxr", "qwen-omni-utils")


@dataclass(frozen=True)
class Step:
    """One step of preprocessing in both ways; the calls take no arguments, so that only the work is timed."""

    name: str
    ours: Callable[[], object]
    stock: Callable[[], object]


def released_feature_extractor() -> WhisperFeatureExtractor:
    """The feature extractor with the settings of the released Qwen2.5-Omni processor."""
    return WhisperFeatureExtractor(feature_size=128, chunk_length=300, n_fft=400, hop_length=160, sampling_rate=16000)


def released_processor() -> Qwen2_5OmniProcessor:
    """A processor with the released feature extractor and the embedded world's tokenizer."""
    processor = make_processor(tokenizer_corpus())
    processor.feature_extractor = released_feature_extractor()
    return processor


def write_clips(folder: Path, clips: int, seconds: float, sampling_rate: int) -> list[Path]:
    """Write wav files (16 bit, mono) of coloured noise, a different one each."""
    paths = []
    for index in range(clips):
        noise = np.random.default_rng(index).normal(0, 1, round(seconds * sampling_rate))
        smooth = np.convolve(noise, np.ones(8 + index) / (8 + index), mode="same")
        paths.append(folder / f"clip-{index}.wav")
        soundfile.write(paths[-1], 0.3 * smooth / np.abs(smooth).max(), sampling_rate, subtype="PCM_16")
    return paths


def load_stock(paths: list[Path]) -> list[np.ndarray]:
    """The clips as qwen-omni-utils loads them for the stock processor."""
    content = [{"type": "audio", "audio": str(path)} for path in paths]
    return process_audio_info([{"role": "user", "content": content}], use_audio_in_video=False)


def features_stock(extractor: WhisperFeatureExtractor, waveforms: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Features and mask as `Qwen2_5OmniProcessor` computes them."""
    made = extractor(waveforms, sampling_rate=16000, padding="max_length", return_attention_mask=True, return_tensors="np")
    return made["input_features"], made["attention_mask"]


def ask(path: Path) -> AudioQASample:
    """A question about a clip."""
    return AudioQASample(path.stem, str(path), "which sound is heard first ?", ("hiss", "drum", "click", "beep"), "drum")


def batch_ours(encoder: OmniEncoder, samples: list[AudioQASample], waveforms: list[np.ndarray]) -> dict:
    """Model inputs as this project makes them: each sample alone, then padded to one batch."""
    examples = [encoder.encode_waveform(*pair) for pair in zip(samples, waveforms, strict=True)]
    return collate(examples, encoder.tokenizer.pad_token_id, "left")


def batch_stock(encoder: OmniEncoder, samples: list[AudioQASample], waveforms: list[np.ndarray]) -> dict:
    """Model inputs of the same prompts as the stock processor makes them."""
    prompt, processor = encoder.prompt, encoder.processor
    texts = []
    for sample in samples:
        parts = [{"type": "audio", "audio": sample.audio_path}, {"type": "text", "text": prompt.user_text(sample)}]
        system = {"role": "system", "content": [{"type": "text", "text": prompt.system}]}
        conversation = [system, {"role": "user", "content": parts}]
        texts.append(processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False))
    return processor(text=texts, audio=waveforms, padding=True, return_tensors="pt")


def make_steps(paths: list[Path], encoder: OmniEncoder) -> list[Step]:
    """The steps to compare; add further ones here."""
    extractor = encoder.processor.feature_extractor
    samples = [ask(path) for path in paths]
    waveforms = [load_audio(path) for path in paths]

    def load_ours():
        return [load_audio(path) for path in paths]

    return [
        Step("load", load_ours, lambda: load_stock(paths)),
        Step("mel", lambda: log_mel(extractor, waveforms), lambda: features_stock(extractor, waveforms)),
        Step(
            "mel + token ids",
            lambda: batch_ours(encoder, samples, waveforms),
            lambda: batch_stock(encoder, samples, waveforms),
        ),
        Step(
            "load + mel",
            lambda: log_mel(extractor, load_ours()),
            lambda: features_stock(extractor, load_stock(paths)),
        ),
        Step(
            "load + mel + token ids",
            lambda: batch_ours(encoder, samples, load_ours()),
            lambda: batch_stock(encoder, samples, load_stock(paths)),
        ),
    ]


def largest_difference(paths: list[Path], encoder: OmniEncoder) -> float:
    """The largest difference of both ways' features over all valid frames; raises if clips, ids or masks differ."""
    for path, expected in zip(paths, load_stock(paths), strict=True):
        np.testing.assert_array_equal(load_audio(path), expected)
    samples = [ask(path) for path in paths]
    waveforms = [load_audio(path) for path in paths]
    ours, stock = batch_ours(encoder, samples, waveforms), batch_stock(encoder, samples, waveforms)
    for name in ("input_ids", "attention_mask"):
        np.testing.assert_array_equal(ours[name], stock[name])
    mask = ours["feature_attention_mask"]
    np.testing.assert_array_equal(mask.sum(dim=1), stock["feature_attention_mask"].sum(dim=1))
    difference = ours["input_features"] - stock["input_features"][:, :, : mask.shape[1]]  # (clips, mel_bins, frames)
    return float((difference * mask[:, None]).abs().max())


def measure(step: Step, repeats: int) -> tuple[float, float]:
    """Median seconds of (ours, stock), taken in turns so that a busy machine slows both; one warm-up each."""
    seconds = {step.ours: [], step.stock: []}
    for repeat in range(repeats + 1):
        for call, taken in seconds.items():
            start = time.perf_counter()
            call()
            if repeat:
                taken.append(time.perf_counter() - start)
    return statistics.median(seconds[step.ours]), statistics.median(seconds[step.stock])


def describe_machine() -> str:
    """CPU model, cores that this process may use, threads of torch, versions."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    cores = len(os.sched_getaffinity(0))
    return (
        f"CPU: {model}, {cores} cores, {torch.get_num_threads()} torch threads, load {os.getloadavg()[0]:.1f}\n"
        f"Python {platform.python_version()}, {versions}"
    )


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--sampling_rate", type=int, default=44_100, help="Hz of the wav files")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own)")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    encoder = OmniEncoder(released_processor(), make_prompt("selective", "You are a helpful assistant."), 300.0)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_clips(Path(folder), options.clips, options.seconds, options.sampling_rate)
        print(describe_machine())
        print(f"{options.clips} clips of {options.seconds:g} s at {options.sampling_rate} Hz, {options.repeats} repeats")
        print(f"largest difference on valid frames: {largest_difference(paths, encoder):.1e}\n")
        print(f"{'median seconds':<24}{'ours':>10}{'stock':>10}{'ratio':>10}")
        for step in make_steps(paths, encoder):
            ours, stock = measure(step, options.repeats)
            print(f"{step.name:<24}{ours:>10.4f}{stock:>10.4f}{stock / ours:>9.1f}x", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
