"""Convert downloaded data sets to checked samples, and report the problems of their rows and clips.

Reads a table of your own (samples), or a data set in one of the layouts avqa, audsem, audiomcq, published, or that of a
benchmark (mmau-mini, mmar, mmsu, ...), from files or the Hub; writes samples.jsonl (valid.jsonl and held_out.jsonl if
requested), dropped.jsonl, audit.jsonl and report/audit.html to --output. A benchmark's --output data/MMSU also gets its
metadata file and clips, as infer.py finds them. Without the name of a source: all sets under --data_root (default: data),
and the training sets joined in source.jsonl. A second start decodes no clip again. The exit status is 1 where no row stays.

    python src/prepare.py avqa --input data/AVQA/train_qa.json --clips data/AVQA/audio --output data/prepared/avqa
"""

import sys
from pathlib import Path

from omni_clst.errors import InputError, run_main
from omni_clst.preparation.config import PrepareAllConfig, PrepareConfig
from omni_clst.preparation.page import audit_table
from omni_clst.preparation.run import Preparation
from omni_clst.preparation.usual import prepare_usual
from omni_clst.settings import load_config

MORE_HELP = "`prepare.py avqa --help` lists the settings for one data set."


def main(argv: list[str]) -> None:
    has_source = bool(argv) and not argv[0].startswith("-")
    if not has_source:
        prepare_usual(load_config(PrepareAllConfig, argv, about=f"{__doc__}\n{MORE_HELP}"))
        return
    config = load_config(PrepareConfig, argv, about=__doc__, first_word="source")
    preparation = Preparation(config)
    summary = preparation.run()
    print(audit_table(summary))
    if preparation.laid_out:
        print(f"for infer.py: {preparation.laid_out}")
    print(f"samples and report: {config.output}", flush=True)
    if not summary.kept:
        print(f"error: {config.output}: no row stays of {summary.rows_in}; dropped.jsonl in it says why", file=sys.stderr)
        raise SystemExit(1)
    if config.strict and summary.findings:
        shown = "; ".join(f"{finding}: {count} ({paths[0]})" for finding, count, paths in summary.findings)
        raise InputError(f"{Path(config.output) / 'report' / 'audit.html'}: {shown}")


if __name__ == "__main__":
    run_main(main)
