"""Which audio a model is given with a question: the sample's clip, silence of its length, or another sample's clip."""

from dataclasses import dataclass

from ..data.encoder import Example, OmniEncoder
from ..data.samples import AudioQASample


@dataclass(frozen=True)
class AudioSource:
    """Which audio the model gets: the sample's own clip, silence of its length, or another sample's clip."""

    audio: str  # real | silence | other
    other_clip: dict[str, AudioQASample]  # sample id -> the sample whose clip takes its place

    @classmethod
    def plan(cls, audio: str, samples: list[AudioQASample]) -> "AudioSource":
        """Every sample gets the clip of another one, half the set away, that is not its own."""
        others = {}
        if audio == "other":
            shift = max(len(samples) // 2, 1)
            for index, sample in enumerate(samples):
                candidates = (samples[(index + shift + step) % len(samples)] for step in range(len(samples)))
                others[sample.id] = next((s for s in candidates if s.audio_path != sample.audio_path), sample)
        return cls(audio, others)

    def encode(self, encoder: OmniEncoder, sample: AudioQASample) -> Example:
        if self.audio == "real":
            return encoder.encode(sample)
        waveform = encoder.load(self.other_clip.get(sample.id, sample))
        return encoder.encode_waveform(sample, waveform * (0.0 if self.audio == "silence" else 1.0))
