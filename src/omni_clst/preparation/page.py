"""Format the audit: as one self-contained HTML page, and as a table for the terminal."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jinja2

DROPPED = "dropped"
COLOURS = {"kept": "#3f7d58", DROPPED: "#c4533f"}
TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True)
class RuleCount:
    """Rows to which a rule applied; `action` is dropped, changed or flagged; `examples` are the first few with places."""

    rule: str
    action: str
    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` values lie in [edges[i], edges[i + 1]), the last one's upper edge included."""

    title: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class AuditSummary:
    """The result of a preparation: rows by rule and split, and statistics of its clips."""

    title: str
    rows_in: int
    rows_out: dict[str, int]  # split -> rows
    rules: tuple[RuleCount, ...]
    clips: int
    findings: tuple[tuple[str, int, tuple[str, ...]], ...]  # oddity, number of clips, first paths
    formats: dict[str, int]
    histograms: tuple[Histogram, ...]
    settings: dict[str, str]
    skipped: tuple[str, ...] = ()  # files of the input without rows, and why
    alike: int = 0  # clips that sound like another clip but differ from it

    def __post_init__(self):
        if self.dropped + self.kept != self.rows_in:
            raise ValueError(f"{self.dropped} dropped and {self.kept} kept rows do not add up to {self.rows_in}")

    @property
    def dropped(self) -> int:
        return sum(count.rows for count in self.rules if count.action == DROPPED)

    @property
    def kept(self) -> int:
        return sum(self.rows_out.values())


def make_histogram(title: str, values: Iterable[float], bins: int = 24) -> Histogram:
    """Counts in at most `bins` bins of a round width; none for no values."""
    values = list(values)
    if not values:
        return Histogram(title, (), ())
    low, high = min(values), max(values)
    width = _round_up((high - low) / bins) if high > low else 1.0
    first = math.floor(low / width)
    counts = [0] * (max(math.ceil(high / width), first + 1) - first)
    for value in values:
        counts[min(int(value / width) - first, len(counts) - 1)] += 1
    edges = tuple(round((first + number) * width, 10) for number in range(len(counts) + 1))
    return Histogram(title, edges, tuple(counts))


def _round_up(width: float) -> float:
    """The next of 1, 2, 2.5 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= width * (1 - 1e-9))


def audit_table(summary: AuditSummary) -> str:
    """The table: rows in, a line per rule, rows out by split, findings about clips."""
    lines = [f"{'':>8} skipped  {line}" for line in summary.skipped]
    lines.append(f"{summary.rows_in:>8} rows in")
    for count in summary.rules:
        example = f"   {_short(count.examples[0], 90)}" if count.examples else ""
        lines.append(f"{count.rows:>8} {count.action:<8} {count.rule:<42}{example}".rstrip())
    parts = ", ".join(f"{name} {rows}" for name, rows in summary.rows_out.items()) or "none"
    lines.append(f"{summary.kept:>8} rows out ({parts}) + {summary.dropped} dropped = {summary.rows_in} in")
    lines.append(f"{summary.clips:>8} clips, of {len(summary.formats)} formats")
    if summary.alike:
        lines.append(f"{summary.alike:>8} sound like another clip but differ from it: sounds_like in audit.jsonl")
    for finding, clips, paths in summary.findings:
        lines.append(f"{clips:>8} {finding}: {_short(paths[0], 90)}")
    return "\n".join(lines)


def _short(text: str, length: int) -> str:
    """The end of a long text, since a file's name says more than its folder."""
    return text if len(text) <= length else "..." + text[3 - length :]


def audit_page(summary: AuditSummary) -> str:
    """The HTML page, with styles and pictures inside it."""
    reader = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    reader.filters["grouped"] = "{:,}".format
    return reader.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        summary=summary,
        colours=COLOURS,
        findings=sum(clips for _, clips, _ in summary.findings),
        flow=_flow(summary),
        shares=[100 * count.rows / max(summary.rows_in, 1) for count in summary.rules],
        histograms=[(histogram, _bars(histogram), _marks(histogram)) for histogram in summary.histograms],
    )


def _flow(summary: AuditSummary) -> list[dict]:
    """The segments of a bar of all rows, in percent of its width: kept rows by split, dropped rows by rule."""
    parts = [(name, rows, COLOURS["kept"]) for name, rows in summary.rows_out.items()]
    parts += [(count.rule, count.rows, COLOURS[DROPPED]) for count in summary.rules if count.action == DROPPED]
    x, bars = 0.0, []
    for number, (name, rows, colour) in enumerate(parts):
        width = 100 * rows / max(summary.rows_in, 1)
        opacity = 1.0 - 0.13 * (number % 5)
        bars.append({"name": name, "rows": rows, "x": x, "width": width, "colour": colour, "opacity": opacity})
        x += width
    return bars


def _bars(histogram: Histogram) -> list[dict]:
    """A bar for every bin: its height in percent of the highest one's, its position in percent of the picture's width."""
    most, bins = max(histogram.counts, default=0), len(histogram.counts)
    return [
        {"x": 100 * number / bins + 0.3, "width": 100 / bins - 0.6, "height": 100 * count / most, "count": count,
         "low": histogram.edges[number], "high": histogram.edges[number + 1]}
        for number, count in enumerate(histogram.counts)
    ]  # fmt: skip


def _marks(histogram: Histogram) -> list[float]:
    """The first, a middle and the last edge, as labels below the bars."""
    bins = len(histogram.counts)
    return [histogram.edges[place] for place in dict.fromkeys((0, bins // 2, bins))] if bins else []
