"""Create run directories with their settings and environment, and check that a resumed run has the same settings."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from .errors import InputError
from .files import read_yaml, require_writable, write_json, write_yaml
from .processes import process_count, process_rank, wait_for_all
from .settings import REPOSITORY

FINISHED_RUN_VARIABLE = "OMNI_CLST_FINISHED_RUN"  # names the file that script/CLST.sh reads
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "numpy", "soundfile", "librosa")


def changed_settings(before: dict, now: dict, may_change: Collection[str] = ()) -> list[str]:
    """Settings that differ and are not in `may_change`, as `name: before -> now`."""
    names = sorted((before.keys() | now.keys()) - set(may_change))
    return [f"{name}: {before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]


def open_run(config, content: dict[str, str], **facts: str) -> Path:
    """Create or reopen a run directory and write `config.yaml` and `environment.json`, with further `facts`.

    `content` are hashes of files that the settings name. Raises `InputError` for a directory with other settings or
    contents, unless `overwrite`. Rank 0 writes, the others wait.
    """
    run_dir = config.run_dir
    if process_rank() == 0:
        _write_run(config, run_dir, content, facts)
    wait_for_all()
    return run_dir


def _write_run(config, run_dir: Path, content: dict[str, str], facts: dict[str, str]) -> None:
    if config.overwrite:
        shutil.rmtree(run_dir, ignore_errors=True)
    require_writable(run_dir)
    file, settings = run_dir / "config.yaml", config.model_dump() | content
    if file.exists():
        changed = changed_settings(read_yaml(str(file)), settings, config.may_change_on_resume())
        if changed:
            raise InputError(
                f"{run_dir}: was started with other settings ({'; '.join(changed)}); "
                "give another --run_name, or --overwrite to delete it"
            )
    write_yaml(settings, file)
    write_json(run_dir / "environment.json", describe_environment() | facts)


def notify_launcher(run_dir: Path) -> None:
    """Write a finished run's directory to the file that the launcher names, if any; one process per node does."""
    file = os.environ.get(FINISHED_RUN_VARIABLE)
    if file and os.environ.get("LOCAL_RANK", "0") == "0":
        Path(file).write_text(f"{run_dir}\n", encoding="utf-8")


def describe_environment() -> dict:
    """Versions, commit and devices of this run."""
    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "commit": find_commit(),
        "processes": process_count(),
        "devices": devices or [f"cpu, {os.cpu_count()} cores, {torch.get_num_threads()} threads"],
    }


def find_commit() -> str | None:
    """The repository's commit, with a `+` if files differ from it; None outside a checkout."""
    if shutil.which("git") is None:
        return None

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True).stdout.strip()

    commit = git("rev-parse", "HEAD")
    return (commit + ("+" if git("status", "--porcelain") else "")) or None
