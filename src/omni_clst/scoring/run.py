"""One benchmark, answered and scored: what `infer.py` does for each that it finds."""

import dataclasses
import re
from pathlib import Path

import torch

from ..answering.answer import answer_all, answer_settings, load_engine, prediction_row
from ..answering.audio_source import AudioSource
from ..answering.config import InferConfig
from ..answering.folder import AnswerFolder
from ..data.benchmark_rows import BenchmarkRows, find_benchmark, load_benchmark, resolve_audio
from ..data.benchmarks.registry import BENCHMARKS
from ..data.clip_check import measure_lengths
from ..data.encoder import OmniEncoder, describe_clips
from ..data.samples import AudioQASample
from ..errors import InputError
from ..files import write_json, write_jsonl
from ..model.checkpoints import Checkpoint
from ..model.engine import PREFILL_TOKENS, Completion, HFEngine
from ..model.sampling import Sampling
from ..processes import process_rank, say, wait_for_all
from ..settings import REPOSITORY
from ..training.plan import measure_model, print_memory, rollout_bytes
from .predictions import read_predictions
from .scores import format_table, score


@dataclasses.dataclass(frozen=True)
class FoundBenchmark:
    """A benchmark's rows with their clips found: prompt lengths in tokens by id, and what is wrong with the others."""

    name: str
    rows: BenchmarkRows
    samples: list[AudioQASample]
    lengths: dict[str, int]
    unreadable: dict[str, str]


def find_benchmarks(config: InferConfig, encoder: OmniEncoder) -> list[FoundBenchmark]:
    """Load what is there of the benchmarks asked for and say what is not; raises `InputError` if none is there.

    Every clip is looked at, so that a missing one ends the run before any weight is loaded.
    """
    found, missing = [], []
    for name in config.benchmarks:
        place = find_benchmark(config.data_root, name)
        if place is None:
            missing.append(BENCHMARKS[name].missing_line(config.data_root))
            continue
        meta_path, audio_root = place
        rows = load_benchmark(name, meta_path)
        rows = dataclasses.replace(rows, samples=rows.samples[: config.limit])
        samples = [dataclasses.replace(s, audio_path=str(resolve_audio(s, audio_root))) for s in rows.samples]
        allow = config.allow_missing_audio or config.dry_run
        remedy = "--allow_missing_audio answers the rest and counts these as wrong"
        decode_up_to = config.max_audio_seconds if config.check_audio else None
        lengths, unreadable = measure_lengths(samples, encoder.length, config.data_root, allow, remedy, decode_up_to)
        found.append(FoundBenchmark(name, rows, samples, lengths, unreadable))
    if not found:
        raise InputError("no benchmark to answer: " + "; ".join(missing))
    for line in missing:
        say(f"left out: {line}")
    return found


def output_folder(config: InferConfig) -> Path:
    """`infer/` in the checkpoint's folder; runs/infer/<name> for a Hub id."""
    if config.output:
        return Path(config.output)
    if Path(config.model).is_dir():
        return Path(config.model) / "infer"
    return REPOSITORY / "runs" / "infer" / re.sub(r"\W+", "-", config.model)


def folder_name(config: InferConfig, benchmark: str) -> str:
    """The benchmark's name, then the audio source where it is not the clips, a forced empty thought, and a row limit."""
    words = [benchmark] + ([config.audio] if config.audio != "real" else [])
    words += ["empty_thought"] if config.thought == "empty" else []
    return ".".join(words + ([f"first{config.limit}"] if config.limit else []))


