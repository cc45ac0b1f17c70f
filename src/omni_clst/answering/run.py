"""Answer sets of samples with a checkpoint: sharded over processes, resumed per sample, one file per set at the end.

Every process appends its answers to its own part file; rank 0 joins the parts once all are done. A batch is answered whole
or not at all, so a killed run that is started again writes the same file as an uninterrupted one.
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
    """A checkpoint with the settings to answer with; weights are loaded for the first set that has unanswered samples."""

    def __init__(self, config: AnsweringConfig, checkpoint: Checkpoint, device: torch.device):
        self.config = config
        self.checkpoint = checkpoint
        self.device = device
        self.encoder = make_encoder(config, checkpoint)
        temperature = 0.0 if config.is_greedy else config.temperature
        self.sampling = Sampling(config.max_new_tokens, temperature, config.top_p, config.top_k, seed=config.seed)

    def open_folder(self, path: Path, set_settings: dict) -> AnswerFolder:
        """The folder for a set's answers; raises `InputError` if it has answers with other settings."""
        config, source = self.config, self.checkpoint.source
        settings = {
            "model": config.model,
            "weights": weights_fingerprint(Path(source)) if self.checkpoint.is_local else source,
            "prompt": asdict(self.encoder.prompt),
            "max_audio_seconds": config.max_audio_seconds,
            "batch_tokens": config.batch_tokens,
            "dtype": str(choose_dtype(config.dtype, self.device)),
            **asdict(self.sampling),
            **set_settings,
            **({} if config.thought == "free" else {"thought": config.thought}),  # free: compatible with older folders
        }
        return AnswerFolder(path, settings, config.overwrite)

    @cached_property
    def engine(self) -> HFEngine:
        """The engine with the checkpoint's weights, loaded on first use."""
        config = self.config
        dtype = choose_dtype(config.dtype, self.device)
        model = load_thinker(self.checkpoint, dtype, self.device, config.attn_implementation)
        say(f"{config.model}: prompt {self.encoder.prompt.name}, {model.dtype}, {self.device}")
        return HFEngine(model, self.encoder, self.sampling)

    def answer(self, questions: Questions, folder: AnswerFolder, make_row: MakeRow, num_completions: int = 1) -> None:
        """Answer every sample that is not answered yet; this process answers its share of the batches.

        A clip that fails to decode after an intact header is an error, unless `allow_missing_audio`: then the error is
        saved in the folder, and the other samples are answered.
        """
        if folder.has_unanswered(questions.lengths):
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
        unanswered = [batch for batch in batches if folder.has_unanswered(sample.id for sample in batch.samples)]
        of_process = unanswered[process_rank() :: process_count()]
        total = sum(len(batch.samples) for batch in of_process)
        if total < len(readable):
            say(f"  {total} of {len(readable)} samples to answer here, {len(folder.done)} are answered already")
        source = AudioSource.plan(config.audio, readable)
        engine, progress = self.engine, Progress(total)
        for batch, examples, errors in encoded_batches(of_process, self.encoder, source, config.num_workers):
            if errors and not config.allow_missing_audio:
                raise InputError(f"{next(iter(errors.values()))}; --allow_missing_audio continues with the others")
            seeds = [derive_seed(config.seed, sample.id) for sample in batch.samples]
            completions = engine.generate(examples, seeds, num_completions)
            rows = [
                make_row(sample, [self._with_opening(completion) for completion in of_sample])
                for sample, of_sample in zip(batch.samples, completions, strict=True)
            ]
            rows += [{"id": sample_id, "error": error} for sample_id, error in errors.items()]
            folder.append([row for row in rows if row["id"] not in folder.done])
            progress.advance(len(rows))

    def _with_opening(self, completion: Completion) -> Completion:
        """The completion with the encoder's opening, if any, in front."""
        return replace(
            completion,
            text=self.encoder.opening + completion.text,
            tokens=len(self.encoder.opening_ids) + completion.tokens,
        )
