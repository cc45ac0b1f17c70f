"""Open the trackers of `report_to`, and say where they keep a run; their own environment variables come first.

The callbacks of transformers go on with a run that is open. Opened here, before the model is loaded, a missing login is one
line; and SwanLab 0.10 raises where its callback asks whether a run is open.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..processes import process_rank

PROJECT = "omni-clst"


def open_trackers(report_to: Sequence[str], run_name: str, run_dir: Path) -> None:
    """Open W&B and SwanLab on rank 0, with their files in the run's folder; raises `InputError` without a login."""
    if process_rank() > 0:
        return
    if "wandb" in report_to:
        _open_wandb(run_name, run_dir)
    if "swanlab" in report_to:
        _open_swanlab(run_name, run_dir)


def trackio_project() -> str:
    """The project in which trackio keeps the run, below `TRACKIO_DIR`."""
    return os.environ.get("TRACKIO_PROJECT", PROJECT)


def _open_wandb(run_name: str, run_dir: Path) -> None:
    for name in ("WANDB_DIR", "WANDB_DATA_DIR"):  # the second has the clips of an offline run
        os.environ.setdefault(name, str(run_dir))
    import wandb

    try:
        if wandb.run is None:
            wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), name=run_name)
    except wandb.Error as error:
        raise InputError(f"report_to wandb: {error} Or set WANDB_MODE=offline in the environment") from None


def _open_swanlab(run_name: str, run_dir: Path) -> None:
    import swanlab

    given = os.environ.get
    try:
        if not swanlab.has_run():
            swanlab.init(
                project=given("SWANLAB_PROJ_NAME", PROJECT),
                name=run_name,
                log_dir=given("SWANLAB_LOG_DIR", str(run_dir / "swanlog")),
                id=given("SWANLAB_RUN_ID"),
                resume=given("SWANLAB_RESUME"),
            )
    except RuntimeError as error:
        raise InputError(f"report_to swanlab: {error} Or set SWANLAB_MODE=offline in the environment") from None
