"""Write the report of a folder: tables and pictures of its scores and GRPO runs."""

from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..files import write_text
from .page import report_page
from .question_data import page_data
from .scores import Result, collect
from .tables import results_text


def write_report(folder: Path, out: Path) -> str:
    """Write `report.md` and `index.html` with all tables and pictures to `out`; returns the tables.

    Raises `InputError` for a folder with neither scores nor a GRPO run.
    """
    from .course_picture import find_runs

    results, runs = collect(folder), find_runs(folder)
    if not results and not runs:
        raise InputError(
            f"{folder}: neither scores (infer/<benchmark>/scores.json) nor a GRPO run (completions.jsonl) in it"
        )
    out.mkdir(parents=True, exist_ok=True)
    text = results_text(results) if results else ""
    illustrated = [*_scores(results, folder, out), *_courses(runs, folder, out)]
    parts = [f"{above}![{above.splitlines()[0]}]({picture})" for above, picture in illustrated]
    title = f"Results under {folder.resolve().name}"
    write_text(out / "report.md", "\n\n".join([f"# {title}", text.rstrip(), *parts]) + "\n")
    pictures = [picture for _, picture in illustrated]
    write_text(out / "index.html", report_page(title, page_data(results, out), pictures))
    return text


def _scores(results: list[Result], folder: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Texts with their pictures: accuracy by kind of question, and of every checkpoint of a run that has several."""
    from .checkpoints import checkpoints_table, group_by_run, plot_checkpoints
    from .pictures import plot_scores

    if results:
        plot_scores(results, out / "accuracy.png")
        yield "Accuracy by kind of question:\n\n", "accuracy.png"
    for run_dir, part in group_by_run(results).items():
        name = _name_of(run_dir, folder)
        picture = f"checkpoints-{name.replace('/', '-')}.png"
        plot_checkpoints(part, out / picture)
        yield f"Checkpoints of {name}:\n\n{checkpoints_table(part)}\n\n", picture


def _courses(runs: list[Path], folder: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Texts with their pictures: the course of every GRPO run."""
    from .course_picture import plot_course

    for run_dir in runs:
        name = _name_of(run_dir, folder)
        picture = f"course-{name.replace('/', '-')}.png"
        plot_course(run_dir, out / picture)
        yield f"Training of {name}:\n\n", picture


def _name_of(run_dir: Path, folder: Path) -> str:
    return str(run_dir.resolve().relative_to(folder.resolve().parent))
