"""bench/gpu.sh: what was measured stays in the table whatever becomes of a part; on a CPU its smallest size runs."""

import subprocess
import sys

import pytest

from omni_clst.settings import REPOSITORY


@pytest.fixture(scope="module")
def gpu():
    sys.path.insert(0, str(REPOSITORY / "bench"))
    import gpu

    yield gpu
    sys.path.remove(str(REPOSITORY / "bench"))


def part_of(gpu, name: str, code: str, seconds: float = 60, gib: float = 0):
    """A part that runs Python code, whose last argument is the table."""
    return gpu.Part("1m", "lora", name, (sys.executable, "-c", code), seconds, gib)


WRITES = "import sys, time; open(sys.argv[-1], 'a').write('| a row |\\n');"


def test_rows_stay_when_a_part_fails_hangs_or_does_not_fit(gpu, tmp_path):
    table = tmp_path / "table.md"
    table.touch()
    parts = [
        part_of(gpu, "whole", WRITES),
        part_of(gpu, "fails", WRITES + "sys.exit('out of | memory')"),
        part_of(gpu, "hangs", WRITES + "time.sleep(600)", seconds=10),
        part_of(gpu, "large", WRITES, gib=73),
        part_of(gpu, "tests marked gpu", "print('3 passed in 2 s')"),
    ]
    gpu.run_parts(parts, table, memory_gib=80, total=300)
    row, fails, hangs, large, tests = (
        "| a row |", "fails: out of / memory", "hangs: out of time, the rest is missing", "does not fit: 73 GiB at least",
        "tests marked gpu: 3 passed in 2 s",
    )  # fmt: skip
    found = [line if line == row else line.split(" | ")[2] for line in table.read_text().splitlines()]
    assert found == [row, row, fails, row, hangs, large, tests]


def test_parts_without_time_are_named_and_not_started(gpu, tmp_path):
    table = tmp_path / "table.md"
    table.touch()
    gpu.run_parts([part_of(gpu, "late", WRITES)], table, memory_gib=80, total=10)
    assert table.read_text() == "| 1m | lora | late: not run, no time was left |  |  |  |  |\n"


def test_parts_are_all_that_a_gpu_shows_and_end_within_ten_minutes(gpu, monkeypatch):
    counted = {"500m": 1.3e9, "3b": 4.7e9, "7b": 8.9e9}
    monkeypatch.setattr(gpu, "parameters", lambda size: int(counted[size]))
    parts = gpu.gpu_parts(128)
    measured = {(part.size, part.tuning) for part in parts if part.name == "card.py"}
    assert measured == {(size, tuning) for size in counted for tuning in ("lora", "full")}
    assert [part.name for part in parts if part.name != "card.py"] == ["tests marked gpu", "GRPO, ZeRO-3, one process"]
    marked = [word for word in parts[0].command if word.endswith("test_static_decoding.py")]
    assert marked and "gpu" in parts[0].command
    fits = {(part.size, part.tuning) for part in parts if part.gib <= 0.9 * 80}
    assert ("7b", "lora") in fits and ("7b", "full") not in fits
    assert gpu.TOTAL_SECONDS < 600


@pytest.mark.slow
def test_without_a_gpu_it_says_what_it_would_run_and_runs_the_smallest_size(tmp_path):
    command = ["bash", str(REPOSITORY / "bench" / "gpu.sh"), "--output", str(tmp_path), "--new_tokens", "4",
               "--seconds", "3000"]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=3000,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("no GPU here", "7b    full  card.py", "GRPO, ZeRO-3, one process", "tests marked gpu"):
        assert words in done.stdout
    rows = [line.split(" | ") for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| 1m")]
    assert [row[2].partition(":")[0] for row in rows] == [
        "inference, static", "rollout, plain", "rollout, static", "rollout, static, merged", "grpo_step", "memory",
    ]  # fmt: skip
    assert all(float(row[3]) > 0 for row in rows)
