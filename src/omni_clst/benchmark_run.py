"""One benchmark, answered and scored: what `infer.py` does for each that it finds."""

import dataclasses
import re
from pathlib import Path

import torch

from .benchmarks import BENCHMARKS, BenchmarkRows, find_benchmark, load_benchmark, resolve_audio
from .checkpoints import Checkpoint
from .config import REPOSITORY, InferConfig
from .errors import InputError
from .files import write_json, write_jsonl
from .generation import Hearing, HFEngine
from .inference import (
    AnswerFolder,
    answer_all,
    make_encoder,
    measure_lengths,
    prediction_row,
    sampling_settings,
    weights_fingerprint,
)
from .plan import activation_bytes, measure_model, print_memory
from .runs import process_rank, say, wait_for_all
from .scoring import format_table, read_predictions, score


@dataclasses.dataclass(frozen=True)
class FoundBenchmark:
    """A benchmark's rows, their clips' paths resolved, and the folder that its answers go to."""

    name: str
    rows: BenchmarkRows
    samples: list
    folder: Path


def find_benchmarks(config: InferConfig) -> list[FoundBenchmark]:
    """Load what is there of the benchmarks asked for and say what is not; raises `InputError` if none is there."""
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
        found.append(FoundBenchmark(name, rows, samples, output_folder(config) / folder_name(config, name)))
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
    """The benchmark's name, with what was heard instead of the clips, and a row limit, behind it."""
    words = [benchmark] + ([config.audio] if config.audio != "real" else [])
    return ".".join(words + ([f"first{config.limit}"] if config.limit else []))


def answer_and_score(config: InferConfig, checkpoint: Checkpoint, engine: HFEngine, benchmark: FoundBenchmark) -> None:
    """Answer a benchmark's samples and, on rank 0, write predictions and scores and print the table."""
    say(f"{benchmark.name}: {len(benchmark.samples)} questions, hearing {config.audio} audio")
    samples = benchmark.samples
    place = Path(config.data_root)
    lengths, unreadable = measure_lengths(samples, engine.encoder, config.allow_missing_audio, place)
    settings = {
        "model": config.model,
        "weights": weights_fingerprint(checkpoint),
        "benchmark_sha256": benchmark.rows.meta_sha256,
        "prompt": dataclasses.asdict(engine.encoder.prompt),
        "audio": config.audio,
        "max_audio_seconds": config.max_audio_seconds,
        "batch_size": config.batch_size,
        "limit": config.limit,
        **sampling_settings(engine),
    }
    folder = AnswerFolder(benchmark.folder, settings, config.overwrite)
    hearing = Hearing.plan(config.audio, [sample for sample in samples if sample.id in lengths])

    def make_row(sample, completions):
        groups = {group: sample.extra.get(group) for group in benchmark.rows.benchmark.groups}
        return prediction_row(sample, completions[0], engine.encoder.prompt) | {"groups": groups}

    answer_all(engine, samples, lengths, folder, config.batch_size, config.num_workers, hearing, make_row)
    if process_rank() == 0:
        done = folder.answered()
        folder.append([_unreadable_row(key, reason) for key, reason in unreadable.items() if key not in done])
        predictions = folder.write_whole("predictions.jsonl", samples)
        _report(config, benchmark, predictions)
    wait_for_all()


def _unreadable_row(sample_id: str, reason: str) -> dict:
    return {"id": sample_id, "model_output": "", "model_output_raw": "", "parse_failed": True, "error": reason}


def _report(config: InferConfig, benchmark: FoundBenchmark, predictions: Path) -> None:
    """Score the predictions and print the table; a benchmark without answers becomes a submission file."""
    rows = read_predictions(predictions)
    if not BENCHMARKS[benchmark.name].has_answers:
        outputs = {row["id"]: row["model_output"] for row in rows}
        write_json(
            predictions.with_name("submission.json"),
            [{**row, "model_output": outputs.get(row["id"], "")} for row in benchmark.rows.original_rows],
        )
        say(f"submission file: {predictions.with_name('submission.json')}")
        return
    scores = score(benchmark.rows, rows)
    write_json(predictions.with_name("scores.json"), scores.to_json())
    write_jsonl(predictions.with_name("verdicts.jsonl"), scores.verdicts)
    print(format_table(scores), flush=True)
    say(f"written: {predictions.parent}")


def print_infer_plan(config: InferConfig, checkpoint: Checkpoint, benchmarks: list[FoundBenchmark]) -> None:
    """Print questions, tokens and memory of the run without loading weights."""
    encoder = make_encoder(config, checkpoint)
    size = measure_model(checkpoint.full_model, None, 0)
    longest = 0
    for benchmark in benchmarks:
        lengths, unreadable = measure_lengths(benchmark.samples, encoder, True, Path(config.data_root))
        longest = max([longest, *lengths.values()])
        mean = sum(lengths.values()) / max(len(lengths), 1)
        unread = f", {len(unreadable)} clips cannot be read" if unreadable else ""
        say(f"{benchmark.name:<12} {len(benchmark.samples)} questions, {mean:.0f} prompt tokens on average{unread}")
    width = 4 if config.dtype == "float32" or (config.dtype == "auto" and not torch.cuda.is_available()) else 2
    tokens = config.batch_size * (longest + config.max_new_tokens)
    activations = activation_bytes(size, tokens, config.batch_size, True, width)
    print_memory({"weights": size.total * width, "activations and cache": activations})
