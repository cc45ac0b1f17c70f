"""What a preparation found, as files: every clip's audit, rows by rule, and a page that shows both."""

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


class Tally:
    """Rows by rule, with the first examples; where rows are not dropped (a benchmark), what would drop them flags them."""

    def __init__(self, drops: bool):
        self.drops = drops
        self.rows: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = defaultdict(list)

    def note(self, rule: str, place: str, value: str) -> None:
        self.rows[rule] += 1
        if len(self.examples[rule]) < EXAMPLES:
            self.examples[rule].append(f"{place}: {' '.join(value.split())}")

    def counts(self, kept_overlap: bool) -> tuple[RuleCount, ...]:
        """In the order of the rules, a benchmark's oddities behind them; those that nothing met are left out."""
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
    """Everything that table and page show of a preparation that has decided all rows."""
    config, inspections = preparation.config, preparation.inspections
    decoded = [found for found in inspections.values() if found.format]
    was = {row["clip"]: row["was"] for _, row in read_jsonl(preparation.spool.path) if row.get("was")}
    formats = Counter(
        was.get(path) or describe_format(found.format, found.sampling_rate, found.channels)
        for path, found in inspections.items()
        if found.format
    )
    findings: dict[str, list[str]] = defaultdict(list)
    for path, found in inspections.items():
        for what in (*found.findings, *([found.rule] if found.rule else [])):
            findings[what].append(below(path, config.audio_root))
    histograms = [
        make_histogram("seconds", [found.seconds for found in decoded]),
        make_histogram("audio tokens", [found.audio_tokens for found in decoded]),
        make_histogram("peak", [found.peak for found in decoded]),
        make_histogram("silence share", [found.silence_share for found in decoded]),
    ]
    if preparation.encoder is not None:
        histograms.append(make_histogram("prompt tokens", preparation.prompt_tokens))
    return AuditSummary(
        title=config.source,
        rows_in=rows_in,
        rows_out=rows_out,
        rules=preparation.tally.counts(config.keep_overlap),
        clips=len(inspections),
        findings=tuple((what, len(paths), tuple(paths[:EXAMPLES])) for what, paths in sorted(findings.items())),
        formats=dict(formats.most_common()),
        histograms=tuple(histograms),
        skipped=tuple(line.replace(f"{config.audio_root}/", "") for line in preparation.spool.skipped),
        alike=len(preparation.shared.alike),
        settings={name: str(getattr(config, name)) for name in SHOWN_SETTINGS if getattr(config, name)},
    )


def write_report(preparation, summary: AuditSummary) -> None:
    """audit.jsonl (a line a clip), report/audit.html, .txt and .json."""
    rows = (_audit_row(preparation, path, found) for path, found in preparation.inspections.items())
    write_jsonl(preparation.output / "audit.jsonl", rows)
    report = preparation.output / "report"
    write_text(report / "audit.html", audit_page(summary))
    write_text(report / "audit.txt", audit_table(summary) + "\n")
    counts = [{"rule": count.rule, "action": count.action, "rows": count.rows} for count in summary.rules]
    figures = {"rows_in": summary.rows_in, "rows_out": summary.rows_out, "rules": counts, "skipped": list(summary.skipped)}
    write_json(report / "audit.json", figures)


def _audit_row(preparation, path: str, found: Inspection) -> dict:
    root = preparation.config.audio_root
    shared = preparation.shared
    first = shared.first_name.get(path, path)
    return {
        "path": below(path, root),
        "sha256": found.sha256,
        "rows": preparation.uses[path],
        "format": found.format,
        "channels": found.channels,
        "sampling_rate": found.sampling_rate,
        "seconds": found.seconds,
        "audio_tokens": found.audio_tokens,
        "peak": found.peak,
        "silence_share": found.silence_share,
        "findings": list(found.findings),
        "rule": found.rule,
        "reason": found.reason,
        "same_as": below(first, root) if first != path else None,
        "in_benchmark": shared.in_benchmark.get(path),
        "contained": [below(other, root) for other in shared.contained.get(path, ())] + shared.with_benchmark.get(path, []),
        "sounds_like": [below(other, root) for other in shared.alike.get(path, ())],
        "copy": below(str(preparation.flac_folder / found.flac), root) if found.flac else None,
    }


def below(path: str, root: str) -> str:
    """A path relative to `root` where it lies below it."""
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path
