"""A reward and a level rule from a file of the user's own, outside the checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import curriculum_runs
import pytest
from graded_samples import make_sample
from grpo_runs import arguments, metric, rows_of
from tiny_world import make_base, write_train_file

import grpo
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.files import read_yaml, sha256_of_file
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.settings import grpo_keys
from omni_clst.method.config import CurriculumConfig
from omni_clst.method.levels import make_level_rule
from omni_clst.method.rewards import make_rewards, parse_completion
from omni_clst.settings import REPOSITORY, load_config

REWARDS = '''"""Rewards of a user's own."""
from marks import MARK


def vowels(sample, completion):
    """What random text earns now and then; the sample and the completion are whole."""
    assert sample.level in ("easy", "medium", "hard") and sample.source == "test"
    assert completion.tokens == 6 or completion.finished
    assert (completion.think, completion.answer, completion.well_formed) == (None, None, False)
    return sum(completion.text.encode()) % 5 / MARK


def accuracy(sample, completion):
    return True


def fails(sample, completion):
    count = 0
    return 1 / count


def twice(sample, completion):
    return 2.5


def gives(sample, completion):
    return float("VALUE")


def text_only(text):
    return 1.0
'''
RULES = '''"""By the number of the sample, which is its only field that the answers say nothing about."""


def by_number(sample, base_pass_rate, sft_pass_rate, right_from):
    assert (base_pass_rate, sft_pass_rate) in [(1, 1), (0, 1), (0, 0)] and right_from == 0.5
    return "hard" if int(sample.id[1:]) < 15 or base_pass_rate else "easy"


def misspelt(sample, *rates):
    return "medum" if sample.id == "q07" else "easy"


def fails(sample, *rates):
    return sample.extra["length"]


def of_rates(base_pass_rate, sft_pass_rate):
    return "easy"
