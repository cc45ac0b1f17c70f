"""Prepare one data set: read rows, inspect clips, drop and flag, split, write samples and a report.

Rows are read once and spooled to a file, so that memory grows only by a few words per row and a fingerprint per clip. Every
clip is decoded once: a killed run continues when started again, and writes the same files as an uninterrupted one.
"""

import hashlib
import math
import os
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..data.audio import SAMPLING_RATE
from ..data.benchmarks.registry import BENCHMARKS
from ..data.samples import AudioQASample, make_sample_id, write_samples
from ..files import read_jsonl, require_writable, write_jsonl
from ..runs import FolderLock
from .benchmark_layout import lay_out
from .clips import ClipAudit, Inspection
from .columns import OWN
from .comparisons import Comparisons
from .config import PrepareConfig
from .overlap import BenchmarkContent, read_benchmarks
from .page import AuditSummary
from .report import RuleCounter, relative_path, summarise, write_report
from .rows import RowSpool, spooled_sample
from .rules import CHANGED, RULES, Dropped
from .shared_sound import find_shared_sound
from .splits import connected, question_key, split

SPLIT_FILES = {"train": "samples.jsonl", "valid": "valid.jsonl", "held_out": "held_out.jsonl"}


class Preparation:
    """The preparation of one data set, from a checked config."""

    def __init__(self, config: PrepareConfig):
        self.config = config
        self.output = Path(config.output)
        self.work = require_writable(self.output / ".work")
        weakref.finalize(self, FolderLock(self.work, "give another --output").close)
        self.flac_folder = self.output / "audio"
        for partial in self.output.rglob(".*.part"):  # of a killed run
            partial.unlink()
        self.num_workers = config.num_workers or os.cpu_count() or 1
        self.is_benchmark = config.source in BENCHMARKS
        self.rule_counter = RuleCounter(drops=not self.is_benchmark)
        self.uses: Counter[str] = Counter()  # clip -> number of rows
        self.prompt_tokens: list[int] = []
        self.encoder = _make_encoder(config)
        self.spool = RowSpool(config, self.work, self.flac_folder, self.num_workers)

    def run(self) -> AuditSummary:
        """Prepare everything and write it; raises `InputError` for files that cannot be read."""
        rows_in = self.spool.fill()
        self._inspect_clips()
        rows_out = self._write_splits()
        self.laid_out = lay_out(self) if self.is_benchmark else None
        summary = summarise(self, rows_in, rows_out)
        write_report(self, summary)
        return summary

    def _inspect_clips(self) -> None:
        """Inspect all clips, the benchmarks' too, and find which of them share sound."""
        clips = sorted({clip for _, row in read_jsonl(self.spool.path) for clip in clips_of(row)})
        self.benchmarks = BenchmarkContent() if self.is_benchmark else read_benchmarks(self.config.against)
        audit = ClipAudit(self.work, self.flac_folder, self.num_workers)
        inspections = audit.inspect([*clips, *self.benchmarks.clips])
        self.inspections = {path: inspections[path] for path in clips}
        of_benchmarks = {path: inspections[path] for path in self.benchmarks.clips}
        comparisons = Comparisons(self.work, self.num_workers)
        self.shared = find_shared_sound(self.inspections, of_benchmarks, self.benchmarks.clips, comparisons)

    def _write_splits(self) -> dict[str, int]:
        """Drop rows, spool the others, split them and write the splits; returns the number of rows by split."""
        kept = self.work / "kept.jsonl"
        links: list[tuple] = []
        listed: dict[str, list[dict]] = {"dropped": [], "flagged": []}
        write_jsonl(kept, self._kept_rows(links, listed))
        sizes = {"held_out": self.config.held_out, "valid": round(self.config.valid_share * len(links))}
        parts = split(connected(links), sizes, self.config.seed)
        for name, file in SPLIT_FILES.items():
            if name in parts or name == "train":
                rows = (row for (_, row), part in zip(read_jsonl(kept), parts, strict=True) if part == name)
                samples = (spooled_sample({"sample": row}, self.is_benchmark) for row in rows)
                write_samples(self.output / file, samples, self.config.audio_root)
            else:
                (self.output / file).unlink(missing_ok=True)
        for name, rows in listed.items():
            write_jsonl(self.output / f"{name}.jsonl", rows)
        return {name: parts.count(name) for name in SPLIT_FILES if name in parts}

    def _kept_rows(self, links: list[tuple], listed: dict[str, list[dict]]) -> Iterator[dict]:
        """Rows of the samples that are kept; fills `links` and `listed`, and counts all rules."""
        seen: set[bytes] = set()
        ids: set[str] = set()
        for _, row in read_jsonl(self.spool.path):
            try:
                if "rule" in row:
                    raise Dropped(row["rule"], row["value"])
                sample, notes = self._decide(spooled_sample(row, self.is_benchmark), row)
                question = question_key(sample.question, sample.choices)
                key = hashlib.sha256(f"{sample.audio_path}\n{question}".encode()).digest()
                if key in seen and not self.is_benchmark:
                    raise Dropped("the same question about the same clip", sample.question)
            except Dropped as dropped:
                self.rule_counter.note(dropped.rule, row["place"], dropped.value)
                listed["dropped"].append({"place": row["place"], "rule": dropped.rule, "value": dropped.value})
                continue
            seen.add(key)
            for rule, value in notes:
                self.rule_counter.note(rule, row["place"], value)
                if RULES.get(rule) != CHANGED:
                    listed["flagged"].append({"place": row["place"], "rule": rule, "value": value})
            sample = _with_id(sample, ids, self.config.audio_root)
            ids.add(sample.id)
            clip = self.shared.together.get(row["clip"], sample.audio_path)
            links.append((clip, *self.links_of(question)))
            self._count_tokens(sample, [self.inspections[clip] for clip in clips_of(row)])
            yield sample.to_row()

    def links_of(self, question: str) -> list[bytes]:
        """What keeps a row together with those of other clips: its question, unless one is asked about many clips."""
        return [] if self.config.source == OWN else [hashlib.sha256(question.encode()).digest()]

    def _decide(self, sample: AudioQASample, row: dict) -> tuple[AudioQASample, list[tuple[str, str]]]:
        """The sample with the path of its clip, and its notes (rule, value); raises `Dropped`."""
        clip, notes = row["clip"], [tuple(note) for note in row["notes"]]
        if clip is None:  # a benchmark's row without one
            return sample, notes
        self.uses.update(clips_of(row))
        for other in clips_of(row)[1:]:
            notes += problems_of_clip(self.inspections[other], self.config)
        for problem in (*problems_of_clip(self.inspections[clip], self.config), *self._overlaps(sample, clip)):
            is_overlap = problem[0].endswith("in a benchmark")
            if not (self.is_benchmark or (self.config.keep_overlap and is_overlap)):
                raise Dropped(*problem)
            notes.append(problem)
        notes += self._shares(clip)
        first = clip if self.is_benchmark else self.shared.first_name[clip]
        if first != clip:
            notes.append(("the same clip under two names", f"{self._name(clip)} is {self._name(first)}"))
        more_clips = tuple(map(self._copy_of, row.get("more", ())))
        return replace(sample, audio_path=self._copy_of(first), more_clips=more_clips), notes

    def _copy_of(self, clip: str | None) -> str:
        """The file that a clip is read from; none for a missing one."""
        flac = None if clip is None else self.inspections[clip].flac
        return str(self.flac_folder / flac) if flac else clip or ""

    def _overlaps(self, sample: AudioQASample, clip: str) -> Iterator[tuple[str, str]]:
        if clip in self.shared.in_benchmark:
            yield "clip is in a benchmark", f"{self._name(clip)} is {self.shared.in_benchmark[clip]}"
        if benchmark_row := self.benchmarks.row_with_question(sample):
            yield "question is in a benchmark", f"{sample.question[:80]!r} is {benchmark_row}"

    def _shares(self, clip: str) -> list[tuple[str, str]]:
        """(rule, value) for clips of the set and of benchmarks that share a part of their sound with this clip."""
        listed = {
            "clip is a part of another, or holds it": list(map(self._name, self.shared.contained.get(clip, ()))),
            "clip shares sound with a benchmark": self.shared.with_benchmark.get(clip, ()),
        }
        return [(rule, f"{self._name(clip)} and {', '.join(others)}") for rule, others in listed.items() if others]

    def _name(self, clip: str) -> str:
        return relative_path(clip, self.config.audio_root)

    def _count_tokens(self, sample: AudioQASample, clips: list[Inspection]) -> None:
        """Record the length of the sample's prompt in tokens, if a model was given."""
        if self.encoder is not None and clips:
            text = self.encoder.prompt_text(sample, *(1 for _ in clips))
            tokens_of = self.encoder.clips.tokens_of_samples
            tokens = sum(tokens_of(math.ceil(clip.seconds * SAMPLING_RATE - 0.01)) - 1 for clip in clips)  # 6 decimals
            self.prompt_tokens.append(len(self.encoder.token_ids(text)) + tokens)


