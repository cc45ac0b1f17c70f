"""Set-up and launching: which Python environment is used, when `.venv` is made, how many processes are started.

Every repository here is a copy of the scripts in a folder with a space; pip has no index and installs a package made on
the spot.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RANGE = ">=3.11,<3.14"


def load_environment_module():
    spec = importlib.util.spec_from_file_location("environment", ROOT / "script" / "environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """script/environment.py as a module, at home in an empty folder."""
    module = load_environment_module()
    monkeypatch.setattr(module, "REPO", tmp_path)
    for name, path in [
        ("REQUIREMENTS", "requirements.txt"),
        ("VENV", ".venv"),
        ("VENV_PYTHON", ".venv/bin/python"),
        ("LOCK", ".venv.lock"),
        ("UNFINISHED", ".venv/installation-unfinished"),
        ("LOG", ".venv/install.log"),
    ]:
        monkeypatch.setattr(module, name, tmp_path / path)
    for name in ("PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    return module


def make_repository(folder: Path, requirements: str = "") -> Path:
    (folder / "script").mkdir(parents=True)
    for name in ("common.sh", "setup.sh", "environment.py"):
        shutil.copy(ROOT / "script" / name, folder / "script" / name)
    (folder / "pyproject.toml").write_text(f'[project]\nrequires-python = "{RANGE}"\n')
    (folder / "requirements.txt").write_text(requirements)
    return folder


def make_wheel(folder: Path, version: str) -> None:
    """A package of no content, `tiny-clst-test`, that pip can install."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"tiny_clst_test-{version}.dist-info"
    files = {
        "tiny_clst_test.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny-clst-test\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"tiny_clst_test-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)


def make_tools(folder: Path, **scripts: str) -> Path:
    """A folder for PATH with the tools that the launchers need, no Python, and the given scripts."""
    folder.mkdir()
    for tool in ("bash", "dirname", "sed", "grep", "nproc"):
        (folder / tool).symlink_to(shutil.which(tool))
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        path.chmod(0o755)
    return folder


def run_bash(command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a bash command line with PATH, HOME and these variables as its whole environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, env={**kept, **variables}, capture_output=True, text=True, timeout=600
    )


# --- which environment is usable


def test_pins_have_two_or_three_equal_signs(environment):
    environment.REQUIREMENTS.write_text("# why\na===1.0\nb.c-d_e==2.0  # because\n\nf>=3\n")
    assert environment.pins() == [("a", "1.0"), ("b.c-d_e", "2.0")]


def test_every_requirement_of_the_project_is_a_pin(environment, monkeypatch):
    monkeypatch.setattr(environment, "REQUIREMENTS", ROOT / "requirements.txt")
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert len(environment.pins()) == len([line for line in lines if line and not line.startswith("#")])


@pytest.mark.parametrize(
    ("installed", "pin", "unmet"),
    [
        ("2.13.0", "torch===2.13.0", []),
        ("2.13.0+cu126", "torch===2.13.0", []),  # torch's own build for an older driver
        ("2.13.0", "torch==2.13.0+cpu", []),
        ("2.12.0", "torch==2.13.0", ["torch is 2.12.0, not 2.13.0"]),
        ("2.13.0.post1", "torch==2.13.0", ["torch is 2.13.0.post1, not 2.13.0"]),
        (None, "torch==2.13.0", ["torch is missing"]),
    ],
)
def test_pin_is_met_by_its_version_with_any_local_label(environment, monkeypatch, installed, pin, unmet):
    def version(name):
        if installed is None:
            raise environment.metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(environment.metadata, "version", version)
    environment.REQUIREMENTS.write_text(f"{pin}\n")
    assert environment.unmet_pins() == unmet


@pytest.mark.parametrize(
    ("version", "fits"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False), ((4, 0), False)]
)
def test_python_range_is_that_of_pyproject(environment, monkeypatch, version, fits):
    monkeypatch.setattr(environment, "REPO", ROOT)
    assert environment.version_in_range(version) is fits


def test_installation_cut_short_is_not_whole(environment):
    (environment.VENV / "bin").mkdir(parents=True)
    (environment.VENV / "lib" / "python3.11").mkdir(parents=True)
    assert not environment.venv_is_whole()
    environment.VENV_PYTHON.symlink_to(sys.executable)
    assert environment.venv_is_whole()
    environment.UNFINISHED.touch()
    assert not environment.venv_is_whole()


