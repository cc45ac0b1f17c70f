"""Describe a curriculum as text: levels, samples left out and held out, and the shares of those chosen."""

from collections import Counter
from typing import TYPE_CHECKING

from ..data.samples import EASY_TO_HARD, AudioQASample
from ..data.table import make_table
from ..method.curriculum import Curriculum, quotas
from ..method.levels import OwnLevelRule

if TYPE_CHECKING:
    from ..method.config import CurriculumConfig

MODELS = {"base_pass_rate": "base", "sft_pass_rate": "SFT model"}  # name in `extra` -> label


def describe_curriculum(curriculum: Curriculum, config: "CurriculumConfig") -> str:
    """The table of both models' answers, the table of levels, and notes."""
    parts = [_answers_table(curriculum.graded, config.right_from), _levels_table(curriculum), _notes(curriculum, config)]
    return "\n\n".join(part for part in parts if part)


def _answers_table(graded: list[AudioQASample], right_from: float) -> str:
    """The cross table of both models' right and wrong answers."""
    counts = Counter(tuple(sample.extra[name] >= right_from for name in MODELS) for sample in graded)
    title = f"{len(graded)} samples answered by both models (right: pass rate of at least {right_from:g})"
    rows = []
    for base, name in ((True, "base right"), (False, "base wrong")):
        cells = [f"{counts[base, sft]} ({100 * counts[base, sft] / len(graded):.1f} %)" for sft in (True, False)]
        rows.append([name, *cells])
    return f"{title}\n\n{make_table(['', 'SFT right', 'SFT wrong'], rows)}"


def _levels_table(curriculum: Curriculum) -> str:
    """A row per level; samples = left out + held out + beside them (other samples of their clips) + available."""
    header = ("level", "samples", "left out", "held out", "beside them", "available", "chosen", "share", "base right",
             "SFT right", "with thought")  # fmt: skip
    rows = []
    for level in (*EASY_TO_HARD, "all"):
        parts = {}
        for name in ("graded", "held_out", "available", "chosen"):
            parts[name] = [sample for sample in getattr(curriculum, name) if level in (sample.level, "all")]
        counts = {name: len(part) for name, part in parts.items()}
        left_out = sum(sample.id in curriculum.left_out for sample in parts["graded"])
        beside = counts["graded"] - left_out - counts["held_out"] - counts["available"]
        chosen = parts["chosen"]
        numbers = (counts["graded"], left_out, counts["held_out"], beside, counts["available"], counts["chosen"])
        shares = (
            counts["chosen"] / len(curriculum.chosen),
            *(_mean([sample.extra[name] for sample in chosen]) for name in MODELS),
            _mean([bool((sample.think or "").strip()) for sample in chosen]),
        )
        rows.append((level, *map(str, numbers), *("-" if x is None else f"{100 * x:.1f} %" for x in shares)))
    return make_table(header, rows)


def _notes(curriculum: Curriculum, config: "CurriculumConfig") -> str:
    """The user's level rule, reasons for leaving samples out, places filled by other levels, a file smaller than `size`,
    held-out samples."""
    rule = curriculum.level_rule
    notes = [f"level rule: {rule.rule} (SHA-256 {rule.rule.sha256})"] if isinstance(rule, OwnLevelRule) else []
    notes += [f"left out: {count} ({reason})" for reason, count in sorted(Counter(curriculum.left_out.values()).items())]
    chosen = Counter(sample.level for sample in curriculum.chosen)
    over = {level: chosen[level] - places for level, places in quotas(config.mix, config.size).items()}
    lacking = ", ".join(f"{-count} {level}" for level, count in over.items() if count < 0)
    filled = ", ".join(f"{count} {level}" for level, count in over.items() if count > 0)
    if lacking:
        notes.append(f"too few of their level: {lacking}; {f'filled by {filled}' if filled else 'not filled'}")
    if len(curriculum.chosen) < config.size:
        notes.append(
            f"fewer than the {config.size} asked for: all {len(curriculum.chosen)} available of the levels in the mix"
        )
    if curriculum.held_out:
        clips = len({sample.audio_path for sample in curriculum.held_out})
        notes.append(f"held out: {len(curriculum.held_out)} samples of {clips} clips, none of which is trained on")
    return "\n".join(notes)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
