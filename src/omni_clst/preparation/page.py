"""The audit as a page that needs nothing but itself, and as a table for the terminal."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

DROPPED = "dropped"
NUMBERS = ("rows", "share", "clips")  # columns of figures
COLOURS = {"out": "#3f7d58", DROPPED: "#c4533f"}


@dataclass(frozen=True)
class RuleCount:
    """Rows that met a rule; `action` is dropped, changed or flagged; `examples` are the first few, with their places."""

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
    """What a preparation did: rows by rule and split, and what its clips are like."""

    title: str
    rows_in: int
    rows_out: dict[str, int]  # split -> rows
    rules: tuple[RuleCount, ...]
    clips: int
    findings: tuple[tuple[str, int, tuple[str, ...]], ...]  # what is odd about clips, how many, the first ones
    formats: dict[str, int]
    histograms: tuple[Histogram, ...]
    settings: dict[str, str]
    skipped: tuple[str, ...] = ()  # files of the input that hold no rows, and why
    alike: int = 0  # clips that sound like another one and are different

    def __post_init__(self):
        if self.dropped + self.kept != self.rows_in:
            raise ValueError(f"{self.dropped} dropped and {self.kept} kept are not {self.rows_in} rows")

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
    """Rows in, a line a rule, rows out by split, odd clips."""
    lines = [f"{'':>8} skipped  {line}" for line in summary.skipped]
    lines.append(f"{summary.rows_in:>8} rows in")
    for count in summary.rules:
        example = f"   {_short(count.examples[0], 90)}" if count.examples else ""
        lines.append(f"{count.rows:>8} {count.action:<8} {count.rule:<42}{example}".rstrip())
    parts = ", ".join(f"{name} {rows}" for name, rows in summary.rows_out.items()) or "none"
    lines.append(f"{summary.kept:>8} rows out ({parts}) + {summary.dropped} dropped = {summary.rows_in} in")
    lines.append(f"{summary.clips:>8} clips, of {len(summary.formats)} formats")
    if summary.alike:
        lines.append(f"{summary.alike:>8} sound like another clip and are different: sounds_like in audit.jsonl")
    for what, clips, paths in summary.findings:
        lines.append(f"{clips:>8} {what}: {_short(paths[0], 90)}")
    return "\n".join(lines)


def _short(text: str, length: int) -> str:
    """The end of a long text: of a place, the file's name says more than its folder."""
    return text if len(text) <= length else "..." + text[3 - length :]