def test_venv_whose_python_is_gone_is_not_whole(environment):
    (environment.VENV / "bin").mkdir(parents=True)
    (environment.VENV / "lib" / "python3.11").mkdir(parents=True)
    environment.VENV_PYTHON.symlink_to("/nowhere/python3.11")
    assert not environment.venv_is_whole()


def test_venv_of_another_version_than_that_of_python_is_not_whole(environment, monkeypatch):
    (environment.VENV / "bin").mkdir(parents=True)
    (environment.VENV / "lib" / "python3.9").mkdir(parents=True)
    environment.VENV_PYTHON.symlink_to(sys.executable)
    assert environment.venv_is_whole()
    monkeypatch.setenv("PYTHON", sys.executable)
    assert not environment.venv_is_whole()


# --- what ends an installation, each in one line


def test_too_little_disk_is_told_before_anything_is_made(environment, monkeypatch):
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9e9, 7e9, 2e9))
    with pytest.raises(environment.SetupError) as error:
        environment.make_venv()
    assert str(error.value) == f"{environment.VENV}: the installation needs 10 GB of disk, 2.0 GB are free"
    assert not environment.VENV.exists()


def test_python_without_venv_names_the_package_to_install(environment, monkeypatch):
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    with pytest.raises(environment.SetupError) as error:
        environment.make_venv()
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert str(error.value) == (
        f"{sys.executable} cannot make an environment: install its venv module (Debian, Ubuntu: {package})"
    )


@pytest.mark.parametrize(
    ("log", "line", "hint"),
    [
        ("Collecting a\nERROR: broken\n\n[notice] new pip\n", "ERROR: broken", ""),
        ("killed\n", "killed", ""),
        ("", "no output", ""),
        ("ERROR: [Errno 28] No space left on device\n", "ERROR: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying (Retry(total=4))\nERROR: no a\n", "ERROR: no a", "Check the network"),
    ],
)
def test_failure_of_pip_is_told_by_its_last_error_and_a_hint(environment, log, line, hint):
    assert environment.last_line(log) == line
    assert hint in environment.hint(log)
    assert bool(hint) == bool(environment.hint(log))


def test_no_python_in_range_is_one_line(tmp_path):
    repository = make_repository(tmp_path / "a repository")
    tools = make_tools(tmp_path / "tools", python3="exit 1")
    done = run_bash(f"bash '{repository}/script/setup.sh'", tmp_path, PATH=str(tools))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: no Python in the range {RANGE}: install one, or name it with PYTHON=\n"


@pytest.mark.parametrize("python", ["/nowhere/python", "false"])
def test_python_that_does_not_fit_is_one_line(tmp_path, python):
    repository = make_repository(tmp_path / "a repository")
    done = run_bash(f"bash '{repository}/script/setup.sh'", tmp_path, PYTHON=python)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: PYTHON={python} is not a Python in the range {RANGE}\n"


def test_nodes_of_a_cluster_never_install(tmp_path):
    repository = make_repository(tmp_path / "a repository", "tiny-clst-test==1.0\n")
    done = run_bash(f"source '{repository}/script/common.sh'", tmp_path, NNODES="2", PYTHON=sys.executable)
    assert done.returncode == 2
    assert done.stderr == (
        "error: no usable environment on this node: run script/setup.sh first "
        f"({sys.executable} is not used: tiny-clst-test is missing)\n"
    )
    assert not (repository / ".venv").exists()


