"""Put the scores under a folder into one table and one picture, and plot its GRPO runs, finished or not.

Reads every infer/<benchmark>/ and every run's completions.jsonl below the folder; writes report/report.md, pictures, and
report/index.html, where single questions can be filtered, read and listened to; prints the table.

    python src/report.py runs/demo
"""

from pathlib import Path

from omni_clst.errors import run_main
from omni_clst.report.config import ReportConfig
from omni_clst.report.report import write_report
from omni_clst.settings import load_config


def main(argv: list[str]) -> None:
    folder = Path(load_config(ReportConfig, argv, about=__doc__, first_word="folder").folder)
    print(write_report(folder, folder / "report"))
    print(f"report: {folder / 'report' / 'report.md'}; questions to read and listen to: {folder / 'report' / 'index.html'}")


if __name__ == "__main__":
    run_main(main)
