"""Answer sets of samples with a checkpoint: sharded over processes, resumed per sample, one file per set at the end.

Every process appends its answers to its own part file; rank 0 joins the parts once all are done. With engine hf a batch
is answered whole or not at all, with vLLM a sample; a killed run that is started again writes the same file as an
uninterrupted one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import torch

from ..data.encoder import Example
from ..data.response_health import ResponseHealth, sign_of
from ..data.samples import AudioQASample
from ..model.checkpoints import Checkpoint, choose_dtype, load_thinker, read_prompt
from ..model.engine import Completion, HFEngine
from ..model.model_files import weights_fingerprint
from ..model.sampling import Sampling, derive_seed
from ..model.static_decoding import choose_decoding
from ..model.vllm_engine import VLLMEngine, choose_engine, describe_engine
from ..processes import process_count, process_rank, say, wait_for_all
from .audio_source import AudioSource
from .batches import Batch, UndecodableClips, encoded_batches, plan_batches
from .config import AnsweringConfig
from .encoder import make_encoder
from .folder import AnswerFolder
from .progress import Progress
from .questions import Questions
from .vllm_start import require_split, start_vllm

MakeRow = Callable[[AudioQASample, list[Completion]], dict]


class AnsweringRun:
    """A checkpoint with the settings to answer with; weights are loaded for the first set that has unanswered samples."""

    def __init__(self, config: AnsweringConfig, checkpoint: Checkpoint, device: torch.device):
        self.config = config
        self.checkpoint = checkpoint
        self.device = device
        self.engine_name = choose_engine(config.engine, device)
        self.decoding = choose_decoding(config.decoding, device)
        if self.engine_name == "vllm":
            require_split(config, checkpoint)
        self.encoder = make_encoder(config, checkpoint, keep_waveform=self.engine_name == "vllm")
        temperature = 0.0 if config.is_greedy else config.temperature
        self.clips_per_prompt = 1
        self.sampling = Sampling(config.max_new_tokens, temperature, config.top_p, config.top_k, seed=config.seed)

    def expect(self, sets: list[Questions]) -> None:
        """Name all sets before the first is answered: vLLM is started once, for the most clips of any question."""
        self.clips_per_prompt = max((len(sample.clips) for one in sets for sample in one.samples), default=1)

    @property
    def is_trained_here(self) -> bool:
        """True for a checkpoint with a training prompt, which it needs to be asked with."""
        return read_prompt(self.checkpoint) is not None

    def open_folder(self, path: Path, set_settings: dict) -> AnswerFolder:
        """The folder for a set's answers; raises `InputError` if it has answers with other settings."""
        config, source = self.config, self.checkpoint.source
        settings = {
            "model": config.model,
            "weights": weights_fingerprint(Path(source)) if self.checkpoint.is_local else source,
            "prompt": asdict(self.encoder.prompt),
            "max_audio_seconds": config.max_audio_seconds,
            **self._engine_settings(),
            "dtype": str(choose_dtype(config.dtype, self.device)),
            **asdict(self.sampling),
            **set_settings,
            **({} if config.thought == "free" else {"thought": config.thought}),  # free: compatible with older folders
        }
        return AnswerFolder(path, settings, config.overwrite)

    def _engine_settings(self) -> dict:
        """What rounding may depend on; engine hf with plain decoding goes without saying."""
        engine = describe_engine(self.engine_name, decoding=self.decoding)
        named = {} if engine == "hf" else {"engine": engine}
        return named if self.engine_name == "vllm" else named | {"batch_tokens": self.config.batch_tokens}

    @cached_property
    def engine(self) -> HFEngine | VLLMEngine:
        """The engine with the checkpoint's weights, loaded on first use."""
        config = self.config
        dtype = choose_dtype(config.dtype, self.device)
        say(f"{config.model}: prompt {self.encoder.prompt.name}, {dtype}, {self.device}, engine {self.engine_name}")
        if self.engine_name == "vllm":
            clips = self.clips_per_prompt
            return start_vllm(config, self.checkpoint, self.encoder, self.sampling, dtype, self.device, clips)
        model = load_thinker(self.checkpoint, dtype, self.device, config.attn_implementation)
        return HFEngine(model, self.encoder, self.sampling, decoding=self.decoding)

    def answer(self, questions: Questions, folder: AnswerFolder, make_row: MakeRow, num_completions: int = 1) -> None:
        """Answer every sample that is not answered yet; this process takes its share.

        A clip that fails to decode after an intact header is an error, unless `allow_missing_audio`: then the error is
        saved in the folder, and the other samples are answered.
        """
        if folder.has_unanswered(questions.lengths):
            self._answer(questions, folder, make_row, num_completions)
            wait_for_all()

    def _answer(self, questions: Questions, folder: AnswerFolder, make_row: MakeRow, num_completions: int) -> None:
        planned = self._plan(questions, num_completions)
        unanswered = [batch for batch in planned if folder.has_unanswered(sample.id for sample in batch.samples)]
        of_process = unanswered[process_rank() :: process_count()]
        total = sum(len(batch.samples) for batch in of_process)
        if total < len(questions.readable):
            say(f"  {total} of {len(questions.readable)} samples to answer here, {len(folder.done)} are answered already")
        source = AudioSource.plan(self.config.audio, questions.readable)
        undecodable = UndecodableClips(folder, self.config.allow_missing_audio)
        # vLLM's threads do not survive a fork
        fork_fresh = self.engine_name == "vllm"
        batches = encoded_batches(of_process, self.encoder, source, self.config.num_workers, fork_fresh)
        encoded = undecodable.removed_from(batches)
        engine, progress, health = self.engine, Progress(total), ResponseHealth("max_new_tokens")
        for answers in self._generate(engine, encoded, num_completions):
            rows = [make_row(sample, list(map(self.with_opening, completions))) for sample, completions in answers]
            folder.append([row for row in rows if row["id"] not in folder.done])
            progress.advance(len(rows))
            self._watch(health, answers)

    def _watch(self, health: ResponseHealth, answers: list[tuple[AudioQASample, list[Completion]]]) -> None:
        for sample, completions in answers:
            for completion in map(self.with_opening, completions):
                health.add(sign_of(sample, completion.text, completion.finished, self.encoder.prompt.asks_for_tags))
        for line in health.new_warnings():
            say(line)

    def _plan(self, questions: Questions, num_completions: int) -> list[Batch]:
        """Batches for transformers' model; for vLLM, which makes its own, one a sample."""
        config, readable = self.config, questions.readable
        lengths = [questions.lengths[sample.id] for sample in readable]
        most = 1 if self.engine_name == "vllm" else config.batch_tokens
        return plan_batches(readable, lengths, most, num_completions * config.max_new_tokens)

    def _generate(
        self, engine: HFEngine | VLLMEngine, encoded: Iterable[tuple[Batch, list[Example]]], num_completions: int
    ) -> Iterator[list[tuple[AudioQASample, list[Completion]]]]:
        """Samples with their completions: batch by batch, or from vLLM as they finish."""
        seed = self.config.seed
        if isinstance(engine, HFEngine):
            for batch, examples in encoded:
                seeds = [derive_seed(seed, sample.id) for sample in batch.samples]
                yield list(zip(batch.samples, engine.generate(examples, seeds, num_completions), strict=True))
            return
        requests = (
            (sample, example, derive_seed(seed, sample.id))
            for batch, examples in encoded
            for sample, example in zip(batch.samples, examples, strict=True)
        )
        for answer in engine.stream(requests, num_completions):
            yield [answer]

    def with_opening(self, completion: Completion) -> Completion:
        """The completion with the encoder's opening, if any, in front."""
        return replace(
            completion,
            text=self.encoder.opening + completion.text,
            tokens=len(self.encoder.opening_ids) + completion.tokens,
        )
