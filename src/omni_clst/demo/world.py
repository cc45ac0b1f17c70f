"""Generate questions about clips of sound events, with the right answer and the reference thought.

A question is **shallow** if it can be answered directly, and **deep** if events have to be counted or followed. Some kinds
have always the same depth (a count is deep), others not: "what comes right after the last hiss" is shallow if the clip has
one hiss and deep if it has several, so that whether thinking helps depends on the clip. Questions about loudness, direction
and voice are of depth **perception**: no transcript answers them.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from .knobs import DEFAULT_EVENTS, Knobs
from .scene import Delivery, Scene, Sounds

SHORT_CLIP_EVENTS = (2, 4)
LONG_CLIP_SPREAD = 2  # events between the shortest and the longest long clip
LONG_SHARE = 0.7
NUMBER_OF_CHOICES = 4


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


def draw_scene(rng: np.random.Generator, sounds: Sounds, knobs: Knobs) -> Scene:
    """Draw a short clip or a long one of at most `knobs.events` events, at most four of each kind."""
    longest = (max(knobs.events - LONG_CLIP_SPREAD, 2), knobs.events)
    low, high = longest if rng.uniform() < LONG_SHARE else SHORT_CLIP_EVENTS
    length = int(rng.integers(low, high + 1))
    kinds = int(rng.integers(2, 5))  # at least two: questions compare them
    if length > DEFAULT_EVENTS:
        kinds = max(kinds, -(-length // 3))  # otherwise every sound of a long clip is heard four times
    pool = rng.choice(sounds.words.sounds, size=kinds, replace=False)
    events = [str(sound) for sound in pool[:2]]
    while len(events) < length:
        sound = str(rng.choice(pool))
        if events.count(sound) < NUMBER_OF_CHOICES:
            events.append(sound)
    rng.shuffle(events)
    scene = Scene(tuple(events), sounds.words)
    return replace(scene, delivery=_draw_delivery(rng, scene, sounds)) if knobs.perception_share else scene


def _draw_delivery(rng: np.random.Generator, scene: Scene, sounds: Sounds) -> Delivery:
    """One loud event, a direction of the chirps, and one voice or several: each as likely as the other."""
    voiced = [sounds.voiced(sound) for sound in scene.events]
    voices = [str(voice) for voice in rng.choice(sounds.voices or [""], size=len(voiced))]
    if rng.uniform() < 0.5:
        voices = [voices[0]] * len(voices)
    return Delivery(
        loudest=int(rng.integers(len(scene.events))),
        rising=bool(rng.uniform() < 0.5),
        voices=tuple(voice if has else None for voice, has in zip(voices, voiced, strict=True)),
    )


def _choose(rng: np.random.Generator, answer: str, others: list[str]) -> tuple[str, ...]:
    """The answer among three distractors, in random order."""
    distractors = rng.choice([other for other in others if other != answer], NUMBER_OF_CHOICES - 1, replace=False)
    choices = [answer, *map(str, distractors)]
    return tuple(choices[index] for index in rng.permutation(NUMBER_OF_CHOICES))


def _counting_thought(events: tuple[str, ...], asked: str, numbers: tuple[str, ...]) -> str:
    """The events in order, with a running count from zero after every event that is asked about."""
    count, words = 0, [asked, numbers[0]]
    for event in events:
        words.append(event)
        if event == asked:
            count += 1
            words.append(numbers[count])
    return " ".join(words)


def _sound_choices(rng: np.random.Generator, scene: Scene, answer: str) -> tuple[str, ...]:
    """Distractors from the scene first: a sound that is not in the clip is too easy to rule out."""
    in_scene = [sound for sound in dict.fromkeys(scene.events) if sound != answer]
    rng.shuffle(in_scene)
    others = [sound for sound in scene.words.sounds if sound not in in_scene and sound != answer]
    rng.shuffle(others)
    return _choose(rng, answer, (in_scene + others)[: NUMBER_OF_CHOICES - 1])


def _ask_first(rng: np.random.Generator, scene: Scene) -> Question:
    answer = scene.events[0]
    choices = _sound_choices(rng, scene, answer)
    think = " ".join(scene.events)
    return Question("first", "what sound comes first ?", choices, answer, think, "shallow", scene.words.task_of[answer])


def _ask_last(rng: np.random.Generator, scene: Scene) -> Question:
    answer = scene.events[-1]
    choices = _sound_choices(rng, scene, answer)
    think = " ".join(scene.events)
    return Question("last", "what sound comes last ?", choices, answer, think, "shallow", scene.words.task_of[answer])


def _ask_count(rng: np.random.Generator, scene: Scene) -> Question:
    """The number of a sound's events; its count is drawn first, so that all numbers are equally likely."""
    counts = Counter(scene.events)
    count = int(rng.choice(sorted(set(counts.values()))))
    asked = str(rng.choice([sound for sound in counts if counts[sound] == count]))
    text = f"how many times is the {asked} heard ?"
    numbers = scene.words.numbers
    think = _counting_thought(scene.events, asked, numbers)
    return Question("count", text, numbers[1:], numbers[count], think, "deep", scene.words.task_of[asked])


