"""Write the report of a folder: tables and pictures of its scores and GRPO runs."""

from pathlib import Path

from ..errors import InputError
from ..files import write_text
from .page import report_page
from .question_data import page_data
from .scores import collect
from .tables import results_text


def write_report(folder: Path, out: Path) -> str:
    """Write `report.md`, `accuracy.png`, a picture of every GRPO run and `index.html` to `out`; returns the tables.

    Raises `InputError` for a folder with neither scores nor such a run.
    """
    from .course_picture import find_runs, plot_course
    from .pictures import plot_scores

    results, runs = collect(folder), find_runs(folder)
    if not results and not runs:
        raise InputError(
            f"{folder}: neither scores (infer/<benchmark>/scores.json) nor a GRPO run (completions.jsonl) in it"
        )
    out.mkdir(parents=True, exist_ok=True)
    text, parts, pictures = "", [], []
    if results:
        text = results_text(results)
        plot_scores(results, out / "accuracy.png")
        pictures.append("accuracy.png")
        parts.append("![accuracy by kind](accuracy.png)")
    for run_dir in runs:
        name = str(run_dir.resolve().relative_to(folder.resolve().parent))
        picture = f"course-{name.replace('/', '-')}.png"
        plot_course(run_dir, out / picture)
        pictures.append(picture)
        parts.append(f"Training of {name}:\n\n![course of {name}]({picture})")
    title = f"Results under {folder.resolve().name}"
    write_text(out / "report.md", "\n\n".join([f"# {title}", text.rstrip(), *parts]) + "\n")
    write_text(out / "index.html", report_page(title, page_data(results, out), pictures))
    return text
