"""Write the results of a grid of worlds: its tables, its figures as JSON, and its pictures."""

from dataclasses import asdict
from pathlib import Path

from ..files import read_json, write_json, write_text
from .thinking_map import Folders, ThinkingMap, budget_table, comparison_table, worth_table
from .thinking_picture import Worth, plot_course, plot_map

NOTES = """In all tables: percent, mean ± standard deviation over the seeds; greedy answers, strict score. Differences are
in points with their 95 % interval over questions and seeds, bold where it excludes 0. *Gain of a thought*: accuracy with a
forced thought less that with a forced empty one. *Shallow* questions need no thought, *deep* ones do, and no transcript
answers those of *perception*."""


def write_results(
    folder: Path,
    name: str,
    folders: Folders,
    pairs: list[tuple[str, str]],
    lines: dict[str, tuple[str, str]],
    command: str,
    environment: dict,
) -> str:
    """Write NAME.md, .json, .png (the models of `lines`), and NAME_WORLD.png where models were trained by GRPO; returns
    the Markdown."""
    thinking_map = ThinkingMap(folders)
    differences = thinking_map.comparisons(pairs)
    judged = [after for after, _ in pairs]
    worth = {model: thinking_map.worth_of_thinking(model) for model in dict.fromkeys(judged)}
    sections = {
        "Differences": comparison_table(differences),
        "Differences where completions are cut off": budget_table(thinking_map.within_budgets(pairs)),
        "Models": thinking_map.model_table(),
        "Accuracy within a budget of tokens": thinking_map.budget_table(),
        "Tokens for an accuracy": thinking_map.tokens_table(),
        **{f"What a thought is worth to: {model}": worth_table(rows) for model, rows in worth.items() if rows},
        "By benchmark": thinking_map.benchmark_table(),
        "With another sound": thinking_map.audio_table(),
    }
    commits = ", ".join(sorted(_commits_of(folders)))
    origin = f"Made by `{command}` from models of commit {commits}, {environment['devices'][0]}."
    text = "\n\n".join(f"## {title}\n\n{table}" for title, table in sections.items() if table)
    text = f"# {name.replace('_', ' ').capitalize()}\n\n{origin}\n\n{NOTES}\n\n{text}\n"
    write_text(folder / f"{name}.md", text)
    kept = {key: environment[key] for key in ("python", "packages", "commit", "devices")}
    figures = {
        "command": command,
        "environment": kept,
        "models": thinking_map.as_json(),
        "differences": {", ".join(key): asdict(difference) for key, difference in differences.items()},
        "worth": {
            f"{model}, {world}, {kind}": asdict(gain) | {"think_rate": rate}
            for model, rows in worth.items()
            for (world, kind), (gain, rate) in rows.items()
        },
    }
    write_json(folder / f"{name}.json", figures)
    chooses_most = max(worth.items(), key=lambda item: _selectivity(item[1]), default=("", {}))
    plot_map(folder / f"{name}.png", thinking_map, lines, *chooses_most)
    for world, models in folders.items():
        trained = {model: by_seed for model, by_seed in models.items() if _has_course(by_seed)}
        if trained:
            plot_course(folder / f"{name}_{world}.png", trained)
    return text


def _commits_of(folders: Folders) -> set[str]:
    """Of the code that scored the models."""
    models = [folder for models in folders.values() for by_seed in models.values() for folder in by_seed.values()]
    scores = [read_json(file) for folder in models for file in folder.glob("infer/*/scores.json")]
    return {str(score["origin"]["commit"]) for score in scores}  # None outside of a git checkout


def _selectivity(worth: Worth) -> float:
    """How much the think rate differs between kinds of questions."""
    rates = [rate for _, rate in worth.values()]
    return max(rates) - min(rates) if rates else -1.0


def _has_course(folders: dict[str, Path]) -> bool:
    return all((folder / "completions.jsonl").exists() for folder in folders.values())
