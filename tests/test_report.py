"""The report: one row a scored benchmark, and a picture of them."""

import json

from PIL import Image

import report
from omni_clst.report import collect, results_table, summary_line


def write_result(folder, accuracy, thinks, total=10):
    folder.mkdir(parents=True)
    cells = {"first": {"correct": int(accuracy / 10), "total": total}}
    tally = {"accuracy": accuracy, "by": {"sub-category": cells}}
    (folder / "scores.json").write_text(json.dumps({"total": total, "official": tally, "strict": tally}))
    rows = [{"id": str(n), "think": "a" if n < thinks else "", "tokens": 4} for n in range(total)]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_report_has_a_row_for_every_scored_benchmark(tmp_path, capsys):
    write_result(tmp_path / "base" / "infer" / "mmau-mini", 40.0, 0)
    write_result(tmp_path / "sft" / "merged" / "infer" / "mmau-mini", 90.0, 5)
    write_result(tmp_path / "sft" / "merged" / "infer" / "mmau-mini.silence", 20.0, 5)
    results = collect(tmp_path)
    assert results_table(results).splitlines()[2:] == [
        "| base | mmau-mini | real | 10 | 40.0 | 40.0 | 0 | 4.0 |",
        "| sft/merged | mmau-mini | real | 10 | 90.0 | 90.0 | 50 | 4.0 |",
        "| sft/merged | mmau-mini | silence | 10 | 20.0 | 20.0 | 50 | 4.0 |",
    ]
    assert summary_line(results) == "sft/merged: 90.0 % of 10 questions, +50.0 points over base (40.0 %)"
    report.main([str(tmp_path)])
    assert "+50.0 points" in capsys.readouterr().out
    assert Image.open(tmp_path / "report" / "accuracy.png").size > (500, 300)