class BenchmarkRun:
    """The benchmarks that were found, their answer folders opened and checked, before any weight is loaded."""

    def __init__(
        self,
        config: InferConfig,
        checkpoint: Checkpoint,
        encoder: OmniEncoder,
        benchmarks: list[FoundBenchmark],
        device: torch.device,
    ):
        self.config, self.checkpoint, self.encoder, self.device = config, checkpoint, encoder, device
        self.sampling = Sampling(config.max_new_tokens, config.temperature, config.top_p, config.top_k, config.seed)
        settings = answer_settings(checkpoint, encoder, self.sampling, config, device)
        settings |= {"audio": config.audio, "limit": config.limit}
        settings |= {} if config.thought == "free" else {"thought": config.thought}  # free: as before there was a choice
        self.jobs = []
        for benchmark in benchmarks:
            own = settings | {"benchmark_sha256": benchmark.rows.meta_sha256}
            path = output_folder(config) / folder_name(config, benchmark.name)
            self.jobs.append((benchmark, AnswerFolder(path, own, config.overwrite)))

    def answer_and_score(self) -> None:
        """Answer what is open; rank 0 writes predictions and scores and prints the tables."""
        config, engine = self.config, None
        for benchmark, folder in self.jobs:
            readable = [sample for sample in benchmark.samples if sample.id in benchmark.lengths]
            remarks = describe_clips(readable, config.max_audio_seconds)
            thought = ", every thought left empty" if config.thought == "empty" else ""
            say(f"{benchmark.name}: {len(benchmark.samples)} questions, {config.audio} audio{thought}{remarks}")
            if benchmark.unreadable:
                first = "; ".join(list(benchmark.unreadable.values())[:3])
                say(f"  {len(benchmark.unreadable)} rows cannot be used and count as wrong: {first}")
            if folder.lacks(benchmark.lengths):
                engine = engine or load_engine(config, self.checkpoint, self.encoder, self.sampling, self.device)
                self._answer(engine, benchmark, folder)
            if process_rank() == 0:
                without = benchmark.unreadable | folder.failed()
                if without:
                    first = "; ".join(list(without.values())[:3])
                    say(f"  {len(without)} rows could not be asked and count as wrong: {first}")
                others = {key: _unreadable_row(key, reason) for key, reason in without.items()}
                _report(benchmark, folder.write_whole("predictions.jsonl", benchmark.samples, others))
            wait_for_all()

    def _answer(self, engine: HFEngine, benchmark: FoundBenchmark, folder: AnswerFolder) -> None:
        config = self.config
        readable = [sample for sample in benchmark.samples if sample.id in benchmark.lengths]
        source = AudioSource.plan(config.audio, readable)

        def make_row(sample: AudioQASample, completions: list[Completion]) -> dict:
            groups = {group: sample.extra.get(group) for group in benchmark.rows.groups}
            return prediction_row(sample, completions[0], self.encoder.prompt) | {"groups": groups}

        answer_all(
            engine,
            benchmark.samples,
            benchmark.lengths,
            folder,
            config.batch_tokens,
            config.num_workers,
            source,
            make_row,
            config.allow_missing_audio,
        )


def _unreadable_row(sample_id: str, reason: str) -> dict:
    return {"id": sample_id, "model_output": "", "model_output_raw": "", "parse_failed": True, "error": reason}


def _report(benchmark: FoundBenchmark, predictions: Path) -> None:
    """Score the predictions and print the table; a benchmark without answers becomes a submission file."""
    answers = read_predictions(predictions, benchmark.rows.benchmark)
    if not BENCHMARKS[benchmark.name].has_answers:
        write_json(
            predictions.with_name("submission.json"),
            [{**row, "model_output": answers.outputs.get(str(row["id"]), "")} for row in benchmark.rows.original_rows],
        )
        say(f"submission file: {predictions.with_name('submission.json')}")
        return
    scores = score(benchmark.rows, answers)
    write_json(predictions.with_name("scores.json"), scores.to_json())
    write_jsonl(predictions.with_name("verdicts.jsonl"), scores.verdicts)
    print(format_table(scores), flush=True)
    say(f"written: {predictions.parent}")


def print_infer_plan(config: InferConfig, checkpoint: Checkpoint, benchmarks: list[FoundBenchmark]) -> None:
    """Print questions, tokens and memory of the run without loading weights."""
    size = measure_model(checkpoint.full_model, None, 0)
    lengths_of_all = [length for benchmark in benchmarks for length in benchmark.lengths.values()]
    longest = max(lengths_of_all, default=0)
    for benchmark in benchmarks:
        lengths = benchmark.lengths.values()
        mean = sum(lengths) / max(len(lengths), 1)
        unread = f", {len(benchmark.unreadable)} rows cannot be used" if benchmark.unreadable else ""
        say(f"{benchmark.name:<12} {len(benchmark.samples)} questions, {mean:.0f} prompt tokens on average{unread}")
    width = 4 if config.dtype == "float32" or (config.dtype == "auto" and not torch.cuda.is_available()) else 2
    most = max(config.batch_tokens, longest + config.max_new_tokens)  # one question at least
    rows = most // (min(lengths_of_all, default=0) + config.max_new_tokens)
    answering = rollout_bytes(size, rows, most, max(PREFILL_TOKENS, longest), width)
    print_memory({"weights": size.total * width}, {"keys, values and activations": answering})
