"""Write a comparison for reading, and its flipped questions as rows."""

from collections.abc import Iterator

from ..data.table import make_table, with_interval
from .comparison import Comparison
from .scores import MAX_NAME_LENGTH, first_ids
from .sides import Side


def format_comparison(comparison: Comparison) -> str:
    """Accuracies, difference, test, flips, groups, and the number of questions that the gain would need."""
    found = comparison.to_json()
    left_out = f", {comparison.left_out} left out that not all have" if comparison.left_out else ""
    lines = [f"{comparison.benchmark}, {comparison.rule} rule: {found['questions']} questions{left_out}"]
    lines += [f"warning: {warning}" for warning in comparison.warnings]
    lines += [f"first   {comparison.first.name}", f"second  {comparison.second.name}"]
    lines.append(make_table(HEADER, list(_table_rows(found))))
    lines += [*_length_lines(found), _test_line(comparison, found)]
    with_every_seed = " with every seed" if len(comparison.first.sides) > 1 else ""
    for word, way in (("gained", 1), ("lost", -1)):
        ids = comparison.flipped(way)
        lines.append(f"{word}{with_every_seed}: {len(ids)}{f' ({first_ids(ids)})' if ids else ''}")
    lines.append(_needed_line(found))
    return "\n".join(lines)


HEADER = ("", "questions", "first % [95 %]", "second % [95 %]", "difference [95 %]", "gained", "lost")


def _table_rows(found: dict) -> Iterator[list[str]]:
    yield _cells("all", found)
    for group, names in found["by"].items():
        for name, part in names.items():
            yield _cells(f"{group}: {name}"[:MAX_NAME_LENGTH], part)


def _cells(name: str, part: dict) -> list[str]:
    accuracies = [with_interval(part[key]["accuracy"], part[key]["interval"]) for key in ("first", "second")]
    difference = f"{part['difference']:+.1f} [{part['interval'][0]:+.1f}, {part['interval'][1]:+.1f}]"
    return [name, str(part["questions"]), *accuracies, difference, str(part["gained"]), str(part["lost"])]


def _length_lines(found: dict) -> Iterator[str]:
    """Think rate and tokens of both models, as means over seeds, where the predictions say them."""
    for key, words in (("think_rate", "think rate %"), ("mean_tokens", "tokens an answer")):
        values = {name: [side[key] for side in found[name]["sides"]] for name in ("first", "second")}
        if not any(None in of_seeds for of_seeds in values.values()):
            yield f"{words}: " + ", ".join(f"{name} {sum(of) / len(of):.1f}" for name, of in values.items())


def _test_line(comparison: Comparison, found: dict) -> str:
    if found["mcnemar_p"] is not None:
        return f"McNemar's exact test, two-sided: p = {found['mcnemar_p']:.2g}"
    seeds = len(comparison.first.sides)
    parts = [f"{key} {found[key]['accuracy']:.1f} ± {found[key]['deviation']:.1f}" for key in ("first", "second")]
    return f"mean ± standard deviation over {seeds} seeds: {', '.join(parts)}; the difference's interval counts both"


def _needed_line(found: dict) -> str:
    """`a gain of +1.5 points would need about 3,900 questions`, with two digits."""
    if not found["gain"]:
        return "no difference: --gain POINTS says how many questions a gain would need"
    word, needed = "gain" if found["gain"] > 0 else "loss", found["questions_needed"]
    gain = f"a {word} of {found['gain']:+.1f} points would need"
    if needed is None:
        return f"{gain} more seeds: their difference alone hides it, with any number of questions"
    rounded = round(needed, 2 - len(str(needed)))
    return f"{gain} about {rounded:,} questions (power 80 %)"


def flip_rows(comparison: Comparison) -> Iterator[dict]:
    """The questions with another verdict, with both answers; of several seeds those of the first."""
    sides = {"first": comparison.first.sides[0], "second": comparison.second.sides[0]}
    samples = {sample.id: sample for sample in sides["first"].rows.samples}
    for word, way in (("gained", 1), ("lost", -1)):
        for key in comparison.flipped(way):
            sample = samples[key]
            yield {
                "benchmark": comparison.benchmark,
                "id": key,
                "flip": word,
                "clip": sample.audio_path,
                "question": sample.question,
                "choices": list(sample.choices),
                "answer": sample.answer,
                **{name: _answer(side, key) for name, side in sides.items()},
            }


def _answer(side: Side, key: str) -> dict:
    row = side.scores.predictions.rows.get(key, {})
    return {"model": side.name, "output": side.scores.predictions.outputs.get(key), "thought": row.get("think")}
