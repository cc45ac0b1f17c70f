"""What is said about a curriculum: every sample is in its table."""

from graded_samples import levels_in, make_config, make_sample, make_world

from omni_clst.data.samples import AudioQASample
from omni_clst.method.curriculum import make_curriculum
from omni_clst.report.curriculum_picture import running_mean
from omni_clst.report.curriculum_report import describe_curriculum


def test_running_mean_reaches_to_both_sides_and_less_at_the_ends():
    assert running_mean([1.0, 0.0, 0.5, 0.0], 1) == [0.5, 0.5, 1 / 6, 0.25]
    assert running_mean([1.0, 0.0], 0) == [1.0, 0.0]


def test_table_accounts_for_every_sample():
    """10 clips of 2 questions: 8 easy (2 of them unlearnt by SFT), 8 medium, 4 hard, one hard without an answer."""
    samples = [make_sample(number, 2, think=None if number == 19 else "t") for number in range(20)]
    samples[16] = AudioQASample(**vars(samples[16]) | {"answer": None})
    base = {sample.id: float(number < 8) for number, sample in enumerate(samples)}
    sft = {sample.id: float(2 <= number < 16) for number, sample in enumerate(samples)}
    config = make_config(size=10)
    made = make_curriculum(samples, base, sft, config)
    # places 2, 4, 4; 3 hard ones are left: medium takes the open place. Two of the easy ones are drawn.
    assert levels_in(made.chosen) == {"easy": 2, "medium": 5, "hard": 3}
    easy_right = 50.0 * sum(sample.extra["sft_pass_rate"] for sample in made.chosen[:2])
    all_right = 10.0 * (5 + sum(sample.extra["sft_pass_rate"] for sample in made.chosen[:2]))
    assert describe_curriculum(made, config).splitlines() == [
        "20 samples answered by both models (right: pass rate of at least 0.5)",
        "",
        "             SFT right   SFT wrong",
        "base right  6 (30.0 %)  2 (10.0 %)",
        "base wrong  8 (40.0 %)  4 (20.0 %)",
        "",
        "level   samples  left out  held out  beside them  available  chosen    share  base right  SFT right  with thought",
        f"easy          8         0         0            0          8       2   20.0 %     100.0 %  {easy_right:7.1f} %"
        "       100.0 %",
        "medium        8         0         0            0          8       5   50.0 %       0.0 %    100.0 %       100.0 %",
        "hard          4         1         0            0          3       3   30.0 %       0.0 %      0.0 %        66.7 %",
        f"all          20         1         0            0         19      10  100.0 %      20.0 %  {all_right:7.1f} %"
        "        90.0 %",
        "",
        "left out: 1 (no answer to compare with)",
        "too few of their level: 1 hard; filled by 1 medium",
    ]


def test_table_says_what_is_held_out_and_what_is_missing():
    samples, base, sft = make_world([(1.0, 1.0, number // 2) for number in range(8)])
    config = make_config(size=20, valid_size=1)
    made = make_curriculum(samples, base, sft, config)
    text = describe_curriculum(made, config).splitlines()
    assert text[7].split()[:7] == ["easy", "8", "0", "1", "1", "6", "6"]
    assert text[-3:] == [
        "too few of their level: 8 medium, 8 hard; filled by 2 easy",
        "fewer than the 20 asked for: all 6 available of the levels in the mix",
        "held out: 1 samples of 1 clips, none of which is trained on",
    ]
