"""The report of a folder: its scores as tables and pictures."""

from pathlib import Path

from ..errors import InputError
from ..files import write_text
from .scores import collect
from .tables import results_text


def write_report(folder: Path, out: Path) -> str:
    """Write `report.md`, `accuracy.png` and a picture of every GRPO run's course to `out`; returns the text.

    Raises `InputError` for a folder with neither scores nor such a run.
    """
    from .course_picture import draw_course, find_runs
    from .pictures import draw

    results, runs = collect(folder), find_runs(folder)
    if not results and not runs:
        raise InputError(
            f"{folder}: neither scores (infer/<benchmark>/scores.json) nor a GRPO run (completions.jsonl) in it"
        )
    out.mkdir(parents=True, exist_ok=True)
    text, pictures = "", []
    if results:
        text = results_text(results)
        draw(results, out / "accuracy.png")
        pictures.append("![accuracy by kind](accuracy.png)")
    for run_dir in runs:
        name = str(run_dir.resolve().relative_to(folder.resolve().parent))
        picture = f"course-{name.replace('/', '-')}.png"
        draw_course(run_dir, out / picture)
        pictures.append(f"How the training of {name} went:\n\n![course of {name}]({picture})")
    write_text(out / "report.md", "\n\n".join([f"# Results under {folder.name}", text.rstrip(), *pictures]) + "\n")
    return text