# --- making .venv


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A repository whose .venv two starts made at the same moment; returns it, pip's settings and both outcomes."""
    folder = tmp_path_factory.mktemp("two starts")
    repository = make_repository(folder / "a repository", "tiny-clst-test==1.0\n")
    wheels = tmp_path_factory.mktemp("wheels")
    make_wheel(wheels, "1.0+cu126")
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    starts = [
        subprocess.Popen(
            ["bash", repository / "script" / "setup.sh"],
            cwd=folder,
            env={"PATH": os.path.dirname(sys.executable) + ":" + os.environ["PATH"], **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    return repository, settings, [(*start.communicate(timeout=600), start.returncode) for start in starts]


@pytest.mark.slow
def test_two_starts_at_once_install_once(installed):
    repository, _, outcomes = installed
    venv = repository / ".venv"
    made = f"environment: {venv}/bin/python (Python {sys.version.split()[0]})\n"
    assert [(out, code) for out, _, code in outcomes] == [(made, 0), (made, 0)]
    assert sorted(err for _, err, _ in outcomes) == [
        f"installing 1 packages and what they need into {venv} (about 2 minutes, 6 GB) ...\n",
        f"waiting for another start that installs into {venv} ...\n",
    ]
    assert "Successfully installed tiny-clst-test" in (venv / "install.log").read_text()


@pytest.mark.slow
def test_second_start_installs_nothing(installed):
    repository, _, _ = installed
    done = run_bash(f"bash '{repository}/script/setup.sh'", repository)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"environment: {repository}/.venv/bin/python ")


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_active_environment_that_satisfies_the_pins_is_used_as_is(installed, tmp_path, variable):
    active = installed[0] / ".venv"
    repository = make_repository(tmp_path / "another repository", "tiny-clst-test==1.0\n")
    done = run_bash(f"bash '{repository}/script/setup.sh'", tmp_path, **{variable: str(active)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"environment: {active}/bin/python ")
    assert not (repository / ".venv").exists()


@pytest.mark.slow
def test_first_python_on_the_path_that_satisfies_the_pins_is_used_as_is(installed, tmp_path):
    active = installed[0] / ".venv"
    repository = make_repository(tmp_path / "another repository", "tiny-clst-test==1.0\n")
    done = run_bash(f"bash '{repository}/script/setup.sh'", tmp_path, PATH=f"{active}/bin:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (repository / ".venv").exists()


@pytest.mark.slow
def test_failed_installation_is_one_line_and_never_taken_for_whole(installed, tmp_path):
    repository = tmp_path / "a copy"
    shutil.copytree(installed[0], repository, symlinks=True)
    (repository / "requirements.txt").write_text("tiny-clst-test==2.0\n")
    venv = repository / ".venv"
    done = run_bash(f"bash '{repository}/script/setup.sh'", tmp_path, **installed[1])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "error: pip failed: ERROR: No matching distribution found for tiny-clst-test==2.0 "
        "(is the package index within reach? Check the network, or pip's proxy and index settings); "
        f"full log: {venv}/install.log"
    )
    (repository / "requirements.txt").write_text("tiny-clst-test==1.0\n")
    active = {"VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{os.environ['PATH']}"}
    done = run_bash(f"source '{repository}/script/common.sh'", tmp_path, NNODES="2", **active)
    assert done.stderr == "error: no usable environment on this node: run script/setup.sh first\n"


@pytest.mark.slow
def test_changed_pins_are_installed_over_a_whole_venv(installed, tmp_path):
    repository = tmp_path / "a copy"
    shutil.copytree(installed[0], repository, symlinks=True)
    (repository / ".venv" / "kept").touch()
    (repository / "requirements.txt").write_text("tiny-clst-test==2.0\n")
    make_wheel(tmp_path / "wheels", "2.0")
    done = run_bash(
        f"bash '{repository}/script/setup.sh'", tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels")
    )
    assert done.returncode == 0, done.stderr
    assert (repository / ".venv" / "kept").exists()


@pytest.mark.slow
def test_installation_cut_short_is_done_again_from_nothing(installed, tmp_path):
    repository = make_repository(tmp_path / "a repository", "tiny-clst-test==1.0\n")
    half = repository / ".venv" / "half-written"
    half.mkdir(parents=True)
    (repository / ".venv" / "installation-unfinished").touch()
    done = run_bash(f"bash '{repository}/script/setup.sh'", tmp_path, PYTHON=sys.executable, **installed[1])
    assert done.returncode == 0, done.stderr
    assert not half.exists()
    assert not (repository / ".venv" / "installation-unfinished").exists()


# --- launching


@pytest.fixture
def repository(tmp_path):
    """A repository without pins, so that the running Python is its environment, and an entry point that reports."""
    folder = make_repository(tmp_path / "a repository")
    (folder / "src").mkdir()
    (folder / "src" / "entry.py").write_text(
        "import os, sys\n"
        "rank = os.environ.get('RANK', 'alone')\n"
        "sys.stdout.write(f'{os.getcwd()} {sys.argv[1:]} {os.environ[\"OMP_NUM_THREADS\"]} {rank}\\n')\n"
        "sys.exit(3 if 'fail' in sys.argv else 0)\n"
    )
    return folder


def sourced(repository: Path, command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    return run_bash(f"source '{repository}/script/common.sh'; {command}", cwd, PYTHON=sys.executable, **variables)


TWO_GPUS = 'echo "GPU 0: Some card (UUID: GPU-a)"; echo "  MIG 1g.10gb (UUID: MIG-b)"; echo "GPU 1: Some card (UUID: c)"'


@pytest.mark.parametrize(
    ("variables", "arguments", "processes"),
    [
        ({}, "", "2"),
        ({"CUDA_VISIBLE_DEVICES": "1"}, "", "1"),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, "", "2"),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, "", "2"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "", "1"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "", "1"),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, "", "1"),
        ({}, "--device cpu", "1"),
        ({}, "--epochs 1 --device=cpu", "1"),
        ({}, "--device cuda", "2"),
        ({"NPROC_PER_NODE": "4"}, "--device cpu", "4"),
    ],
)
def test_processes_are_one_per_visible_gpu(repository, tmp_path, variables, arguments, processes):
    tools = make_tools(tmp_path / "tools", nvidia_smi=TWO_GPUS)
    done = sourced(repository, f"processes_per_node {arguments}", tmp_path, PATH=str(tools), **variables)
    assert (done.stdout, done.stderr) == (f"{processes}\n", "")


@pytest.mark.parametrize("scripts", [{}, {"nvidia_smi": 'echo "NVIDIA-SMI has failed"; exit 9'}])
def test_without_a_gpu_there_is_one_process(repository, tmp_path, scripts):
    tools = make_tools(tmp_path / "tools", **scripts)
    assert sourced(repository, "processes_per_node", tmp_path, PATH=str(tools)).stdout == "1\n"


def test_launch_keeps_directory_arguments_and_leaves_the_cores_to_the_one_process(repository, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    done = sourced(repository, "launch entry.py --name 'a b' ''; echo went on", elsewhere, NPROC_PER_NODE="1")
    assert done.stdout == f"{elsewhere} ['--name', 'a b', ''] {len(os.sched_getaffinity(0))} alone\nwent on\n"


def test_failed_entry_ends_the_launcher_with_its_status(repository, tmp_path):
    done = sourced(repository, "launch entry.py fail; echo went on", tmp_path, NPROC_PER_NODE="1")
    assert done.returncode == 3
    assert "went on" not in done.stdout


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({}, "--nnodes 1 --node_rank 0 --nproc_per_node 2 --master_addr 127.0.0.1 --master_port 1234"),
        (
            {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "first"},
            "--nnodes 2 --node_rank 1 --nproc_per_node 2 --master_addr first --master_port 1234",
        ),
        (
            {"NNODES": "2", "NPROC_PER_NODE": "1"},
            "--nnodes 2 --node_rank 0 --nproc_per_node 1 --master_addr 127.0.0.1 --master_port 1234",
        ),
    ],
)
def test_several_processes_are_started_by_torchrun(repository, tmp_path, variables, command):
    variables = {"NPROC_PER_NODE": "2", "MASTER_PORT": "1234", **variables}
    done = sourced(repository, "PYTHON_BIN=echo; launch entry.py --key value", tmp_path, **variables)
    assert done.stdout == f"-m torch.distributed.run {command} {repository}/src/entry.py --key value\n"


def test_port_is_free_on_one_node_and_fixed_on_several(repository, tmp_path):
    done = sourced(repository, "PYTHON_BIN=echo; launch entry.py", tmp_path, NNODES="2")
    assert "--master_port 29500 " in done.stdout
    port = int(sourced(repository, "free_port", tmp_path).stdout)
    assert 1024 <= port < 65536


@pytest.mark.slow
def test_two_processes_run_under_torchrun_and_share_the_cores(repository, tmp_path):
    done = sourced(repository, "launch entry.py --key value", tmp_path, NPROC_PER_NODE="2", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"{tmp_path} ['--key', 'value'] 1 {rank}" for rank in (0, 1)]
