"""A checkpoint answers sets of samples: sharded over processes, resumed per sample, one file a set at the end.

Every process appends what it has answered to a part of its own; rank 0 puts the parts together once all are done. A
batch is answered whole or not at all, so a killed run that is started again writes the same file as an undisturbed one.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import torch

from ..data.samples import AudioQASample
from ..errors import InputError
from ..model.checkpoints import Checkpoint, choose_dtype, load_thinker
from ..model.engine import Completion, HFEngine
from ..model.model_files import weights_fingerprint
from ..model.sampling import Sampling, derive_seed
from ..processes import process_count, process_rank, say, wait_for_all
from .audio_source import AudioSource
from .batches import encoded_batches, plan_batches
from .config import AnsweringConfig
from .folder import AnswerFolder
from .progress import Progress
from .prompt_choice import make_encoder
from .questions import Questions

MakeRow = Callable[[AudioQASample, list[Completion]], dict]


class AnsweringRun:
    """A checkpoint as the settings ask it; its weights are loaded for the first set that is not answered yet."""

    def __init__(self, config: AnsweringConfig, checkpoint: Checkpoint, device: torch.device):
        self.config = config
        self.checkpoint = checkpoint
        self.device = device
        self.encoder = make_encoder(config, checkpoint)
        temperature = 0.0 if config.is_greedy else config.temperature
        self.sampling = Sampling(config.max_new_tokens, temperature, config.top_p, config.top_k, seed=config.seed)

    def open_folder(self, path: Path, more_settings: dict) -> AnswerFolder:
        """The folder that a set's answers go to; raises `InputError` where it holds answers made with other settings."""
        config, source = self.config, self.checkpoint.source
        settings = {
            "model": config.model,
            "weights": weights_fingerprint(Path(source)) if self.checkpoint.is_local else source,
            "prompt": asdict(self.encoder.prompt),
            "max_audio_seconds": config.max_audio_seconds,
            "batch_tokens": config.batch_tokens,
            "dtype": str(choose_dtype(config.dtype, self.device)),
            **asdict(self.sampling),
            **more_settings,
            **({} if config.thought == "free" else {"thought": config.thought}),  # free: as before there was a choice
        }
        return AnswerFolder(path, settings, config.overwrite)

    @cached_property
    def engine(self) -> HFEngine:
        """The checkpoint's model, ready to answer."""
        config = self.config
        dtype = choose_dtype(config.dtype, self.device)
        model = load_thinker(self.checkpoint, dtype, self.device, config.attn_implementation)
        say(f"{config.model}: prompt {self.encoder.prompt.name}, {model.dtype}, {self.device}")
        return HFEngine(model, self.encoder, self.sampling)

    def answer(self, questions: Questions, folder: AnswerFolder, make_row: MakeRow, num_completions: int = 1) -> None:
        """Answer every sample that is not answered yet; this process takes its share of the batches.

        A clip that turns out broken behind a whole header ends the run, naming it, unless `allow_missing_audio`: then
        the folder notes what is wrong, and the others are answered.
        """
        if folder.lacks(questions.lengths):
            self._answer(questions, folder, make_row, num_completions)
            wait_for_all()

    def _answer(self, questions: Questions, folder: AnswerFolder, make_row: MakeRow, num_completions: int) -> None:
        config, readable = self.config, questions.readable
        batches = plan_batches(
            readable,
            [questions.lengths[sample.id] for sample in readable],
            config.batch_tokens,
            num_completions * config.max_new_tokens,
        )
        unanswered = [batch for batch in batches if folder.lacks(sample.id for sample in batch.samples)]
        of_process = unanswered[process_rank() :: process_count()]
        total = sum(len(batch.samples) for batch in of_process)
        if total < len(readable):
            say(f"  {total} of {len(readable)} samples to answer here, {len(folder.done)} are there already")
        source = AudioSource.plan(config.audio, readable)
        engine, progress = self.engine, Progress(total)
        for batch, examples, broken in encoded_batches(of_process, self.encoder, source, config.num_workers):
            if broken and not config.allow_missing_audio:
                raise InputError(
                    f"{next(iter(broken.values()))}; --allow_missing_audio answers the rest and goes on from here"
                )
            seeds = [derive_seed(config.seed, sample.id) for sample in batch.samples]
            completions = engine.generate(examples, seeds, num_completions)
            rows = [
                make_row(sample, [self._with_opening(completion) for completion in of_sample])
                for sample, of_sample in zip(batch.samples, completions, strict=True)
            ]
            rows += [{"id": key, "error": reason} for key, reason in broken.items()]
            folder.append([row for row in rows if row["id"] not in folder.done])
            progress.advance(len(rows))

    def _with_opening(self, completion: Completion) -> Completion:
        """The whole of the assistant's turn: the opening that it was given, if any, then what the model generated."""
        return replace(
            completion,
            text=self.encoder.opening + completion.text,
            tokens=len(self.encoder.opening_ids) + completion.tokens,
        )
