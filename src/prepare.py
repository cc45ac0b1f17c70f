"""Files that people have -> samples that a run can rely on, and a report of what was wrong with rows and clips.

Reads a data set in the outside world's layout (avqa, audsem, audiomcq, published, mmau-mini, mmau-test, mmar), from files
or the Hub; writes samples.jsonl (valid.jsonl and held_out.jsonl if asked for), dropped.jsonl, audit.jsonl and
report/audit.html into --output. Without the name of a source: every set under --data_root (default: data), and what
trains joined into source.jsonl. A second start decodes nothing again.

    python src/prepare.py avqa --input data/AVQA/train_qa.json --clips data/AVQA/audio --output data/prepared/avqa
"""

from pathlib import Path

from omni_clst.errors import InputError, run_main
from omni_clst.preparation.config import PrepareConfig
from omni_clst.preparation.page import audit_table
from omni_clst.preparation.run import Preparation
from omni_clst.preparation.usual import prepare_usual
from omni_clst.settings import asks_for_help, load_config


def main(argv: list[str]) -> None:
    names_source = bool(argv) and not argv[0].startswith("-")
    if not names_source and not asks_for_help(argv):
        prepare_usual(argv)
        return
    config = load_config(PrepareConfig, argv, about=__doc__, first_word="source")
    summary = Preparation(config).run()
    print(audit_table(summary))
    print(f"samples and report: {config.output}", flush=True)
    if config.strict and summary.findings:
        shown = "; ".join(f"{what}: {count} ({paths[0]})" for what, count, paths in summary.findings)
        raise InputError(f"{Path(config.output) / 'report' / 'audit.html'}: {shown}")


if __name__ == "__main__":
    run_main(main)
