"""Write the report of a preparation: every clip's audit, rows by rule, and an HTML page of both."""

from collections import Counter, defaultdict
from pathlib import Path

from ..files import read_jsonl, write_json, write_jsonl, write_text
from .clips import Inspection
from .copies import describe_format
from .page import AuditSummary, RuleCount, audit_page, audit_table, make_histogram
from .rules import DROPPED, FLAGGED, RULES

EXAMPLES = 3
SHOWN_SETTINGS = ("input", "hub", "clips", "min_audio_seconds", "max_audio_seconds", "against", "keep_overlap",
                  "valid_share", "held_out", "model", "seed")  # fmt: skip


class RuleCounter:
    """Counts rows by rule, with the first examples; for a benchmark, whose rows are not dropped, dropping rules flag."""

    def __init__(self, drops: bool):
        self.drops = drops
        self.rows: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = defaultdict(list)

    def note(self, rule: str, place: str, value: str) -> None:
        self.rows[rule] += 1
        if len(self.examples[rule]) < EXAMPLES:
            self.examples[rule].append(f"{place}: {' '.join(value.split())}")

    def counts(self, kept_overlap: bool) -> tuple[RuleCount, ...]:
        """The rules that applied to any row, in their order, followed by a benchmark's oddities."""
        rules = [rule for rule in RULES if self.rows[rule]]
        rules += [rule for rule in self.rows if rule not in RULES]
        return tuple(
            RuleCount(rule, self._action(rule, kept_overlap), self.rows[rule], tuple(self.examples[rule])) for rule in rules
        )

    def _action(self, rule: str, kept_overlap: bool) -> str:
        action = RULES.get(rule, FLAGGED)
        stays = not self.drops or (kept_overlap and rule.endswith("in a benchmark"))
        return FLAGGED if stays and action == DROPPED else action


def summarise(preparation, rows_in: int, rows_out: dict[str, int]) -> AuditSummary:
    """The content of table and page, from a preparation that has processed all rows."""
    config, inspections = preparation.config, preparation.inspections
    decoded = [clip for clip in inspections.values() if clip.format]
    original_format = {row["clip"]: row["was"] for _, row in read_jsonl(preparation.spool.path) if row.get("was")}
    formats = Counter(
        original_format.get(path) or describe_format(clip.format, clip.sampling_rate, clip.channels)
        for path, clip in inspections.items()
        if clip.format
    )
    findings: dict[str, list[str]] = defaultdict(list)
    for path, clip in inspections.items():
        for finding in (*clip.findings, *([clip.rule] if clip.rule else [])):
            findings[finding].append(relative_path(path, config.audio_root))
    histograms = [
        make_histogram("seconds", [clip.seconds for clip in decoded]),
        make_histogram("audio tokens", [clip.audio_tokens for clip in decoded]),
        make_histogram("peak", [clip.peak for clip in decoded]),
        make_histogram("silence share", [clip.silence_share for clip in decoded]),
    ]
    if preparation.encoder is not None:
        histograms.append(make_histogram("prompt tokens", preparation.prompt_tokens))
    return AuditSummary(
        title=config.source,
        rows_in=rows_in,
        rows_out=rows_out,
        rules=preparation.rule_counter.counts(config.keep_overlap),
        clips=len(inspections),
        findings=tuple((finding, len(paths), tuple(paths[:EXAMPLES])) for finding, paths in sorted(findings.items())),
        formats=dict(formats.most_common()),
        histograms=tuple(histograms),
        skipped=tuple(line.replace(f"{config.audio_root}/", "") for line in preparation.spool.skipped),
        alike=len(preparation.shared.alike),
        settings={name: str(getattr(config, name)) for name in SHOWN_SETTINGS if getattr(config, name)},
    )


def write_report(preparation, summary: AuditSummary) -> None:
    """Write audit.jsonl (a line per clip), report/audit.html, .txt and .json."""
    rows = (_audit_row(preparation, path, clip) for path, clip in preparation.inspections.items())
    write_jsonl(preparation.output / "audit.jsonl", rows)
    report = preparation.output / "report"
    write_text(report / "audit.html", audit_page(summary))
    write_text(report / "audit.txt", audit_table(summary) + "\n")
    counts = [{"rule": count.rule, "action": count.action, "rows": count.rows} for count in summary.rules]
    figures = {"rows_in": summary.rows_in, "rows_out": summary.rows_out, "rules": counts, "skipped": list(summary.skipped)}
    write_json(report / "audit.json", figures)


def _audit_row(preparation, path: str, clip: Inspection) -> dict:
    root = preparation.config.audio_root
    shared = preparation.shared
    first = shared.first_name.get(path, path)
    return {
        "path": relative_path(path, root),
        "sha256": clip.sha256,
        "rows": preparation.uses[path],
        "format": clip.format,
        "channels": clip.channels,
        "sampling_rate": clip.sampling_rate,
        "seconds": clip.seconds,
        "audio_tokens": clip.audio_tokens,
        "peak": clip.peak,
        "silence_share": clip.silence_share,
        "findings": list(clip.findings),
        "rule": clip.rule,
        "reason": clip.reason,
        "same_as": relative_path(first, root) if first != path else None,
        "in_benchmark": shared.in_benchmark.get(path),
        "contained": [relative_path(other, root) for other in shared.contained.get(path, ())]
        + shared.with_benchmark.get(path, []),
        "sounds_like": [relative_path(other, root) for other in shared.alike.get(path, ())],
        "copy": relative_path(str(preparation.flac_folder / clip.flac), root) if clip.flac else None,
    }


def relative_path(path: str, root: str) -> str:
    """A path relative to `root` if it lies below it, else unchanged."""
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path
