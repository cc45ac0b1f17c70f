"""Find the project's Python environment, or make it in `.venv`; needs nothing but the standard library.

    python environment.py               print the interpreter to use, after installing into .venv if there is none
    python environment.py --no-install  the same, but having none is an error
    python environment.py --in-range    print this interpreter, or fail where pyproject.toml excludes its version
    python environment.py --check       fail, and say why, if this interpreter lacks a pin of requirements.txt

Usable is an environment that satisfies every pin (a local label such as +cu126 aside) and in which no installation of
ours was cut short. In this order: the one that PYTHON names, or else the active one (VIRTUAL_ENV, CONDA_PREFIX); .venv;
the first Python on PATH.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
REQUIREMENTS = REPO / "requirements.txt"
VENV = REPO / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
LOCK = REPO / ".venv.lock"
# Made first, removed last: where it stands, an installation was cut short.
UNFINISHED = VENV / "installation-unfinished"
LOG = VENV / "install.log"

NEEDED_GB = 10  # the environment takes 6 GB, pip's downloads 3 GB
NETWORK_SIGNS = ("Retrying (", "NewConnectionError", "from versions: none", "No matching distribution found")


class SetupError(Exception):
    """What the user has to mend, in one line."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def version_in_range(version: tuple[int, int]) -> bool:
    """Whether (major, minor) is in pyproject.toml's requires-python, written as `>=a.b,<c.d`."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest, above = re.fullmatch(r">=(\d+\.\d+),<(\d+\.\d+)", project["requires-python"]).groups()
    return as_numbers(lowest) <= version < as_numbers(above)


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def pins() -> list[tuple[str, str]]:
    """(name, version) of every `name==version` and `name===version` line of requirements.txt."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    return re.findall(r"^([\w.-]+)\s*={2,3}\s*([^\s;#]+)", text, flags=re.MULTILINE)


def unmet_pins() -> list[str]:
    """What this interpreter lacks, each as `torch is 2.12.0, not 2.13.0` or `torch is missing`."""
    unmet = []
    for name, wanted in pins():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            unmet.append(f"{name} is missing")
            continue
        if version.partition("+")[0] != wanted.partition("+")[0]:
            unmet.append(f"{name} is {version}, not {wanted}")
    return unmet


def first_fault(python: Path) -> str | None:
    """Why another interpreter is not usable; None if it is."""
    try:
        done = subprocess.run([python, __file__, "--check"], capture_output=True, text=True)
    except OSError as error:
        return error.strerror
    if done.returncode == 0:
        return None
    return done.stdout.strip() or "its Python does not fit"


def venv_is_whole() -> bool:
    """Whether .venv has a working Python of the wanted version and no installation in it was cut short."""
    if UNFINISHED.exists() or not VENV_PYTHON.exists():
        return False
    wanted = f"python{sys.version_info.major}.{sys.version_info.minor}" if os.environ.get("PYTHON") else "python*"
    return any(VENV.glob(f"lib/{wanted}"))


def usable_interpreter() -> tuple[Path | None, list[str]]:
    """The first usable interpreter, or None; with it why the ones that the user named or activated are not."""
    named = [Path(sys.executable)] if os.environ.get("PYTHON") else active_interpreters()
    faults = []
    for python in named:
        fault = first_fault(python)
        if fault is None:
            return python, []
        faults.append(f"{python} is not used: {fault}")
    others = [VENV_PYTHON] if venv_is_whole() else []
    if not os.environ.get("PYTHON"):
        others += outside_venv(Path(found) for found in map(shutil.which, ("python3", "python")) if found)
    return next((python for python in others if first_fault(python) is None), None), faults


def active_interpreters() -> list[Path]:
    """The interpreters of the activated environments."""
    folders = [os.environ[name] for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    return outside_venv(Path(folder) / "bin" / "python" for folder in folders)


def outside_venv(interpreters: Iterable[Path]) -> list[Path]:
    """Those that are not .venv's: that one counts only if it is whole, even where it is active."""
    return [python for python in interpreters if python.parent.resolve() != VENV_PYTHON.parent.resolve()]


@contextmanager
def installation_lock() -> Iterator[None]:
    """Hold the lock that lets one start at a time install; says so once if another one holds it."""
    with open(LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another start that installs into {VENV} ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install() -> None:
    """Install requirements.txt into .venv: over what is whole, else anew."""
    with installation_lock():
        if venv_is_whole() and first_fault(VENV_PYTHON) is None:
            return  # another start has just made it
        if not (venv_is_whole() and runs(VENV_PYTHON, "-m", "pip", "--version")):
            make_venv()
        UNFINISHED.touch()
        say(f"installing {len(pins())} packages and what they need into {VENV} (about 2 minutes, 6 GB) ...")
        pip_install()
        fault = first_fault(VENV_PYTHON)
        if fault is not None:
            raise SetupError(f"{VENV} is not usable after the installation: {fault}; full log: {LOG}")
        UNFINISHED.unlink()


def runs(*command: str | Path) -> bool:
    """Whether a command ends without an error, whatever it prints."""
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def make_venv() -> None:
    """An empty .venv in place of what is there."""
    # From inside the .venv that is about to go, its base interpreter has to make the new one.
    python = os.path.realpath(sys.executable) if Path(sys.prefix).resolve() == VENV.resolve() else sys.executable
    if find_spec("ensurepip") is None:
        name = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise SetupError(f"{python} cannot make an environment: install its venv module (Debian, Ubuntu: {name})")
    free = shutil.disk_usage(REPO).free / 1e9
    if free < NEEDED_GB:
        raise SetupError(f"{VENV}: the installation needs {NEEDED_GB} GB of disk, {free:.1f} GB are free")
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    for entry in VENV.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != UNFINISHED:
            entry.unlink()
    done = subprocess.run([python, "-m", "venv", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        LOG.write_text(done.stdout, encoding="utf-8")
        raise SetupError(f"{python} could not make {VENV}: {last_line(done.stdout)}; full log: {LOG}")


def pip_install() -> None:
    """Run pip with its output in the log; raises `SetupError` with the line that says why it failed."""
    command = [VENV_PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r", REQUIREMENTS]
    with open(LOG, "w", encoding="utf-8") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        text = LOG.read_text(encoding="utf-8", errors="replace")
        raise SetupError(f"pip failed: {last_line(text)}{hint(text)}; full log: {LOG}")


def last_line(log: str) -> str:
    """The line of a log that says most: pip's last ERROR, or else the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["no output"]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines)[-1]


def hint(log: str) -> str:
    if "No space left on device" in log:
        return " (the disk is full)"
    if any(sign in log for sign in NETWORK_SIGNS):
        return " (is the package index within reach? Check the network, or pip's proxy and index settings)"
    return ""


def environment(may_install: bool) -> Path:
    """The interpreter to use; raises `SetupError` where there is none and none may be or could be made."""
    python, faults = usable_interpreter()
    if python is not None:
        return python
    if not may_install:
        reasons = f" ({'; '.join(faults)})" if faults else ""
        raise SetupError(f"no usable environment on this node: run script/setup.sh first{reasons}")
    for fault in faults:
        say(f"note: {fault}")
    try:
        install()
    except OSError as error:
        raise SetupError(f"{error.filename or VENV}: {error.strerror}") from None
    return VENV_PYTHON


def main(arguments: list[str]) -> None:
    if arguments == ["--in-range"]:
        if not version_in_range(sys.version_info[:2]):
            sys.exit(1)
        print(sys.executable)
    elif arguments == ["--check"]:
        faults = unmet_pins()
        if not version_in_range(sys.version_info[:2]):
            faults.insert(0, f"Python {sys.version_info.major}.{sys.version_info.minor} is out of range")
        if faults:
            print(faults[0])
            sys.exit(1)
    else:
        try:
            print(environment(may_install=arguments != ["--no-install"]))
        except SetupError as error:
            say(f"error: {error}")
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1:])
