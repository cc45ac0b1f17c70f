"""The knobs of the embedded world: what decides whether thinking helps, apart from the model.

Every knob stands for something of real data. `events` is the length of a transcript, and with it of a thought; `background`
and `overlap` say how hard a clip is to hear; `false_events` says how often a reference thought, written by a model in real
data, names a sound that is not there; `deep_share` and `perception_share` are the shares of questions that a thought
helps with, and of those that no transcript answers.
"""

from dataclasses import dataclass

DEFAULT_EVENTS = 7


@dataclass(frozen=True)
class Knobs:
    """One setting of the world; the default is the demo's."""

    events: int = DEFAULT_EVENTS  # at most, of a long clip
    background: float = 0.003  # standard deviation of the noise; an event's peak is 0.5 to 1
    overlap: float = 0.0  # share of an event that the next one covers
    false_events: float = 0.0  # probability that an event in a reference thought is another sound
    deep_share: float = 0.4  # of the questions that have to be counted or followed, besides "after the last"
    perception_share: float = 0.0  # of the questions about loudness, direction and voice
