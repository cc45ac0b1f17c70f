"""What the runs of a folder amount to: one table and one picture of accuracy and thinking by kind of question."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .files import read_json, read_jsonl, write_text


@dataclass(frozen=True)
class Result:
    """One model's answers to one benchmark: accuracies and think rate in percent, in all and by group and name."""

    model: str
    benchmark: str
    hearing: str
    total: int
    official: float
    strict: float
    think_rate: float
    tokens: float
    by: dict[str, dict[str, dict[str, float]]]
    think_rate_by_kind: dict[str, float]


def collect(folder: Path) -> list[Result]:
    """Every scored benchmark under `folder`, oldest first, so that stages stand in their order."""
    found = sorted(folder.glob("**/infer/*/scores.json"), key=lambda path: path.stat().st_mtime)
    return [_read_result(folder, path) for path in found]


def _read_result(folder: Path, path: Path) -> Result:
    scores = read_json(path)
    predictions = {row["id"]: row for _, row in read_jsonl(path.with_name("predictions.jsonl"))}
    thoughts = [bool(row.get("think")) for row in predictions.values()]
    tokens = [row.get("tokens", 0) for row in predictions.values()]
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for row in predictions.values():
        by_kind[str(row.get("groups", {}).get("sub-category"))].append(bool(row.get("think")))
    name, _, hearing = path.parent.name.partition(".")
    return Result(
        model=str(path.parents[2].relative_to(folder)),
        benchmark=name,
        hearing=hearing or "real",
        total=scores["total"],
        official=scores["official"]["accuracy"],
        strict=scores["strict"]["accuracy"],
        think_rate=100.0 * sum(thoughts) / len(thoughts),
        tokens=sum(tokens) / len(tokens),
        by=scores["official"]["by"],
        think_rate_by_kind={kind: 100.0 * sum(found) / len(found) for kind, found in by_kind.items()},
    )


def results_table(results: list[Result]) -> str:
    """A Markdown table, one row a model and benchmark."""
    lines = [
        "| model | benchmark | hearing | questions | official % | strict % | thinks % | tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        lines.append(
            f"| {r.model} | {r.benchmark} | {r.hearing} | {r.total} | {r.official:.1f} | {r.strict:.1f} "
            f"| {r.think_rate:.0f} | {r.tokens:.1f} |"
        )
    return "\n".join(lines)


def summary_line(results: list[Result]) -> str:
    """The gain of the last model over the first, over all questions heard, in points."""
    pooled: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for r in results:
        if r.hearing == "real":
            pooled[r.model].append((r.total, r.official))
    means = {model: sum(n * value for n, value in rows) / sum(n for n, _ in rows) for model, rows in pooled.items()}
    if len(means) < 2:
        return ""
    (first, before), (last, after) = list(means.items())[0], list(means.items())[-1]
    questions = sum(n for n, _ in pooled[last])
    return f"{last}: {after:.1f} % of {questions} questions, {after - before:+.1f} points over {first} ({before:.1f} %)"


def draw(results: list[Result], path: Path) -> None:
    """Accuracy and think rate by kind of question, a group of bars a kind, a bar a model, on the first benchmark."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [r for r in results if r.benchmark == results[0].benchmark]
    kinds = sorted(shown[0].by["sub-category"])
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 6.4), layout="constrained", sharex=True)
    for r in shown:
        cells = r.by["sub-category"]
        accuracies = [100 * cells[kind]["correct"] / cells[kind]["total"] for kind in kinds] + [r.official]
        _bars(top, shown, r, accuracies)
        _bars(bottom, shown, r, [r.think_rate_by_kind.get(kind, 0.0) for kind in kinds] + [r.think_rate])
    top.set_ylabel("accuracy, official rule (%)")
    bottom.set_ylabel("answers with a thought (%)")
    bottom.set_xticks(range(len(kinds) + 1), [*kinds, "all"], rotation=20 if len(kinds) > 10 else 0)
    top.set_title(f"{results[0].benchmark}: {shown[0].total} questions by kind")
    for axis in (top, bottom):
        axis.set_ylim(0, 105)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bars(axis, shown: list[Result], r: Result, values: list[float]) -> None:
    """One model's bars, beside those of the others; what was not heard is paler."""
    width = 0.8 / len(shown)
    offset = (shown.index(r) - (len(shown) - 1) / 2) * width
    label = r.model if r.hearing == "real" else f"{r.model}, hearing {r.hearing}"
    alpha = 1.0 if r.hearing == "real" else 0.45
    axis.bar([index + offset for index in range(len(values))], values, width * 0.92, label=label, alpha=alpha)


def write_report(folder: Path, out: Path) -> str:
    """Write `report.md` and `accuracy.png` to `out`; returns the text."""
    results = collect(folder)
    out.mkdir(parents=True, exist_ok=True)
    draw(results, out / "accuracy.png")
    text = f"{results_table(results)}\n\n{summary_line(results)}\n"
    write_text(out / "report.md", f"# Results under {folder.name}\n\n{text}\n![accuracy by kind](accuracy.png)\n")
    return text
