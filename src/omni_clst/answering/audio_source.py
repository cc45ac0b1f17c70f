"""The audio source of a question: the sample's clip, silence of its length, or another sample's clip."""

from dataclasses import dataclass

from ..data.encoder import Example, OmniEncoder
from ..data.samples import AudioQASample


@dataclass(frozen=True)
class AudioSource:
    """The audio that the model is given with a question."""

    audio: str  # real | silence | other
    other_clip: dict[str, AudioQASample]  # sample id -> the sample whose clip is used instead

    @classmethod
    def plan(cls, audio: str, samples: list[AudioQASample]) -> "AudioSource":
        """The source for a set of samples; with `other` each gets a different clip, from half the set away."""
        others = {}
        if audio == "other":
            shift = max(len(samples) // 2, 1)
            for index, sample in enumerate(samples):
                candidates = (samples[(index + shift + step) % len(samples)] for step in range(len(samples)))
                others[sample.id] = next((s for s in candidates if s.audio_path != sample.audio_path), sample)
        return cls(audio, others)

    def encode(self, encoder: OmniEncoder, sample: AudioQASample) -> Example:
        """The sample's prompt with the audio of this source."""
        if self.audio == "real":
            return encoder.encode(sample)
        loudness = 0.0 if self.audio == "silence" else 1.0
        waveforms = encoder.load_clips(self.other_clip.get(sample.id, sample))
        return encoder.encode_waveforms(sample, [waveform * loudness for waveform in waveforms])
