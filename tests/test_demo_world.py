"""The embedded world: its questions have one right answer, and the same seed makes the same bytes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from omni_clst.data.audio import load_audio
from omni_clst.data.benchmark_rows import find_benchmark, load_benchmark, resolve_audio
from omni_clst.data.layouts import read_samples
from omni_clst.data.response import format_response, parse_response
from omni_clst.demo.clips import clip_seconds, compose_clip
from omni_clst.demo.dataset import WorldConfig, write_world
from omni_clst.demo.knobs import Knobs
from omni_clst.demo.scene import NUMBERS, SAMPLING_RATE, Scene
from omni_clst.demo.sounds import SOUNDS, SynthesisedSounds, synthesise_event
from omni_clst.demo.world import ASKERS, ask, draw_scene, question_shares, with_false_events

SYNTHESISED = SynthesisedSounds()
DEFAULT = Knobs()
SMALL = WorldConfig(source_clips=6, questions_per_clip=4, mmau_clips=5, mmar_clips=3)


def right_answer(kind: str, events: tuple[str, ...], text: str) -> str:
    """The answer once more, by plain search in the list of events."""
    words = text.split()
    if kind == "first":
        return events[0]
    if kind == "last":
        return events[-1]
    if kind == "most":
        return max(set(events), key=events.count)
    asked = words[-2] if kind in ("after", "second") else words[words.index("the") + 1]
    places = [index for index, event in enumerate(events) if event == asked]
    if kind == "count":
        return NUMBERS[len(places)]
    return events[(places[-1] if kind == "after" else places[1]) + 1]


def test_every_question_has_its_answer_among_four_choices():
    rng = np.random.default_rng(0)
    kinds = Counter()
    for _ in range(3000):
        scene = draw_scene(rng, SYNTHESISED, DEFAULT)
        question = ask(rng, scene, question_shares(DEFAULT))
        kinds[question.kind, question.depth] += 1
        assert question.answer == right_answer(question.kind, scene.events, question.text)
        assert len(set(question.choices)) == 4
        assert question.answer in question.choices
    assert set(kinds) == {
        ("first", "shallow"), ("last", "shallow"), ("most", "shallow"), ("after", "shallow"),
        ("after", "deep"), ("second", "deep"), ("count", "deep"),
    }  # fmt: skip
    assert min(kinds.values()) > 60


def test_depth_does_not_always_show_in_the_wording():
    rng = np.random.default_rng(0)
    once, twice = (
        Scene(("hiss", "drum", "bell"), SYNTHESISED.words),
        Scene(("hiss", "bell", "hiss", "drum", "bell"), SYNTHESISED.words),
    )
    for scene, depth in ((once, "shallow"), (twice, "deep")):
        found = {}
        for _ in range(60):
            question = ASKERS["after"](rng, scene)
            found[question.text] = question.depth
        assert found["what sound comes right after the last hiss ?"] == depth


def test_thought_counts_the_sound_of_the_question():
    rng = np.random.default_rng(0)
    scene = Scene(("hiss", "drum", "hiss", "bell"), SYNTHESISED.words)
    thoughts = {}
    for _ in range(100):
        for kind in ("count", "after", "second"):
            question = ASKERS[kind](rng, scene)
            thoughts[question.text] = question.think
    assert thoughts["how many times is the hiss heard ?"] == "hiss zero hiss one drum hiss two bell"
    assert thoughts["what sound comes right after the second hiss ?"] == "hiss zero hiss one drum hiss two bell"
    after = "hiss zero hiss one drum hiss two bell so hiss two bell"
    assert thoughts["what sound comes right after the last hiss ?"] == after


@pytest.mark.parametrize("sound", SOUNDS)
def test_sounds_vary_and_stay_in_range(sound):
    rng = np.random.default_rng(0)
    first, second = synthesise_event(rng, sound), synthesise_event(rng, sound)
    assert np.abs(first).max() <= 1.0
    assert len(first) != len(second) or not np.array_equal(first, second)


def test_longest_scene_fits_into_a_clip():
    rng = np.random.default_rng(0)
    for _ in range(50):
        clip = compose_clip(rng, Scene(("beep",) * 7, SYNTHESISED.words), SYNTHESISED, DEFAULT)
        loud = np.flatnonzero(np.abs(clip) > 0.1)
        assert loud[-1] < len(clip) - 1


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, SMALL)
    return folder


def test_same_seed_writes_the_same_bytes(world, tmp_path):
    write_world(tmp_path, SMALL)
    files = sorted(path.relative_to(world) for path in world.rglob("*") if path.is_file())
    assert len(files) == 6 + 5 + 3 + 4  # clips, then source.jsonl, world.json and two metadata files
    assert all((world / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)
    write_world(tmp_path / "other", replace(SMALL, seed=1))
    assert (tmp_path / "other" / "source.jsonl").read_bytes() != (world / "source.jsonl").read_bytes()


def test_no_clip_is_in_two_splits(world):
    contents = [soundfile.read(path)[0].tobytes() for path in world.rglob("*.wav")]
    assert len(set(contents)) == len(contents) == 14


def test_samples_and_benchmarks_read_back_without_an_oddity(world):
    source = read_samples(world / "source.jsonl", world)
    assert len(source) == 24
    for sample in source:
        assert len(load_audio(sample.audio_path)) == pytest.approx(2.2 * SAMPLING_RATE)
        assert parse_response(format_response(sample.think, sample.answer)).well_formed
    for name, count in (("mmau-mini", 10), ("mmar", 6)):
        meta, audio_root = find_benchmark(world, name)
        rows = load_benchmark(name, meta)
        assert (len(rows.samples), rows.oddities) == (count, ())
        assert all(resolve_audio(sample, audio_root).is_file() for sample in rows.samples)


# The knobs


def draw(knobs: Knobs, count: int = 300) -> list[tuple[Scene, object]]:
    rng = np.random.default_rng(1)
    scenes = [draw_scene(rng, SYNTHESISED, knobs) for _ in range(count)]
    return [(scene, ask(rng, scene, question_shares(knobs))) for scene in scenes]


def test_events_of_a_clip_are_as_many_as_asked_for_and_fit():
    for events in (4, 7, 12, 16):
        knobs = Knobs(events=events)
        scenes = [scene for scene, _ in draw(knobs)]
        assert max(len(scene.events) for scene in scenes) == events
        longest = max(scenes, key=lambda scene: len(scene.events))
        clip = compose_clip(np.random.default_rng(0), longest, SYNTHESISED, knobs)
        assert len(clip) == round(clip_seconds(SYNTHESISED, knobs) * SAMPLING_RATE)
        assert np.flatnonzero(np.abs(clip) > 0.05)[-1] < len(clip) - 1
        assert max(Counter(scene.events).most_common()[0][1] for scene in scenes) <= 4


def test_background_and_overlap_are_heard():
    scene = Scene(("beep", "drum"), SYNTHESISED.words)
    quiet, noisy, crowded = (
        compose_clip(np.random.default_rng(0), scene, SYNTHESISED, knobs)
        for knobs in (DEFAULT, Knobs(background=0.1), Knobs(overlap=0.5))
    )
    assert np.abs(noisy[-2000:]).mean() > 20 * np.abs(quiet[-2000:]).mean()  # after the last event
    assert np.flatnonzero(np.abs(crowded) > 0.05)[-1] < np.flatnonzero(np.abs(quiet) > 0.05)[-1]


def test_false_events_change_one_event_in_five_of_the_thoughts_and_nothing_else(world, tmp_path):
    write_world(tmp_path, replace(SMALL, knobs=Knobs(false_events=0.2)))
    true, false = (read_samples(folder / "source.jsonl", folder) for folder in (world, tmp_path))
    assert [replace(sample, think="", audio_path="") for sample in true] == [
        replace(sample, think="", audio_path="") for sample in false
    ]
    for clip in world.rglob("*.wav"):
        assert clip.read_bytes() == (tmp_path / clip.relative_to(world)).read_bytes()
    rng = np.random.default_rng(0)
    changed = events = 0
    for _, question in draw(DEFAULT, 1000):
        thought = with_false_events(rng, question, 0.2, SOUNDS).think
        before, after = question.think.split(), thought.split()
        assert len(before) == len(after)
        start = question.kind in ("count", "after", "second")
        end = before.index("so") if "so" in before else len(before)
        assert after[:start] + after[end:] == before[:start] + before[end:]
        pairs = [(a, b) for a, b in zip(before[start:end], after[start:end], strict=True) if a in SOUNDS]
        changed, events = changed + sum(a != b for a, b in pairs), events + len(pairs)
        assert [word for word in before if word in NUMBERS] == [word for word in after if word in NUMBERS]
    assert changed / events == pytest.approx(0.2, abs=0.02)


def test_shares_of_depths_follow_the_knobs():
    depths = Counter(question.depth for _, question in draw(Knobs(deep_share=0.0), 1500))
    assert depths["deep"] / 1500 < 0.25  # questions after the last of several, and counts where a kind cannot be asked
    depths = Counter(question.depth for _, question in draw(Knobs(perception_share=0.5), 1500))
    assert depths["perception"] / 1500 == pytest.approx(0.5, abs=0.05)
    assert sum(question_shares(Knobs(deep_share=0.7, perception_share=0.3)).values()) == pytest.approx(1.0)


def test_questions_of_perception_are_about_how_the_clip_sounds():
    knobs = Knobs(perception_share=0.8)
    answers = Counter()
    for scene, question in draw(knobs, 600):
        if question.depth != "perception":
            continue
        answers[question.kind, question.answer] += question.kind != "loudest"
        assert question.answer in question.choices and question.think == " ".join(scene.events)
        if question.kind == "loudest":
            assert question.answer == scene.events[scene.delivery.loudest]
        elif question.kind == "direction":
            assert "chirp" in scene.events and (question.answer == "rise") == scene.delivery.rising
        else:
            voices = {voice for voice in scene.delivery.voices if voice}
            assert (question.answer == "same") == (len(voices) == 1)
    assert min(count for (kind, _), count in answers.items() if kind != "loudest") >= 5  # every answer is given


def test_delivery_is_heard():
    rng = np.random.default_rng(0)

    def centre(part: np.ndarray) -> float:
        spectrum = np.abs(np.fft.rfft(part))
        return float((spectrum * np.arange(len(spectrum))).sum() / spectrum.sum())

    rising, falling = (synthesise_event(rng, "chirp", rising=direction) for direction in (True, False))
    for chirp, is_rising in ((rising, True), (falling, False)):
        half = len(chirp) // 2
        assert (centre(chirp[half : 2 * half]) > centre(chirp[:half])) == is_rising

    def pitch(voice: str) -> float:
        """In hertz, from the lag at which the vowel is most like itself."""
        vowel = synthesise_event(np.random.default_rng(3), "aah", voice=voice)
        lags = range(SAMPLING_RATE // 250, SAMPLING_RATE // 80)
        return SAMPLING_RATE / max(lags, key=lambda lag: float(vowel[:-lag] @ vowel[lag:]))

    assert 95 < pitch("low") < 125 < 165 < pitch("high") < 205
