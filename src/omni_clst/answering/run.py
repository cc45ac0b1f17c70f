"""One sample file, answered by a model: what `answer.py` does."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..data.clip_check import measure_lengths
from ..data.layouts import read_samples
from ..data.samples import AudioQASample
from ..files import sha256_of_file
from ..model.checkpoints import Checkpoint
from ..model.engine import Completion
from ..model.sampling import Sampling
from ..processes import process_rank, say, wait_for_all
from .answer import answer_all, answer_settings, load_engine, make_encoder
from .audio_source import AudioSource
from .config import AnswerConfig
from .folder import AnswerFolder
from .pass_rates import answer_row, read_pass_rates


@dataclass
class SampleRun:
    """A sample file to answer; made, and with it checked, before any weight is loaded."""

    config: AnswerConfig
    checkpoint: Checkpoint
    device: torch.device

    def __post_init__(self):
        config = self.config
        self.samples = read_samples(config.samples, config.audio_root)
        self.encoder = make_encoder(config, self.checkpoint)
        remedy = "--allow_missing_audio leaves them unanswered"
        decode_up_to = config.max_audio_seconds if config.check_audio else None
        self.lengths, self.unreadable = measure_lengths(
            self.samples, self.encoder.length, config.samples, config.allow_missing_audio, remedy, decode_up_to
        )
        temperature = config.temperature if config.num_completions > 1 else 0.0
        self.sampling = Sampling(config.max_new_tokens, temperature, seed=config.seed)
        settings = answer_settings(self.checkpoint, self.encoder, self.sampling, config, self.device)
        settings |= {"samples_sha256": sha256_of_file(config.samples), "num_completions": config.num_completions}
        settings |= {} if config.audio == "real" else {"audio": config.audio}  # real: as before there was a choice
        self.folder = AnswerFolder(Path(config.answers_dir), settings, config.overwrite)

    def answer(self) -> None:
        """Answer what is open; rank 0 writes `answers.jsonl` and says how much was right."""
        config = self.config
        how = f"{config.num_completions} answers each, {config.audio} audio"
        say(f"{config.samples}: {len(self.samples)} samples, {how}")
        if self.folder.lacks(self.lengths):
            engine = load_engine(config, self.checkpoint, self.encoder, self.sampling, self.device)
            answer_all(
                engine,
                self.samples,
                self.lengths,
                self.folder,
                config.batch_tokens,
                config.num_workers,
                AudioSource.plan(config.audio, [sample for sample in self.samples if sample.id in self.lengths]),
                self._make_row,
                config.allow_missing_audio,
                config.num_completions,
            )
        if process_rank() == 0:
            without = self.unreadable | self.folder.failed()
            answered = [sample for sample in self.samples if sample.id not in without]
            path = self.folder.write_whole("answers.jsonl", answered)
            rates = read_pass_rates(path, config.audio).values()
            if without:
                say(f"{len(without)} samples are left unanswered: {'; '.join(list(without.values())[:3])}")
            say(f"{path}: {len(answered)} samples answered, {100 * sum(rates) / len(rates):.1f} % accuracy")
        wait_for_all()

    def _make_row(self, sample: AudioQASample, completions: list[Completion]) -> dict:
        texts = [completion.text for completion in completions]
        return answer_row(sample, texts, self.encoder.prompt, self.config.model, self.config.audio)
