"""A GRPO run that unlearns to think says so while there is time, and does what the settings say."""

from types import SimpleNamespace

import pytest
from grpo_runs import arguments, completions, metric, rows_of
from tiny_world import make_base, write_train_file

import grpo
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.grpo.curriculum_feed import CurriculumFeed, SampleSequence
from omni_clst.grpo.unlearning import Unlearning, UnlearningWatch, find_unlearning, think_rates

COUNTS = {"easy": 40, "medium": 40, "hard": 40}


def rates(easy: float, medium: float, hard: float) -> dict[str, float]:
    return {f"eval_think_rate/{level}": rate for level, rate in zip(COUNTS, (easy, medium, hard), strict=True)}


def feed_of(rows: int) -> CurriculumFeed:
    samples = [AudioQASample(str(n), "a.wav", "?", ("a", "b"), "a", source="test", level="easy") for n in range(rows)]
    return CurriculumFeed(SampleSequence(samples, "file", 0.0, seed=3), None, None, num_workers=0)


def ids(feed: CurriculumFeed, count: int) -> list[str]:
    return [feed.sequence.sample_at(position).id for position in range(count)]


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ((0.0, 0.1, 0.4), (0.0, 0.0, 0.05), Unlearning("hard", 0.4, 0.05)),
        ((0.0, 0.3, 0.4), (0.0, 0.0, 0.3), Unlearning("medium", 0.3, 0.0)),
        ((0.5, 0.6, 0.9), (0.0, 0.6, 0.9), Unlearning("easy", 0.5, 0.0)),
        ((0.0, 0.1, 0.4), (0.0, 0.0, 0.25), None),  # more than half is left
        ((0.0, 0.0, 0.125), (0.0, 0.0, 0.05), None),  # 5 of 40 and 2 of 40: chance
        ((0.0, 0.0, 0.05), (0.0, 0.0, 0.0), None),  # it hardly thought before
    ],
)
def test_fall_below_half_of_the_start_is_found_unless_chance_explains_it(before, now, found):
    assert find_unlearning(think_rates(rates(*before)), think_rates(rates(*now)), COUNTS) == found


def test_few_held_out_samples_are_no_evidence():
    before, now = think_rates(rates(0, 0, 1.0)), think_rates(rates(0, 0, 0.0))
    assert find_unlearning(before, now, {"hard": 19}) is None
    assert find_unlearning(before, now, {"hard": 20}) is not None


def watch_through(tmp_path, reaction: str, feed: CurriculumFeed, *evaluations: tuple[int, dict]):
    watch = UnlearningWatch(tmp_path, COUNTS, feed, reaction)
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    for step, metrics in evaluations:
        watch.on_evaluate(None, SimpleNamespace(global_step=step), control, metrics)
    return watch, control


START, FALLEN = (0, rates(0, 0.2, 0.5)), (20, rates(0, 0, 0.1))


def test_warning_is_said_once_with_both_rates_and_the_remedy(tmp_path, capsys):
    watch_through(tmp_path, "warn", feed_of(9), START, FALLEN, (40, rates(0, 0, 0)))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: step 20: the model unlearns to think: 10 % of its answers to held-out hard samples")
    assert "50 % at the start" in line and "order overlapping" in line


def test_run_is_stopped_behind_a_checkpoint(tmp_path):
    watch, control = watch_through(tmp_path, "stop", feed_of(9), START, FALLEN)
    assert control.should_training_stop and control.should_save
    with pytest.raises(InputError, match="step 20: the model unlearns to think.*start again from the SFT model"):
        watch.on_train_end(None, None, control)


def test_rest_of_the_file_is_shuffled_and_stays_so_after_a_restart(tmp_path):
    feed = feed_of(40)
    feed.cursor = 10
    in_order = ids(feed, 40)
    watch_through(tmp_path, "shuffle", feed, START, FALLEN)
    shuffled = ids(feed, 80)
    assert shuffled[:10] == in_order[:10]
    assert sorted(shuffled[10:40]) == sorted(in_order[10:]) and shuffled[10:40] != in_order[10:]
    assert sorted(shuffled[40:]) == sorted(in_order) and shuffled[40:] != in_order  # the second epoch too
    restarted = feed_of(40)
    restarted.load_state_dict(feed.state_dict())
    assert (restarted.cursor, ids(restarted, 80)) == (10, shuffled)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlearning")
    make_base(folder / "base")
    write_train_file(folder, 72)
    return folder


@pytest.fixture
def unlearns_at_step_2(monkeypatch):
    """Think rates as if the model stopped thinking at step 2."""
    falling = iter([rates(0, 0.2, 0.9), rates(0, 0.2, 0.9)] + [rates(0, 0, 0)] * 9)
    monkeypatch.setattr("omni_clst.grpo.unlearning.think_rates", lambda metrics, real=think_rates: real(next(falling)))


EVALUATED = {"eval_steps": 1, "save_steps": 2, "max_steps": 4, "rewards": "format: 1.0"}


def test_run_trains_on_the_shuffled_rest(world, unlearns_at_step_2, capsys):
    settings = EVALUATED | {"valid_file": world / "train.jsonl", "on_unlearning": "shuffle", "dataloader_num_workers": 1}
    grpo.main(arguments(world, "shuffled", **settings))
    assert "the rest of the curriculum is shuffled from sample 4 on" in capsys.readouterr().out
    rows = [int(id.removeprefix("row")) for _, _, id, _ in completions(world / "runs" / "shuffled")[::2]]
    assert rows[:4] == [0, 1, 2, 3] and rows[4:] != [4, 5, 6, 7] and len(set(rows)) == 8


def test_chosen_checkpoint_is_the_best_of_those_that_were_saved(world, monkeypatch):
    """Accuracy peaks at step 3, of which there is no checkpoint; of the saved ones the second is better."""
    accuracies = iter([0.0, 0.1, 0.2, 0.9, 0.4])
    monkeypatch.setattr(
        "omni_clst.grpo.trainer.level_metrics",
        lambda rows: {} if "advantage" in rows[0] else {"accuracy": next(accuracies)},
    )
    grpo.main(arguments(world, "peaks", **EVALUATED | {"valid_file": world / "train.jsonl"}))
    run_dir = world / "runs" / "peaks"
    assert metric(run_dir, "eval_accuracy") == [0.0, 0.1, 0.2, 0.9, 0.4]
    assert '"checkpoint-4"' in (run_dir / "chosen.json").read_text()
    assert rows_of(run_dir / "metrics.jsonl")[0]["step"] == 0
