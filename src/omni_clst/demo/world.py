"""Generate questions about clips of sound events, with the right answer and the reference thought.

A question is **shallow** if it can be answered directly, and **deep** if events have to be counted or followed. Some kinds
have always the same depth (a count is deep), others not: "what comes right after the last hiss" is shallow if the clip has
one hiss and deep if it has several, so that whether thinking helps depends on the clip.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from .sounds import SOUNDS, TASK_OF_SOUND

SHORT_CLIP_EVENTS = (2, 4)
LONG_CLIP_EVENTS = (5, 7)
NUMBER_OF_CHOICES = 4
NUMBERS = ("zero", "one", "two", "three", "four")  # words, since the tokenizer separates digits from their space


@dataclass(frozen=True)
class Scene:
    """The content of a clip: its sound events in order."""

    events: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """One question about a scene; `think` is the reference thought, `task` MMAU's group."""

    kind: str
    text: str
    choices: tuple[str, ...]
    answer: str
    think: str
    depth: str
    task: str


def draw_scene(rng: np.random.Generator, long_share: float = 0.7) -> Scene:
    """Draw 2-4 or 5-7 events of two to four kinds, at most four of each."""
    low, high = LONG_CLIP_EVENTS if rng.uniform() < long_share else SHORT_CLIP_EVENTS
    length = int(rng.integers(low, high + 1))
    pool = rng.choice(SOUNDS, size=int(rng.integers(2, 5)), replace=False)
    events = [str(sound) for sound in pool[:2]]  # at least two kinds: questions compare them
    while len(events) < length:
        sound = str(rng.choice(pool))
        if events.count(sound) < NUMBER_OF_CHOICES:
            events.append(sound)
    rng.shuffle(events)
    return Scene(tuple(events))


def _choose(rng: np.random.Generator, answer: str, others: list[str]) -> tuple[str, ...]:
    """The answer among three distractors, in random order."""
    distractors = rng.choice([other for other in others if other != answer], NUMBER_OF_CHOICES - 1, replace=False)
    choices = [answer, *map(str, distractors)]
    return tuple(choices[index] for index in rng.permutation(NUMBER_OF_CHOICES))


def _counting_thought(events: tuple[str, ...], asked: str) -> str:
    """The events in order, with a running count from zero after every event that is asked about."""
    count, words = 0, [asked, NUMBERS[0]]
    for event in events:
        words.append(event)
        if event == asked:
            count += 1
            words.append(NUMBERS[count])
    return " ".join(words)


def _sound_choices(rng: np.random.Generator, scene: Scene, answer: str) -> tuple[str, ...]:
    """Distractors from the scene first: a sound that is not in the clip is too easy to rule out."""
    in_scene = [sound for sound in dict.fromkeys(scene.events) if sound != answer]
    rng.shuffle(in_scene)
    others = [sound for sound in SOUNDS if sound not in in_scene and sound != answer]
    rng.shuffle(others)
    return _choose(rng, answer, (in_scene + others)[: NUMBER_OF_CHOICES - 1])


def _ask_first(rng: np.random.Generator, scene: Scene) -> Question:
    answer = scene.events[0]
    choices = _sound_choices(rng, scene, answer)
    think = " ".join(scene.events)
    return Question("first", "what sound comes first ?", choices, answer, think, "shallow", TASK_OF_SOUND[answer])


def _ask_last(rng: np.random.Generator, scene: Scene) -> Question:
    answer = scene.events[-1]
    choices = _sound_choices(rng, scene, answer)
    think = " ".join(scene.events)
    return Question("last", "what sound comes last ?", choices, answer, think, "shallow", TASK_OF_SOUND[answer])


def _ask_count(rng: np.random.Generator, scene: Scene) -> Question:
    """The number of a sound's events; its count is drawn first, so that all numbers are equally likely."""
    counts = Counter(scene.events)
    count = int(rng.choice(sorted(set(counts.values()))))
    asked = str(rng.choice([sound for sound in counts if counts[sound] == count]))
    text = f"how many times is the {asked} heard ?"
    think = _counting_thought(scene.events, asked)
    return Question("count", text, NUMBERS[1:], NUMBERS[count], think, "deep", TASK_OF_SOUND[asked])


def _ask_after(rng: np.random.Generator, scene: Scene) -> Question | None:
    """The sound after the last occurrence of a sound; shallow if that is the only one."""
    last = {sound: index for index, sound in enumerate(scene.events)}
    targets = [(sound, index) for sound, index in last.items() if index + 1 < len(scene.events)]
    if not targets:
        return None
    asked, index = targets[int(rng.integers(len(targets)))]
    count = scene.events.count(asked)
    think = f"{_counting_thought(scene.events, asked)} so {asked} {NUMBERS[count]} {scene.events[index + 1]}"
    depth = "deep" if count > 1 else "shallow"
    text = f"what sound comes right after the last {asked} ?"
    return _following(rng, scene, "after", text, index, think, depth)


def _ask_second(rng: np.random.Generator, scene: Scene) -> Question | None:
    """The sound after the second occurrence of a sound."""
    targets = [
        (sound, index) for index, sound in enumerate(scene.events[:-1]) if scene.events[: index + 1].count(sound) == 2
    ]
    if not targets:
        return None
    asked, index = targets[int(rng.integers(len(targets)))]
    think = _counting_thought(scene.events[: index + 2], asked)
    text = f"what sound comes right after the second {asked} ?"
    return _following(rng, scene, "second", text, index, think, "deep")


def _following(
    rng: np.random.Generator, scene: Scene, kind: str, text: str, index: int, think: str, depth: str
) -> Question:
    """A question whose answer is the event after `index`."""
    answer = scene.events[index + 1]
    return Question(kind, text, _sound_choices(rng, scene, answer), answer, think, depth, TASK_OF_SOUND[answer])


def _ask_most(rng: np.random.Generator, scene: Scene) -> Question | None:
    """The most frequent sound; shallow, since it needs no exact count."""
    counts = Counter(scene.events).most_common()
    if len(counts) < 2 or counts[0][1] == counts[1][1]:
        return None
    answer = counts[0][0]
    choices = _sound_choices(rng, scene, answer)
    text, think = "what sound is heard most often ?", " ".join(scene.events)
    return Question("most", text, choices, answer, think, "shallow", TASK_OF_SOUND[answer])


ASKERS = {
    "first": _ask_first,
    "last": _ask_last,
    "most": _ask_most,
    "after": _ask_after,
    "second": _ask_second,
    "count": _ask_count,
}
# Kinds of the base's training questions about events in text: first, last and most have an empty thought there.
TEXT_QUESTION_SHARES = {"first": 0.1, "last": 0.1, "most": 0.1, "after": 0.3, "second": 0.15, "count": 0.25}
QUESTION_SHARES = {"first": 0.15, "last": 0.15, "most": 0.15, "after": 0.15, "second": 0.2, "count": 0.2}


def ask(rng: np.random.Generator, scene: Scene, kind: str | None = None) -> Question:
    """A question about the scene, of `kind` or of a random kind; "count" if the scene has no question of that kind."""
    return ASKERS[kind or draw_kind(rng, QUESTION_SHARES)](rng, scene) or _ask_count(rng, scene)


def draw_kind(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """A random kind of question, drawn by its share."""
    return str(rng.choice(list(shares), p=list(shares.values())))
