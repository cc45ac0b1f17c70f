"""Score a predictions file against MMAU-mini or MMAR by the official rule and by a strict one.

Reads the benchmark's metadata and a predictions file, a JSON array or JSON Lines of {"id", "model_output"}; MMAR's
`answer_prediction` and the older `model_prediction` are read too, the benchmark's own key first. Prints a table, or with
--json one JSON object; writes that object to --output and per-row verdicts to --verdicts.

    python src/score.py --benchmark mmar --meta data/MMAR/MMAR-meta.jsonl --predictions predictions.jsonl
"""

import argparse
import json
from pathlib import Path

from omni_clst.data.benchmark_rows import load_benchmark
from omni_clst.data.benchmarks.registry import BENCHMARKS
from omni_clst.errors import run_main
from omni_clst.files import require_writable, write_json, write_jsonl
from omni_clst.scoring.predictions import read_predictions
from omni_clst.scoring.scores import format_table, score


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    scored = sorted(name for name, benchmark in BENCHMARKS.items() if benchmark.has_answers)
    parser.add_argument("--benchmark", required=True, choices=scored)
    parser.add_argument("--meta", required=True, type=Path, help="the benchmark's metadata file")
    parser.add_argument("--predictions", required=True, type=Path)
    parser.add_argument("--output", type=Path, help="write the JSON object here")
    parser.add_argument("--verdicts", type=Path, help="write one line a row here: id, official 0|1, strict 0|1")
    parser.add_argument("--json", action="store_true", help="print the JSON object instead of the table")
    parser.add_argument("--allow_missing", action="store_true", help="rows without a prediction count as wrong")
    arguments = parser.parse_args(argv)
    for path in (arguments.output, arguments.verdicts):
        if path:
            require_writable(path.parent)

    rows = load_benchmark(arguments.benchmark, arguments.meta)
    scores = score(rows, read_predictions(arguments.predictions, rows.benchmark), arguments.allow_missing)
    if arguments.output:
        write_json(arguments.output, scores.to_json())
    if arguments.verdicts:
        write_jsonl(arguments.verdicts, scores.verdicts)
    print(json.dumps(scores.to_json(), ensure_ascii=False) if arguments.json else format_table(scores))


if __name__ == "__main__":
    run_main(main)
