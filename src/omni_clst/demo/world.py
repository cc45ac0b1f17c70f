"""The world's questions: what a clip of sound events can be asked, the right answer and the thought that leads there.

A question is **shallow** when one look at the clip answers it and **deep** when events have to be kept track of. The
wording gives some kinds away (a count is always deep) but not all: "what comes right after the last hiss" is shallow
where the hiss is heard once and deep where it is heard several times, so a model has to listen before it can know
whether thinking pays.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from .sounds import SOUNDS, TASK_OF_SOUND

SHORT_CLIP_EVENTS = (2, 4)
LONG_CLIP_EVENTS = (5, 7)
NUMBER_OF_CHOICES = 4
NUMBERS = ("zero", "one", "two", "three", "four")  # words: the tokenizer cuts digits off their space


@dataclass(frozen=True)
class Scene:
    """What a clip contains: its sound events in order."""

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
    events = [str(sound) for sound in pool[:2]]  # two kinds at least: else there is nothing to tell apart
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


def _tally(events: tuple[str, ...], asked: str) -> str:
    """The events in order with a running count behind every event that is asked about, which starts at zero."""
    count, words = 0, [asked, NUMBERS[0]]
    for event in events:
        words.append(event)
        if event == asked:
            count += 1
            words.append(NUMBERS[count])
    return " ".join(words)


def _sound_choices(rng: np.random.Generator, scene: Scene, answer: str) -> tuple[str, ...]:
    """Distractors from the scene first: a sound that was never heard is too easy to rule out."""
    heard = [sound for sound in dict.fromkeys(scene.events) if sound != answer]
    rng.shuffle(heard)
    rest = [sound for sound in SOUNDS if sound not in heard and sound != answer]
    rng.shuffle(rest)
    return _choose(rng, answer, (heard + rest)[: NUMBER_OF_CHOICES - 1])


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
    """A count; the sound is chosen by its count first, so that no number is a safe guess."""
    counts = Counter(scene.events)
    count = int(rng.choice(sorted(set(counts.values()))))
    asked = str(rng.choice([sound for sound in counts if counts[sound] == count]))
    text = f"how many times is the {asked} heard ?"
    think = _tally(scene.events, asked)
    return Question("count", text, NUMBERS[1:], NUMBERS[count], think, "deep", TASK_OF_SOUND[asked])


def _ask_after(rng: np.random.Generator, scene: Scene) -> Question | None:
    """What follows the last occurrence of a sound: shallow where it is the only one."""
    last = {sound: index for index, sound in enumerate(scene.events)}
    targets = [(sound, index) for sound, index in last.items() if index + 1 < len(scene.events)]
    if not targets:
        return None
    asked, index = targets[int(rng.integers(len(targets)))]
    count = scene.events.count(asked)
    think = f"{_tally(scene.events, asked)} so {asked} {NUMBERS[count]} {scene.events[index + 1]}"
    depth = "deep" if count > 1 else "shallow"
    text = f"what sound comes right after the last {asked} ?"
    return _following(rng, scene, "after", text, index, think, depth)


def _ask_second(rng: np.random.Generator, scene: Scene) -> Question | None:
    """What follows the second occurrence of a sound."""
    targets = [
        (sound, index) for index, sound in enumerate(scene.events[:-1]) if scene.events[: index + 1].count(sound) == 2
    ]
    if not targets:
        return None
    asked, index = targets[int(rng.integers(len(targets)))]
    think = _tally(scene.events[: index + 2], asked)
    text = f"what sound comes right after the second {asked} ?"
    return _following(rng, scene, "second", text, index, think, "deep")


def _following(
    rng: np.random.Generator, scene: Scene, kind: str, text: str, index: int, think: str, depth: str
) -> Question:
    """A question whose answer is the event behind `index`."""
    answer = scene.events[index + 1]
    return Question(kind, text, _sound_choices(rng, scene, answer), answer, think, depth, TASK_OF_SOUND[answer])


def _ask_most(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Which sound there is most of: an impression of the whole clip, hence shallow."""
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
# What the base is asked about written events: first, last and most with an empty thought, the others with a tally.
WRITTEN_SHARES = {"first": 0.1, "last": 0.1, "most": 0.1, "after": 0.3, "second": 0.15, "count": 0.25}
QUESTION_SHARES = {"first": 0.15, "last": 0.15, "most": 0.15, "after": 0.15, "second": 0.2, "count": 0.2}


def ask(rng: np.random.Generator, scene: Scene, kind: str | None = None) -> Question:
    """One question about the scene, of `kind` or of a drawn one; a kind that the scene cannot carry becomes "count"."""
    return ASKERS[kind or draw_kind(rng, QUESTION_SHARES)](rng, scene) or _ask_count(rng, scene)


def draw_kind(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """A kind of question, drawn by its share."""
    return str(rng.choice(list(shares), p=list(shares.values())))
