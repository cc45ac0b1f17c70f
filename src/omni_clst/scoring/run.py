"""Answer benchmarks with a checkpoint and score the answers, for `infer.py`."""

import re
from dataclasses import replace
from pathlib import Path

import torch

from ..answering.config import ALL, InferConfig
from ..answering.folder import AnswerFolder
from ..answering.predictions import prediction_row
from ..answering.questions import Questions, check_questions
from ..answering.run import AnsweringRun
from ..data.benchmark_rows import BenchmarkRows, find_benchmark, load_benchmark, with_clips
from ..data.benchmarks.registry import BENCHMARKS
from ..data.encoder import OmniEncoder, describe_clips
from ..data.sample_benchmark import load_sample_benchmark
from ..data.samples import AudioQASample
from ..errors import InputError
from ..files import write_json, write_jsonl
from ..model.checkpoints import Checkpoint
from ..model.engine import PREFILL_TOKENS, Completion
from ..processes import process_rank, say, wait_for_all
from ..settings import REPOSITORY
from ..training.memory import Memory, rollout_bytes
from ..training.model_size import measure_model
from ..training.plan import print_memory
from .origin import read_origin
from .predictions import read_predictions
from .rubrics import write_rubrics_input
from .scores import format_table, score


def find_benchmarks(config: InferConfig, encoder: OmniEncoder) -> list[tuple[BenchmarkRows, Questions]]:
    """Load the benchmarks of the settings that exist and log the missing ones; raises `InputError` if none exists.

    Every clip is checked, so that a missing one ends the run before any weights are loaded.
    """
    if config.samples:
        return [_check_samples(config, config.samples, encoder)]
    benchmarks, missing = [], []
    for name in config.benchmark_names:
        place = find_benchmark(config.data_root, name)
        if place is None:
            missing.append(name)
            continue
        meta_path, audio_root = place
        rows = load_benchmark(name, meta_path)
        rows = replace(rows, samples=rows.samples[: config.limit])
        samples = [with_clips(sample, audio_root) for sample in rows.samples]
        benchmarks.append((rows, _check(rows, samples, config.data_root, encoder, config)))
    lines = [BENCHMARKS[name].missing_line(config.data_root) for name in missing]
    if not benchmarks:
        raise InputError("no benchmark to answer: " + "; ".join(lines))
    if ALL in config.benchmarks:
        lines = [f"{', '.join(missing)}: not under {config.data_root}"] if missing else []
    for line in lines:
        say(f"left out: {line}")
    return benchmarks


def _check_samples(config: InferConfig, path: str, encoder: OmniEncoder) -> tuple[BenchmarkRows, Questions]:
    """The settings' file of samples as a benchmark, with every clip checked."""
    rows = load_sample_benchmark(path, tuple(config.group_by), config.name, config.audio_root)
    rows = replace(rows, samples=rows.samples[: config.limit])
    return rows, _check(rows, list(rows.samples), path, encoder, config)


def _check(
    rows: BenchmarkRows, samples: list[AudioQASample], place: str, encoder: OmniEncoder, config: InferConfig
) -> Questions:
    allow_unreadable = config.allow_missing_audio or config.dry_run
    remedy = "--allow_missing_audio answers the rest and counts these as wrong"
    return check_questions(rows.benchmark.name, rows.meta_sha256, samples, place, encoder, config, allow_unreadable, remedy)


def output_folder(config: InferConfig) -> Path:
    """The folder in the settings, else `infer/` in the checkpoint's folder; for a Hub id runs/infer/<name>."""
    if config.output:
        return Path(config.output)
    if Path(config.model).is_dir():
        return Path(config.model) / "infer"
    return REPOSITORY / "runs" / "infer" / re.sub(r"\W+", "-", config.model)


def folder_name(config: InferConfig, benchmark: str) -> str:
    """The benchmark's name, followed by settings that differ from the default: audio source, forced thought, limit."""
    words = [benchmark] + ([config.audio] if config.audio != "real" else [])
    words += [f"{config.thought}_thought"] if config.thought != "free" else []
    return ".".join(words + ([f"first{config.limit}"] if config.limit else []))


def open_folders(run: AnsweringRun, config: InferConfig, benchmarks: list[tuple[BenchmarkRows, Questions]]):
    """The checked folders for the answers to the benchmarks, in their order."""
    settings = {"audio": config.audio, "limit": config.limit}
    return [
        run.open_folder(
            output_folder(config) / folder_name(config, rows.benchmark.name),
            settings | {"benchmark_sha256": rows.meta_sha256},
        )
        for rows, _ in benchmarks
    ]