def _ask_after(rng: np.random.Generator, scene: Scene) -> Question | None:
    """The sound after the last occurrence of a sound; shallow if that is the only one."""
    last = {sound: index for index, sound in enumerate(scene.events)}
    targets = [(sound, index) for sound, index in last.items() if index + 1 < len(scene.events)]
    if not targets:
        return None
    asked, index = targets[int(rng.integers(len(targets)))]
    count = scene.events.count(asked)
    numbers = scene.words.numbers
    tally = _counting_thought(scene.events, asked, numbers)
    think = f"{tally} so {asked} {numbers[count]} {scene.events[index + 1]}"
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
    think = _counting_thought(scene.events[: index + 2], asked, scene.words.numbers)
    text = f"what sound comes right after the second {asked} ?"
    return _following(rng, scene, "second", text, index, think, "deep")


def _following(
    rng: np.random.Generator, scene: Scene, kind: str, text: str, index: int, think: str, depth: str
) -> Question:
    """A question whose answer is the event after `index`."""
    answer = scene.events[index + 1]
    return Question(kind, text, _sound_choices(rng, scene, answer), answer, think, depth, scene.words.task_of[answer])


def _ask_most(rng: np.random.Generator, scene: Scene) -> Question | None:
    """The most frequent sound; shallow, since it needs no exact count."""
    counts = Counter(scene.events).most_common()
    if len(counts) < 2 or counts[0][1] == counts[1][1]:
        return None
    answer = counts[0][0]
    choices = _sound_choices(rng, scene, answer)
    text, think = "what sound is heard most often ?", " ".join(scene.events)
    return Question("most", text, choices, answer, think, "shallow", scene.words.task_of[answer])


def _ask_loudest(rng: np.random.Generator, scene: Scene) -> Question | None:
    """The sound of the loud event, which the others are less than half as loud as."""
    if scene.delivery is None:
        return None
    answer = scene.events[scene.delivery.loudest]
    return _heard(scene, "loudest", "what sound is the loudest ?", _sound_choices(rng, scene, answer), answer)


def _ask_direction(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Whether the chirps of a clip rise or fall."""
    if scene.delivery is None or "chirp" not in scene.events:
        return None
    answer = "rise" if scene.delivery.rising else "fall"
    return _heard(scene, "direction", "does the chirp rise or fall ?", ("rise", "fall"), answer)


def _ask_voice(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Whether all voiced sounds of a clip have the same voice; asked where there are at least two."""
    voices = [voice for voice in scene.delivery.voices if voice] if scene.delivery else []
    if len(voices) < 2:
        return None
    answer = "same" if len(set(voices)) == 1 else "different"
    return _heard(scene, "voice", "is it the same voice or are they different ?", ("same", "different"), answer)


def _heard(scene: Scene, kind: str, text: str, choices: tuple[str, ...], answer: str) -> Question:
    """A question that the transcript does not answer; models write it all the same, as the reference thought."""
    task = scene.words.task_of.get(answer, "speech" if kind == "voice" else "music")
    return Question(kind, text, choices, answer, " ".join(scene.events), "perception", task)


ASKERS = {
    "first": _ask_first,
    "last": _ask_last,
    "most": _ask_most,
    "after": _ask_after,
    "second": _ask_second,
    "count": _ask_count,
    "loudest": _ask_loudest,
    "direction": _ask_direction,
    "voice": _ask_voice,
}
# Kinds of the base's training questions about events in text: first, last and most have an empty thought there.
TEXT_QUESTION_SHARES = {"first": 0.1, "last": 0.1, "most": 0.1, "after": 0.3, "second": 0.15, "count": 0.25}
SHALLOW_SHARES = {"first": 0.25, "last": 0.25, "most": 0.25, "after": 0.25}
DEEP_SHARES = {"second": 0.5, "count": 0.5}
PERCEPTION_KINDS = ("loudest", "direction", "voice")


def question_shares(knobs: Knobs) -> dict[str, float]:
    """The share of every kind of question under these knobs; they sum to 1."""
    about_events = 1 - knobs.perception_share
    shares = {kind: about_events * (1 - knobs.deep_share) * share for kind, share in SHALLOW_SHARES.items()}
    shares |= {kind: about_events * knobs.deep_share * share for kind, share in DEEP_SHARES.items()}
    if knobs.perception_share:
        shares |= dict.fromkeys(PERCEPTION_KINDS, knobs.perception_share / len(PERCEPTION_KINDS))
    return shares


def ask(rng: np.random.Generator, scene: Scene, shares: dict[str, float]) -> Question:
    """A question about the scene, of a kind drawn by its share; a count if the scene has no question of that kind.

    Where a question of perception cannot be asked, another one is: the loudest sound.
    """
    kind = str(rng.choice(list(shares), p=list(shares.values())))
    question = ASKERS[kind](rng, scene)
    if question is None and kind in PERCEPTION_KINDS:
        question = _ask_loudest(rng, scene)
    return question or _ask_count(rng, scene)


def with_false_events(rng: np.random.Generator, question: Question, rate: float, sounds: tuple[str, ...]) -> Question:
    """The question with a thought in which each event was replaced by another sound with probability `rate`.

    The question's own sound, which a counting thought begins with, and what follows "so" are no transcript and stay.
    """
    words = question.think.split()
    end = words.index("so") if "so" in words else len(words)
    first = 1 if question.kind in ("after", "second", "count") else 0
    for place in range(first, end):
        if words[place] in sounds and rng.uniform() < rate:
            words[place] = str(rng.choice([sound for sound in sounds if sound != words[place]]))
    return replace(question, think=" ".join(words))
