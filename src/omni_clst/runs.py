"""Create run directories with their settings and environment, and check that a resumed run has the same settings."""

import errno
import fcntl
import importlib.metadata
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from .errors import InputError
from .files import read_yaml, require_writable, write_json, write_yaml
from .processes import process_count, process_rank, say, wait_for_all
from .settings import REPOSITORY

LOCK_FILE = ".lock"
FINISHED_RUN_VARIABLE = "OMNI_CLST_FINISHED_RUN"  # names the file that script/CLST.sh reads
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "numpy", "soundfile", "librosa")


def changed_settings(before: dict, now: dict, may_change: Collection[str] = ()) -> list[str]:
    """Settings that differ and are not in `may_change`, as `name: before -> now`."""
    names = sorted((before.keys() | now.keys()) - set(may_change))
    return [f"{name}: {before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]


@contextmanager
def open_run(config, content: dict[str, str], **facts: str) -> Iterator[Path]:
    """Create or reopen a run directory, for this run alone, and write `config.yaml` and `environment.json` with `facts`.

    `content` are hashes of files that the settings name. Raises `InputError` for a directory that another run has, or one
    with other settings or contents, unless `overwrite`. Rank 0 writes, the others wait.
    """
    run_dir = config.run_dir
    with ExitStack() as stack:
        if process_rank() == 0:
            stack.enter_context(FolderLock(run_dir, "give another --run_name"))
            _write_run(config, run_dir, content, facts)
        wait_for_all()
        yield run_dir


class FolderLock:
    """Keeps other runs out of a folder until it is closed; raises `InputError` with the run that has it.

    The system takes the lock back when this process ends, however it does. It holds between nodes where their shared file
    system has POSIX locks: NFS without `nolock`, Lustre with `flock`, GPFS.
    """

    def __init__(self, folder: Path, remedy: str):
        self.path = require_writable(folder) / LOCK_FILE
        self.file = self._open(folder, remedy)
        while not self._is_there():  # the run that had it has ended meanwhile, and removed it
            self.file.close()
            self.file = self._open(folder, remedy)
        self.file.truncate(0)
        self.file.write(_describe_process())
        self.file.flush()

    def _open(self, folder: Path, remedy: str) -> TextIO:
        file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                with file:
                    file.seek(0)
                    user = file.read() or "another run"
                raise InputError(f"{folder}: {user} writes there; wait for it, end it, or {remedy}") from None
            say(f"warning: {folder}: its file system has no locks ({error.strerror}): start no second run there")
        return file

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.file.fileno()))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        self.file.close()

    def __enter__(self) -> None: ...

    def __exit__(self, *_) -> None:
        self.close()


def _describe_process() -> str:
    job = f"Slurm job {os.environ['SLURM_JOB_ID']}, " if "SLURM_JOB_ID" in os.environ else ""
    return f"{job}process {os.getpid()} on {platform.node()} (since {time.strftime('%Y-%m-%d %H:%M:%S')})"


def empty_folder(folder: Path, last: str) -> None:
    """Delete what is in a folder but its lock; the file `last`, by which the rest is known, after all others.

    A kill in between leaves whole folders, never parts of them.
    """
    deleted = folder / ".deleted"
    shutil.rmtree(deleted, ignore_errors=True)
    paths = [path for path in folder.iterdir() if path.name != LOCK_FILE]
    deleted.mkdir()
    for path in sorted(paths, key=lambda path: (path.name == last, path.is_dir())):
        path.rename(deleted / path.name)
    shutil.rmtree(deleted, ignore_errors=True)


def _write_run(config, run_dir: Path, content: dict[str, str], facts: dict[str, str]) -> None:
    if config.overwrite:
        empty_folder(run_dir, last="config.yaml")
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
