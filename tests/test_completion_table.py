"""The table of completions: a line for each, in the order of the curriculum, every n steps."""

import numpy as np
import pytest
from tracked_runs import row, sample, small_table

from omni_clst.grpo.completion_table import HEADER
from omni_clst.grpo.trackers import TRACKERS, CompletionTables


def test_table_has_a_line_for_each_completion_in_the_order_of_the_curriculum(tmp_path):
    table = small_table(tmp_path)
    assert table.columns == (*HEADER, "reward/accuracy", "reward/format", "advantage")
    asked = ["hard", "what is heard ?", "a cat | a dog", "a dog"]
    assert table.lines == [
        [21, "clip_1", "q1", *asked, "", "a cat", True, 0.0, 1.0, -1.0],
        [21, "clip_2", "q2", *asked, "it barks", "a dog", True, 1.0, 1.0, 0.5],
        [21, "clip_2", "q2", *asked, "", "woof", True, 0.0, 1.0, -0.5],  # without tags: the text
    ]


def test_clips_of_a_table_are_what_the_model_gets(tmp_path):
    clips = small_table(tmp_path, max_audio_seconds=0.75).clips
    assert {name: len(clip) for name, clip in clips.items()} == {"clip_1": 8_000, "clip_2": 12_000}  # 0.5 s, 1 s cropped
    assert all(clip.dtype == np.float32 for clip in clips.values())


@pytest.mark.parametrize(
    ("every", "resumed", "steps", "expected"),
    [
        (3, 0, range(1, 9), [1, 4, 7]),
        (3, 3, range(4, 9), [4, 7]),
        (3, 4, range(5, 9), [7]),  # that of step 4 was sent before the run was resumed
        (2, 0, [1, 5, 9], [1, 5, 9]),  # generations of four steps
        (0, 0, range(1, 9), []),
    ],
    ids=["every third", "resumed", "resumed inside", "long generations", "none"],
)
def test_tables_come_with_the_first_generation_after_every_n_steps(tmp_path, monkeypatch, every, resumed, steps, expected):
    sent = []
    monkeypatch.setitem(TRACKERS, "wandb", lambda table, callbacks: sent.append(table.step))
    tables = CompletionTables(["wandb", "mlflow"], every, resumed, 30.0)
    for step in steps:
        tables.note([row(1, "woof", 0.0, 0.0)], step, lambda position: sample(position, tmp_path), [])
    assert sent == expected
