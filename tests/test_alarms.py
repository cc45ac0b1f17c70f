"""A GRPO run that learns nothing says so, with the number and the remedy."""

import pytest
from grpo_runs import arguments
from tiny_world import make_base, write_train_file

import grpo
from omni_clst.errors import InputError
from omni_clst.grpo.alarms import TIED_GENERATIONS, WINDOW, CompletionAlarms
from omni_clst.grpo.rollout_health import require_agreement


def rows(count: int, problem: str | None = None, advantage: float = 1.0, correct: int = 0) -> list[dict]:
    return [{"problem": problem, "advantage": advantage, "correct": correct}] * count


def said(*generations: list[dict]) -> list[str]:
    alarms = CompletionAlarms()
    return [line for generation in generations for line in alarms.see(generation)]


@pytest.mark.parametrize(
    ("correct", "remedy"),
    [([0, 0], "none is right: are the samples too hard"), ([1, 1], "all are right: draw harder samples"),
     ([0, 1], "raise num_generations or temperature, or set dynamic_sampling true")],
)  # fmt: skip
def test_window_in_which_every_group_ties_is_said_once(correct, remedy):
    tied = [row for value in correct for row in rows(4, advantage=0.0, correct=value)]
    assert said(*[tied] * (TIED_GENERATIONS - 1)) == []
    (line,) = said(*[tied] * (3 * TIED_GENERATIONS))
    assert line.startswith(f"warning: in {TIED_GENERATIONS} generations one after the other") and remedy in line
    assert said(*[*[tied] * (TIED_GENERATIONS - 1), rows(4)] * 3) == []  # one group that differs is enough


def test_completions_that_go_wrong_late_in_a_run_are_said():
    good, bad = rows(64), rows(64, "are cut off")
    generations = [good] * (10 * WINDOW // 64) + [bad] * 4
    (line,) = said(*generations)
    assert line.endswith("completions are cut off: raise max_completion_length")


def test_run_of_a_random_model_says_what_is_wrong_with_its_completions(tmp_path, capsys):
    make_base(tmp_path / "base")
    write_train_file(tmp_path, 48)
    more = {"max_steps": TIED_GENERATIONS, "save_steps": TIED_GENERATIONS, "rewards": "accuracy: 1.0"}
    grpo.main(arguments(tmp_path, "useless", **more))
    lines = capsys.readouterr().out.splitlines()
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "of 32 completions are cut off: raise max_completion_length" in warnings[0]
    assert (
        "all completions of a group had the same reward: the loss is 0 and nothing is learnt; none is right" in warnings[1]
    )


@pytest.mark.parametrize(("generator", "remedy"), [("static", "decoding plain"), ("vllm", "engine hf")])
def test_generator_that_disagrees_with_the_policy_ends_the_run_with_the_remedy(generator, remedy):
    figures = {"sampling/logp_difference_mean": float("nan")}
    with pytest.raises(InputError, match=rf"step 7: .* differ by nan on average, .* go on with {remedy}"):
        require_agreement(figures, 0.2, 7, generator)


def test_limit_of_the_agreement_holds_for_every_engine(tmp_path):
    """In float32 rounding is all that differs, so that a limit of nothing is exceeded at the first step."""
    make_base(tmp_path / "base")
    write_train_file(tmp_path, 8)
    with pytest.raises(InputError, match=r"step 1: .* of plain decoding and of the policy differ by .*e-"):
        grpo.main(arguments(tmp_path, "drift", rewards="format: 1.0", max_logp_drift=1e-12))


def test_samples_of_one_level_are_said_before_the_training(tmp_path, capsys):
    make_base(tmp_path / "base")
    text = write_train_file(tmp_path, 12).read_text().replace('"easy"', '"hard"').replace('"medium"', '"hard"')
    (tmp_path / "train.jsonl").write_text(text)
    grpo.main([*arguments(tmp_path, "one level", rewards="format: 1.0"), "--dry_run"])
    assert "warning: all 12 samples are of the level hard: there is no order" in capsys.readouterr().out