def clips_of(row: dict) -> list[str]:
    """The clips of a spooled row that are there."""
    return [clip for clip in (row.get("clip"), *row.get("more", ())) if clip]


def problems_of_clip(clip: Inspection, config: PrepareConfig) -> list[tuple[str, str]]:
    """(rule, value) of a clip that cannot be used for training."""
    if clip.rule is not None:
        return [(clip.rule, clip.reason or "")]
    if clip.seconds < config.min_audio_seconds:
        return [("clip is too short", f"{clip.seconds:g} s")]
    if clip.seconds > config.max_audio_seconds:
        return [("clip is too long", f"{clip.seconds:g} s")]
    return []


def _make_encoder(config: PrepareConfig):
    """An encoder with the tokenizer of the model in the settings, to count prompt tokens; None without a model."""
    if config.model is None:
        return None
    from ..data.encoder import OmniEncoder
    from ..data.prompts import make_prompt
    from ..model.checkpoints import find_checkpoint, load_family, load_processor
    from ..processes import quiet_libraries

    quiet_libraries()
    checkpoint = find_checkpoint(config.model)
    processor, clips = load_processor(checkpoint), load_family(checkpoint).clips
    prompt = make_prompt(config.prompt, "You are a helpful assistant.")
    return OmniEncoder(processor, prompt, min(config.max_audio_seconds, clips.max_seconds), clips=clips)


def _with_id(sample: AudioQASample, taken: set[str], audio_root: str) -> AudioQASample:
    """The sample with its id, or with one made from the row if it has none or the id is taken."""
    if sample.id and sample.id not in taken:
        return sample
    return replace(sample, id=make_sample_id(relative_path(sample.audio_path, audio_root), sample.question, sample.choices))
