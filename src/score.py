"""Score a predictions file against a benchmark, or a sample file, by the official, the strict and the extracted rule.

Reads the benchmark's metadata (or --samples) and a predictions file, a JSON array or JSON Lines of {"id", "model_output"};
MMAR's `answer_prediction` and the older `model_prediction` are read too, the key of its official script first, and the
samples files of lmms-eval. Prints a table, or with --json one JSON object; writes that object to --output and per-row
verdicts to --verdicts.

    python src/score.py --benchmark mmar --meta data/MMAR/MMAR-meta.jsonl --predictions predictions.jsonl
"""

import json
from pathlib import Path

from omni_clst.errors import run_main
from omni_clst.files import require_writable, write_json, write_jsonl
from omni_clst.scoring.config import ScoreConfig
from omni_clst.scoring.origin import read_origin
from omni_clst.scoring.predictions import read_predictions
from omni_clst.scoring.rubrics import format_ratings, tally_ratings
from omni_clst.scoring.scores import format_table, score
from omni_clst.scoring.sides import load_rows
from omni_clst.settings import load_config


def main(argv: list[str]) -> None:
    config = load_config(ScoreConfig, argv, about=__doc__)
    for path in (config.output, config.verdicts):
        if path:
            require_writable(Path(path).parent)

    rows = load_rows(config)
    if config.rubrics:
        tally = tally_ratings(rows, config.rubrics, config.allow_missing)
        if config.output:
            write_json(Path(config.output), tally.to_json())
        print(json.dumps(tally.to_json(), ensure_ascii=False) if config.json else format_ratings(rows, tally))
        return
    assert config.predictions is not None  # by a rule of the settings
    predictions = read_predictions(config.predictions, rows.benchmark, rows.samples)
    scores = score(rows, predictions, config.allow_missing, read_origin(Path(config.predictions)), config.embedder)
    if config.output:
        write_json(Path(config.output), scores.to_json())
    if config.verdicts:
        write_jsonl(Path(config.verdicts), scores.verdicts)
    print(json.dumps(scores.to_json(), ensure_ascii=False) if config.json else format_table(scores))


if __name__ == "__main__":
    run_main(main)