'''


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own rules")
    make_base(folder / "base")
    write_train_file(folder, 36)
    return folder


@pytest.fixture(autouse=True)
def own_search_path(monkeypatch):
    """The folders that a test adds to Python's search path, and what it imports from there, are not the next one's."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("marks", None)


@pytest.fixture
def rewards(tmp_path) -> Path:
    (tmp_path / "marks.py").write_text("MARK = 4\n")
    return write(tmp_path / "my_rewards.py", REWARDS)


answered = curriculum_runs.world  # 30 samples: 12 easy, 10 medium, 8 hard


@pytest.fixture
def rules(tmp_path) -> Path:
    return write(tmp_path / "my_rules.py", RULES)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def table_of(world: Path) -> str:
    return (world / "out" / "CLST.txt").read_text()


# A reward


def test_own_reward_trains_and_is_logged_under_its_name(world, rewards, monkeypatch, capsys):
    monkeypatch.chdir(rewards.parent)  # relative paths of the command line count from here
    weights = "my_rewards.py:vowels: 2.0, accuracy: 1.0, my_rewards.py:accuracy: 0.5, my_rewards.py:twice: 0.1"
    grpo.main(arguments(world, "own", rewards=weights))
    run_dir = world / "runs" / "own"
    rows = rows_of(run_dir / "completions.jsonl")
    assert {tuple(row["rewards"]) for row in rows} == {("vowels", "accuracy", "my_rewards.accuracy", "twice")}
    assert all(row["rewards"]["vowels"] == sum(row["completion"].encode()) % 5 / 4 for row in rows if row["finished"])
    assert len({row["rewards"]["vowels"] for row in rows}) > 1
    assert metric(run_dir, "reward/my_rewards.accuracy") == [1.0] * 4
    for step, mean in enumerate(metric(run_dir, "reward"), 1):
        of_step = [2 * row["rewards"]["vowels"] + 0.5 + 0.25 for row in rows if row["step"] == step]
        assert mean == pytest.approx(sum(of_step) / len(of_step))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert said == ["warning: the reward twice is 2.5 for the sample 'row0', outside [0, 1]; it is used"]
    assert not list(rewards.parent.rglob("__pycache__"))
    settings = read_yaml(str(run_dir / "config.yaml"))
    assert settings["rewards"][f"{rewards}:vowels"] == 2.0
    assert settings[f"sha256 of {rewards}"] == sha256_of_file(rewards)


def test_run_with_a_changed_file_is_not_resumed(world, rewards):
    argv = arguments(world, "changed", rewards=f"{rewards}:vowels: 1.0", max_steps=2)
    grpo.main(argv)
    before = sha256_of_file(rewards)
    grpo.main(argv)  # finished: nothing to do
    write(rewards, REWARDS.replace("/ MARK", "/ 4.0"))
    with pytest.raises(InputError) as caught:
        grpo.main(argv)
    change = f"sha256 of {rewards}: {before} -> {sha256_of_file(rewards)}"
    assert f"was started with other settings ({change}); give another --run_name" in str(caught.value)


def test_exception_in_a_reward_ends_the_run_with_line_and_sample(world, rewards):
    with pytest.raises(InputError) as caught:
        grpo.main(arguments(world, "fails", rewards=f"{rewards}:fails: 1.0"))
    place = f"{rewards}:{line_of(rewards, '1 / count')}"
    assert str(caught.value) == f"{place}: fails failed for the sample 'row0': ZeroDivisionError: division by zero"


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("returned", "shown"),
    [('float("nan")', "nan"), ('float("-inf")', "-inf"), ("None", "None"), ('"0.5"', "'0.5'"), ("[0.5]", "[0.5]")],
)
def test_reward_that_is_no_finite_number_is_named_with_its_sample(rewards, returned, shown):
    write(rewards, REWARDS.replace('float("VALUE")', returned))
    (reward,) = make_rewards([f"{rewards}:gives"], 100).values()
    with pytest.raises(InputError) as caught:
        reward(AudioQASample("a1", "/a.wav", "q", ("x", "y"), "x"), parse_completion("", 1, True))
    assert (
        str(caught.value)
        == f"{rewards}:gives returned {shown} for the sample 'a1': a reward is a finite float, int or bool"
    )


BAD_FILES = [  # the file's content (None: there is none), the function, the line; {f} is the file
    (None, "f", "rewards {f}: does not exist"),
    (REWARDS, "vowel", "rewards {f} has no function 'vowel' (did you mean 'vowels'?)"),
    (REWARDS, "MARK", "rewards {f} has no function 'MARK'"),
    (REWARDS, "text_only", "rewards {f}:text_only(text) is called with (sample, completion)"),
    ("def f(sample, completion:\n    return 1\n", "f", "rewards {f}:1: SyntaxError: '(' was never closed"),
    ("a = 1\nimport nowhere\n", "f", "rewards {f}:2: ModuleNotFoundError: No module named 'nowhere'"),
    ("from marks import MORK\n", "f", "rewards {f}:1: ImportError: cannot import name 'MORK' from 'marks'"),
    ("import sys\nsys.exit(3)\n", "f", "rewards {f}:2: SystemExit: 3"),
    ("def g():\n    return {}['a']\ng()\n", "f", "rewards {f}:2: KeyError: 'a'"),
    ("", "", "rewards '{f}' names no function; write {f}:FUNCTION"),
]


@pytest.mark.parametrize(("content", "name", "line"), BAD_FILES, ids=[row[2][:60] for row in BAD_FILES])
def test_mistake_in_a_file_is_one_line_before_anything_is_loaded(world, rewards, content, name, line):
    rewards.unlink() if content is None else write(rewards, content)
    with pytest.raises(InputError) as caught:
        grpo.main(arguments(world / "gone", "bad", train_file=world / "train.jsonl", rewards=f"{rewards}:{name}: 1.0"))
    message = str(caught.value)
    assert message.startswith(line.format(f=rewards)), message
    assert len(message.splitlines()) == 1


def test_name_that_is_neither_a_reward_nor_a_file_is_named(world):
    with pytest.raises(InputError) as caught:
        grpo.main(arguments(world, "bad", rewards="acuracy: 1.0"))
    assert str(caught.value).endswith("brevity, selective_thought, or FILE.py:FUNCTION")


@pytest.mark.parametrize(
    "line", ["rewards: {format: 1, my_rewards.py:vowels: 0.5}", "rewards:\n  my_rewards.py:vowels: 0.5"]
)
def test_path_in_a_yaml_counts_from_the_project(world, rewards, line):
    yaml = write(rewards.parent / "c.yaml", f"model: a/b\ntrain_file: {world / 'train.jsonl'}\n{line}\n")
    argv = ["--config", str(yaml), "--project", str(rewards.parent)]
    assert load_config(CLSTConfig, argv, grpo_keys).rewards[f"{rewards}:vowels"] == 0.5
    with pytest.raises(InputError) as caught:
        load_config(CLSTConfig, argv[:2], grpo_keys)
    assert str(caught.value) == f"rewards {REPOSITORY / 'my_rewards.py'}: does not exist (from c.yaml)"


def test_every_process_of_a_launch_has_the_reward(world, rewards):
    """A real start of two processes, from the folder of the file."""
    argv = arguments(world, "two", rewards="my_rewards.py:vowels: 1.0", per_device_train_batch_size=2, max_steps=2)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2"]
    command = [sys.executable, *words, str(REPOSITORY / "src" / "grpo.py"), *argv]
    result = subprocess.run(command, cwd=rewards.parent, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    rows = rows_of(world / "runs" / "two" / "completions.jsonl")
    assert [row["position"] for row in rows] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {tuple(row["rewards"]) for row in rows} == {("vowels",)}
    assert not list(rewards.parent.rglob("__pycache__"))


# A level rule


def test_own_level_rule_grades_and_the_table_names_it_with_its_hash(answered, rules, monkeypatch):
    monkeypatch.chdir(rules.parent)
    curriculum_runs.run(answered, size=30, mix="easy: 1, hard: 1", level_rule="my_rules.py:by_number")
    rows = [json.loads(line) for line in (answered / "out" / "CLST.jsonl").read_text().splitlines()]
    assert {row["id"]: row["level"] for row in rows} == {f"q{n:02d}": "hard" if n < 15 else "easy" for n in range(30)}
    assert f"level rule: {rules}:by_number (SHA-256 {sha256_of_file(rules)})" in table_of(answered).splitlines()


def test_table_of_the_published_rule_names_no_file(answered):
    curriculum_runs.run(answered)
    assert "level rule" not in table_of(answered)
    assert make_level_rule(None)(make_sample(0), 0.0, 0.6, 0.5) == "medium"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{f}:by_numbr", "level_rule {f} has no function 'by_numbr' (did you mean 'by_number'?)"),
        ("{f}:of_rates", "level_rule {f}:of_rates(base_pass_rate, sft_pass_rate) is called with "
                         "(sample, base_pass_rate, sft_pass_rate, right_from)"),
        ("{f}x.py:f", "level_rule {f}x.py: does not exist"),
        ("by_number", "level_rule 'by_number' is not FILE.py:FUNCTION"),
        ("{f}:misspelt", "{f}:misspelt returned 'medum' for the sample 'q07': a level is one of easy, medium, hard"),
        ("{f}:fails", "{f}:{line}: fails failed for the sample 'q00': KeyError: 'length'"),
    ],
)  # fmt: skip
def test_mistake_in_a_level_rule_is_one_line_and_nothing_is_written(answered, rules, rule, message):
    with pytest.raises(InputError) as caught:
        curriculum_runs.run(answered, level_rule=rule.format(f=rules))
    assert str(caught.value) == message.format(f=rules, line=line_of(rules, "extra"))
    assert not list(answered.rglob("CLST*"))


def test_level_rule_in_a_yaml_counts_from_the_project(answered, rules):
    files = "samples: source.jsonl\nbase_answers_dir: base\nanswers_dir: sft\noutput: o.jsonl\n"
    yaml = write(answered / "c.yaml", f"{files}level_rule: my_rules.py:by_number\n")
    argv = ["--config", str(yaml), "--project", str(answered)]
    assert load_config(CurriculumConfig, argv).level_rule == f"{rules}:by_number"
    assert load_config(CurriculumConfig, [*argv, "--level_rule", "none"]).level_rule is None


# The document


def test_examples_of_the_document_work_as_printed(tmp_path):
    text = (REPOSITORY / "docs" / "your_own_rules.md").read_text(encoding="utf-8")
    reward_file, rule_file = (part.split("```")[0] for part in text.split("```python\n")[1:])
    sample = AudioQASample("a", "/a.wav", "What barks?", ("A dog", "a cat"), "A dog", level="easy", extra={"seconds": 40})
    (reward,) = make_rewards([f"{write(tmp_path / 'my_rewards.py', reward_file)}:short_thought"], 100).values()
    rule = make_level_rule(f"{write(tmp_path / 'my_rules.py', rule_file)}:by_length")
    right = parse_completion("<think>\n\n</think><answer>A dog</answer>", 9, True)
    assert (reward(sample, right), reward(sample, parse_completion("", 0, False))) == (1.0, 0.0)
    assert (rule(sample, 1.0, 1.0, 0.5), rule(make_sample(0), 1.0, 1.0, 0.5)) == ("medium", "easy")
