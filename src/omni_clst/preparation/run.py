"""One preparation: rows -> samples and clips -> what is dropped -> splits -> files and a report.

Rows are read once and spooled, so that memory holds a few words a row and a fingerprint a clip, whatever the clips weigh.
What was decoded is never decoded again: a run that was killed goes on, and writes what an undisturbed one writes.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..data.benchmarks.registry import BENCHMARKS
from ..data.samples import AudioQASample, make_sample_id, write_samples
from ..files import read_jsonl, require_writable, write_jsonl
from .clips import ClipAudit, Inspection
from .comparisons import Comparisons
from .config import PrepareConfig
from .overlap import BenchmarkContent, read_benchmarks
from .page import AuditSummary
from .report import Tally, below, summarise, write_report
from .rows import RowSpool, spooled_sample
from .rules import CHANGED, RULES, Dropped
from .shared_sound import find_shared_sound
from .splits import connected, question_key, split

SPLIT_FILES = {"train": "samples.jsonl", "valid": "valid.jsonl", "held_out": "held_out.jsonl"}


class Preparation:
    """One data set on its way from a checked config to its files."""

    def __init__(self, config: PrepareConfig):
        self.config = config
        self.output = require_writable(Path(config.output))
        self.work = require_writable(self.output / ".work")
        self.flac_folder = self.output / "audio"
        for torn in self.output.rglob(".*.part"):  # a kill left them
            torn.unlink()
        self.num_workers = config.num_workers or os.cpu_count() or 1
        self.is_benchmark = config.source in BENCHMARKS
        self.tally = Tally(drops=not self.is_benchmark)
        self.uses: Counter[str] = Counter()  # rows of every clip
        self.prompt_tokens: list[int] = []
        self.encoder = _make_encoder(config)
        self.spool = RowSpool(config, self.work, self.flac_folder, self.num_workers)

    def run(self) -> AuditSummary:
        """Prepare everything and write it; raises `InputError` for files that cannot be read."""
        rows_in = self.spool.fill()
        self._inspect_clips()
        rows_out = self._write_splits()
        summary = summarise(self, rows_in, rows_out)
        write_report(self, summary)
        return summary

    def _inspect_clips(self) -> None:
        """Inspect all clips, the benchmarks' too, and find what they have in common."""
        own = sorted({row["clip"] for _, row in read_jsonl(self.spool.path) if row.get("clip")})
        self.theirs = BenchmarkContent() if self.is_benchmark else read_benchmarks(self.config.against)
        audit = ClipAudit(self.work, self.flac_folder, self.num_workers)
        found = audit.inspect([*own, *self.theirs.clips])
        self.inspections = {path: found[path] for path in own}
        theirs = {path: found[path] for path in self.theirs.clips}
        comparisons = Comparisons(self.work, self.num_workers)
        self.shared = find_shared_sound(self.inspections, theirs, self.theirs.clips, comparisons)

    def _write_splits(self) -> dict[str, int]:
        """Decide every row, spool what stays, part it and write the splits; returns rows by split."""
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
        """Rows of the samples that stay; notes what links them, lists what ends or flags a row, and tallies all rules."""
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
            except Dropped as end:
                self.tally.note(end.rule, row["place"], end.value)
                listed["dropped"].append({"place": row["place"], "rule": end.rule, "value": end.value})
                continue
            seen.add(key)
            for rule, value in notes:
                self.tally.note(rule, row["place"], value)
                if RULES.get(rule) != CHANGED:
                    listed["flagged"].append({"place": row["place"], "rule": rule, "value": value})
            sample = _with_id(sample, ids, self.config.audio_root)
            ids.add(sample.id)
            links.append(
                (self.shared.together.get(row["clip"], sample.audio_path), hashlib.sha256(question.encode()).digest())
            )
            self._count_tokens(sample, self.inspections.get(row["clip"]))
            yield sample.to_row()

    def _decide(self, sample: AudioQASample, row: dict) -> tuple[AudioQASample, list[tuple[str, str]]]:
        """The sample with the clip that it will name, and what is to be noted; raises `Dropped`."""
        clip, notes = row["clip"], [tuple(note) for note in row["notes"]]
        if clip is None:  # a benchmark's row without one
            return sample, notes
        self.uses[clip] += 1
        for trouble in (*faults_of_clip(self.inspections[clip], self.config), *self._overlaps(sample, clip)):
            is_overlap = trouble[0].endswith("in a benchmark")
            if not (self.is_benchmark or (self.config.keep_overlap and is_overlap)):
                raise Dropped(*trouble)
            notes.append(trouble)
        notes += self._shares(clip)
        first = clip if self.is_benchmark else self.shared.first_name[clip]
        if first != clip:
            notes.append(("the same clip under two names", f"{self._name(clip)} is {self._name(first)}"))
        flac = self.inspections[first].flac
        return replace(sample, audio_path=str(self.flac_folder / flac) if flac else first), notes

    def _overlaps(self, sample: AudioQASample, clip: str) -> Iterator[tuple[str, str]]:
        if clip in self.shared.in_benchmark:
            yield "clip is in a benchmark", f"{self._name(clip)} is {self.shared.in_benchmark[clip]}"
        if their := self.theirs.with_question(sample):
            yield "question is in a benchmark", f"{sample.question[:80]!r} is {their}"

    def _shares(self, clip: str) -> list[tuple[str, str]]:
        """What else holds a part of this clip, or the whole of it."""
        listed = {
            "clip is a part of another, or holds it": list(map(self._name, self.shared.contained.get(clip, ()))),
            "clip shares sound with a benchmark": self.shared.with_benchmark.get(clip, ()),
        }
        return [(rule, f"{self._name(clip)} and {', '.join(others)}") for rule, others in listed.items() if others]

    def _name(self, clip: str) -> str:
        return below(clip, self.config.audio_root)

    def _count_tokens(self, sample: AudioQASample, inspection: Inspection | None) -> None:
        """Note the length of the sample's prompt, where a model's tokenizer was named."""
        if self.encoder is not None and inspection is not None:
            text = self.encoder.prompt_text(sample, 1)
            self.prompt_tokens.append(len(self.encoder.token_ids(text)) - 1 + inspection.audio_tokens)


def faults_of_clip(found: Inspection, config: PrepareConfig) -> list[tuple[str, str]]:
    """(rule, value) of a clip that no model can learn from."""
    if found.rule is not None:
        return [(found.rule, found.reason or "")]
    if found.seconds < config.min_audio_seconds:
        return [("clip is too short", f"{found.seconds:g} s")]
    if found.seconds > config.max_audio_seconds:
        return [("clip is too long", f"{found.seconds:g} s")]
    return []


def _make_encoder(config: PrepareConfig):
    """Counts prompt tokens with a model's own tokenizer, where one is named."""
    if config.model is None:
        return None
    from ..data.encoder import OmniEncoder
    from ..data.prompts import make_prompt
    from ..model.checkpoints import find_checkpoint, load_processor
    from ..processes import quiet_libraries

    quiet_libraries()
    processor = load_processor(find_checkpoint(config.model))
    prompt = make_prompt(config.prompt, "You are a helpful assistant.")
    return OmniEncoder(processor, prompt, config.max_audio_seconds)


def _with_id(sample: AudioQASample, taken: set[str], audio_root: str) -> AudioQASample:
    """Its own id where that is free, else one made from the row."""
    if sample.id and sample.id not in taken:
        return sample
    return replace(sample, id=make_sample_id(below(sample.audio_path, audio_root), sample.question, sample.choices))