def audit_page(summary: AuditSummary) -> str:
    """One HTML page, styles and pictures inside it."""
    odd = sum(clips for _, clips, _ in summary.findings)
    verdict = (
        f"{summary.kept:,} of {summary.rows_in:,} rows stay, {summary.dropped:,} are dropped. "
        f"{summary.clips:,} clips were looked at; {odd:,} findings about them."
    )
    skipped = "".join(f"<li>skipped {escape(line)}</li>" for line in summary.skipped)
    sections = [
        f"<h1>{escape(summary.title)}</h1><p class=verdict>{verdict}</p>{_flow(summary)}<ul>{skipped}</ul>",
        f"<h2>Rows by rule</h2>{_rules(summary)}",
        f"<h2>Odd clips</h2>{_findings(summary)}",
        f"<h2>How long and how loud</h2><div class=grid>{''.join(map(_histogram, summary.histograms))}</div>",
        f"<h2>Formats</h2>{_pairs(summary.formats, ('format', 'clips'))}",
        f"<h2>Made with</h2>{_pairs(summary.settings, ('setting', 'value'))}",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Audit of {escape(summary.title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{''.join(f'<section>{section}</section>' for section in sections)}</main></body></html>\n"
    )


def _flow(summary: AuditSummary) -> str:
    """A bar of all rows: what stays by split, what is dropped by rule; a legend with the numbers below it."""
    parts = [(name, rows, COLOURS["out"]) for name, rows in summary.rows_out.items()]
    parts += [(count.rule, count.rows, COLOURS[DROPPED]) for count in summary.rules if count.action == DROPPED]
    x, bars = 0.0, []
    for number, (name, rows, colour) in enumerate(parts):
        width = 100 * rows / max(summary.rows_in, 1)
        shade = 1.0 - 0.13 * (number % 5)
        bars.append(
            f'<rect x="{x:.3f}%" width="{width:.3f}%" height="34" fill="{colour}" fill-opacity="{shade:.2f}">'
            f"<title>{escape(name)}: {rows:,}</title></rect>"
        )
        x += width
    stay, gone = f"<b style='color:{COLOURS['out']}'>stay</b>", f"<b style='color:{COLOURS[DROPPED]}'>dropped</b>"
    by_split = ", ".join(f"{escape(name)} {rows:,}" for name, rows in summary.rows_out.items()) or "none"
    return (
        f'<svg class=flow width="100%" height="34" role="img" aria-label="rows that stay and rows that are dropped">'
        f"{''.join(bars)}</svg><p class=legend>{stay}: {by_split} &nbsp; {gone}: {summary.dropped:,}</p>"
    )


def _rules(summary: AuditSummary) -> str:
    rows = []
    for count in summary.rules:
        listed = "".join(f"<li>{escape(example)}</li>" for example in count.examples)
        share = 100 * count.rows / max(summary.rows_in, 1)
        details = f"<details><summary>first {len(count.examples)}</summary><ul>{listed}</ul></details>" if listed else ""
        rows.append(
            f"<tr><td>{escape(count.rule)}{details}</td><td class='{escape(count.action)}'>{escape(count.action)}</td>"
            f"<td class=n>{count.rows:,}</td><td class=n>{share:.1f} %</td></tr>"
        )
    return _table(("rule", "action", "rows", "share"), rows) if rows else "<p>No rule was met.</p>"


def _findings(summary: AuditSummary) -> str:
    rows = [
        f"<tr><td>{escape(what)}</td><td class=n>{clips:,}</td><td class=path>{'<br>'.join(map(escape, paths))}</td></tr>"
        for what, clips, paths in summary.findings
    ]
    return _table(("what", "clips", "the first ones"), rows) if rows else "<p>None.</p>"


def _pairs(values: dict[str, object], header: tuple[str, str]) -> str:
    rows = [
        f"<tr><td>{escape(str(name))}</td><td class={'n' if isinstance(value, int) else 'path'}>"
        f"{f'{value:,}' if isinstance(value, int) else escape(str(value))}</td></tr>"
        for name, value in values.items()
    ]
    return _table(header, rows) if rows else "<p>None.</p>"


def _table(header: tuple[str, ...], rows: list[str]) -> str:
    cells = "".join(f"<th{' class=n' if name in NUMBERS else ''}>{name}</th>" for name in header)
    return f"<div class=scroll><table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _histogram(histogram: Histogram) -> str:
    """Bars over a base line, the highest count beside the title, the first, a middle and the last edge below."""
    title = f"<figcaption>{escape(histogram.title)}"
    if not histogram.counts:
        return f"<figure>{title}</figcaption><p>no values</p></figure>"
    most, count = max(histogram.counts), len(histogram.counts)
    bars = []
    for number, rows in enumerate(histogram.counts):
        height = 100 * rows / most
        between = f"{histogram.edges[number]:g} to {histogram.edges[number + 1]:g}: {rows:,}"
        bars.append(
            f'<rect x="{100 * number / count + 0.3:.2f}%" width="{100 / count - 0.6:.2f}%" y="{104 - height:.1f}" '
            f'height="{height:.1f}"><title>{between}</title></rect>'
        )
    marks = dict.fromkeys((0, count // 2, count))
    axis = "".join(f"<span>{histogram.edges[mark]:g}</span>" for mark in marks)
    label = escape(f"{histogram.title} from {histogram.edges[0]:g} to {histogram.edges[-1]:g}")
    return (
        f"<figure>{title} <small>highest bar {most:,}</small></figcaption>"
        f'<svg class=bars width="100%" height="105" role="img" aria-label="{label}">{"".join(bars)}'
        f'<line x1="0" x2="100%" y1="104.5" y2="104.5"/></svg><div class=axis>{axis}</div></figure>'
    )


STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --soft: #52606d; --line: #d9dee3; --card: #ffffff; --back: #f4f6f8;
  --bar: #3f7d9c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #9aa5b1; --line: #3a444e; --card: #1f262d;
  --back: #14191e; --bar: #6fb1d0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 16px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px;
  margin-bottom: 16px; }
h1 { margin: 0; font-size: 26px; } h2 { margin: 0 0 10px; font-size: 18px; }
.verdict { margin: 4px 0 14px; font-size: 17px; } .legend { margin: 6px 0 0; color: var(--soft); }
.flow { display: block; border-radius: 6px; overflow: hidden; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: 13px; }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th.n { text-align: right; }
.dropped { color: #c4533f; } .changed { color: var(--soft); } .flagged { color: #b7791f; }
.path, li { overflow-wrap: anywhere; font-size: 13px; color: var(--soft); }
details summary { cursor: pointer; color: var(--soft); font-size: 13px; } ul { margin: 4px 0 4px 18px; padding: 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 20px; }
figure { margin: 0; } figcaption { font-weight: 600; } small { color: var(--soft); font-weight: 400; font-size: 12px; }
.bars rect { fill: var(--bar); } .bars line { stroke: var(--line); }
.axis { display: flex; justify-content: space-between; font-size: 12px; color: var(--soft); }
"""