def answer_and_score(
    run: AnsweringRun, config: InferConfig, rows: BenchmarkRows, questions: Questions, folder: AnswerFolder
) -> None:
    """Answer unanswered questions; rank 0 writes predictions and scores and prints the table."""
    remarks = describe_clips(questions.readable, config.max_audio_seconds)
    thought = f", thoughts forced {config.thought}" if config.thought != "free" else ""
    say(f"{questions.name}: {len(questions.samples)} questions, {config.audio} audio{thought}{remarks}")
    if questions.unreadable:
        _log_failures("cannot be used", questions.unreadable)

    def make_row(sample: AudioQASample, completions: list[Completion]) -> dict:
        prompt = run.encoder.prompt
        if not rows.benchmark.is_scored(sample):  # an open question is asked without the form of answers
            prompt = replace(prompt, asks_for_tags=False)
        return prediction_row(sample, completions[0], prompt) | {"groups": rows.groups_of(sample)}

    run.answer(questions, folder, make_row)
    if process_rank() == 0:
        without = questions.unreadable | folder.failed()
        if without:
            _log_failures("could not be asked", without)
        write_jsonl(folder.folder / "questions.jsonl", (question_row(sample, rows) for sample in questions.samples))
        others = {key: _unreadable_row(key, reason) for key, reason in without.items()}
        _report(rows, folder.join_parts("predictions.jsonl", questions.samples, others))
    wait_for_all()


def _log_failures(problem: str, reasons: dict[str, str]) -> None:
    say(f"  {len(reasons)} rows {problem} and count as wrong: {'; '.join(list(reasons.values())[:3])}")


def question_row(sample: AudioQASample, rows: BenchmarkRows) -> dict:
    """What the report shows of a question beside its answers."""
    return {
        "id": sample.id,
        "question": sample.question,
        "choices": list(sample.choices),
        "answer": sample.answer,
        "clips": list(sample.clips),
        "groups": rows.groups_of(sample),
    }


def _unreadable_row(sample_id: str, reason: str) -> dict:
    return {"id": sample_id, "model_output": "", "model_output_raw": "", "parse_failed": True, "error": reason}


def _report(rows: BenchmarkRows, predictions: Path) -> None:
    """Score the predictions and print the table; for a benchmark without answers write a submission file."""
    answers = read_predictions(predictions, rows.benchmark, rows.samples)
    answered = [{**row, "model_output": answers.outputs.get(str(row["id"]), "")} for row in rows.original_rows]
    if not rows.benchmark.has_answers:
        write_json(predictions.with_name("submission.json"), answered)
        say(f"submission file: {predictions.with_name('submission.json')}")
        return
    is_scored = {sample.id for sample in rows.scored}
    if open_rows := [row for row in answered[: len(rows.samples)] if str(row["id"]) not in is_scored]:
        write_jsonl(predictions.with_name("open_questions.jsonl"), open_rows)
        say(f"{len(open_rows)} open questions, not scored: {predictions.with_name('open_questions.jsonl')}")
    if path := write_rubrics_input(rows, predictions):
        say(f"for a judge of thoughts: {path}")
    scores = score(rows, answers, origin=read_origin(predictions))
    write_json(predictions.with_name("scores.json"), scores.to_json())
    write_jsonl(predictions.with_name("verdicts.jsonl"), scores.verdicts)
    print(format_table(scores), flush=True)
    say(f"written: {predictions.parent}")


def print_infer_plan(config: InferConfig, checkpoint: Checkpoint, benchmarks: list[Questions]) -> None:
    """Print the number of questions, prompt tokens and memory of the run, without loading weights."""
    size = measure_model(checkpoint.full_model, None, 0)
    all_lengths = [length for benchmark in benchmarks for length in benchmark.lengths.values()]
    longest = max(all_lengths, default=0)
    for benchmark in benchmarks:
        lengths = benchmark.lengths.values()
        mean = sum(lengths) / max(len(lengths), 1)
        unusable = f", {len(benchmark.unreadable)} rows cannot be used" if benchmark.unreadable else ""
        say(f"{benchmark.name:<12} {len(benchmark.samples)} questions, {mean:.0f} prompt tokens on average{unusable}")
    width = 4 if config.dtype == "float32" or (config.dtype == "auto" and not torch.cuda.is_available()) else 2
    batch_tokens = max(config.batch_tokens, longest + config.max_new_tokens)  # at least one question
    completions = batch_tokens // (min(all_lengths, default=0) + config.max_new_tokens)
    answering = rollout_bytes(size, completions, batch_tokens, max(PREFILL_TOKENS, longest), width)
    print_memory(Memory({"weights": size.total * width}, {"keys, values and activations": answering}))
