"""Train the embedded world's base model, a short "pretraining".

The base learns to caption clips, to answer questions about clips directly, and to reason step by step over events that are
listed as text. It is not trained on thoughts about clips: combining the two is left to SFT and GRPO.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2_5OmniConfig

from ..data.encoder import Example, OmniEncoder, collate
from ..data.mel import log_mel
from ..data.prompts import PROMPTS, format_choices, make_prompt
from ..data.response import format_response
from ..data.time_left import TimeLeft
from ..model.checkpoints import save_omni, write_prompt
from ..model.families.qwen2_5_omni import Qwen2_5OmniThinker
from .clips import clip_seconds, compose_clip
from .knobs import Knobs
from .scene import Scene, Sounds
from .sounds import SynthesisedSounds
from .tiny import make_config, make_processor
from .world import TEXT_QUESTION_SHARES, Question, ask, draw_scene, question_shares

DEFAULT = Knobs()
CAPTION_REQUEST = "what do you hear ?"


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of the pretraining; every change makes a new base model."""

    seed: int = 0
    knobs: Knobs = DEFAULT
    steps: int = 440
    clips: int = 4000  # used repeatedly with other questions; each takes 4 ms to synthesise
    audio_rows: int = 40  # rows per step with a clip: captions first, then increasingly questions
    text_rows: int = 40  # rows per step that reason over events in text
    caption_share: tuple[float, float] = (0.9, 0.1)  # of the audio rows, at the first step and after `turn` of the steps
    turn: float = 0.25  # before the model can caption clips, questions teach it little
    learning_rate: float = 3.0e-3  # of the embeddings, norms and head
    muon_learning_rate: float = 5.0e-3  # of the layers' matrices
    warmup_steps: int = 30
    hidden: int = 128
    layers: int = 4
    audio_layers: int = 2
    log_steps: int = field(default=20, metadata={"cosmetic": True})


def tokenizer_corpus(sounds: Sounds | None = None, knobs: Knobs = DEFAULT) -> list[str]:
    """Texts to train the tokenizer on: the world's words, alone and after a space, tags, questions and templates."""
    sounds = sounds or SynthesisedSounds()
    names = (*sounds.words.sounds, *sounds.words.numbers, "so")
    words = [form for word in names for form in (word, f" {word}")]
    rng = np.random.default_rng(0)
    questions = [ask(rng, draw_scene(rng, sounds, knobs), question_shares(knobs)).text for _ in range(300)]
    if knobs.perception_share:
        words += [form for word in ("rise", "fall", "same", "different") for form in (word, f" {word}")]
    tags = ["<think>", "</think>", "<answer>", "</answer>", "system\n", "user\n", "assistant\n"]
    templates = [PROMPTS[name].replace("{question}", "").replace("{choices}", "") for name in PROMPTS]
    return (words + tags + [CAPTION_REQUEST, "heard :", "\n- "]) * 40 + questions + templates


class PretrainingData:
    """Endless batches of training rows over a fixed set of clips."""

    def __init__(self, config: PretrainConfig, sounds: Sounds, processor):
        self.config = config
        self.sounds = sounds
        self.rng = np.random.default_rng(config.seed)
        self.direct = OmniEncoder(processor, make_prompt("demo_direct", system=""), max_audio_seconds=30.0)
        self.selective = OmniEncoder(processor, make_prompt("demo_selective", system=""), max_audio_seconds=30.0)
        self.scenes = [draw_scene(self.rng, sounds, config.knobs) for _ in range(config.clips)]
        self.features = self._mel_features(self.scenes)

    def _mel_features(self, scenes: list[Scene]) -> torch.Tensor:
        """Mel features of every scene's clip: (clips, mel_bins, frames); all clips are equally long."""
        extractor = self.direct.processor.feature_extractor
        parts = []
        for start in range(0, len(scenes), 64):
            part = scenes[start : start + 64]
            clips = [compose_clip(self.rng, scene, self.sounds, self.config.knobs) for scene in part]
            parts.append(torch.as_tensor(log_mel(extractor, clips)[0]))
        return torch.cat(parts)

    def _user_text(self, encoder: OmniEncoder, question: Question, before: str = "") -> str:
        choices = format_choices(question.choices)
        return before + encoder.prompt.template.replace("{question}", question.text).replace("{choices}", choices)

    def _with_clip(self, index: int, user_text: str, response: str) -> Example:
        features = self.features[index]
        return self.direct.encode_chat(user_text, response, features)

    def caption_row(self) -> Example:
        index = int(self.rng.integers(len(self.scenes)))
        return self._with_clip(index, CAPTION_REQUEST, " ".join(self.scenes[index].events))

    def question_row(self) -> Example:
        index = int(self.rng.integers(len(self.scenes)))
        question = ask(self.rng, self.scenes[index], question_shares(self.config.knobs))
        return self._with_clip(index, self._user_text(self.direct, question), question.answer)

    def text_row(self) -> Example:
        scene = draw_scene(self.rng, self.sounds, self.config.knobs)
        question = ask(self.rng, scene, TEXT_QUESTION_SHARES)
        # Without empty thoughts here their tokens stay untrained, and LoRA on the layers brings a model to generate them
        # in at most 3 % of its samples; a released model was trained on them.
        think = "" if question.kind in ("first", "last", "most") else question.think
        user_text = self._user_text(self.selective, question, f"heard : {' '.join(scene.events)}\n")
        return self.selective.encode_chat(user_text, format_response(think, question.answer), None)

    def batches(self) -> Iterator[list[dict[str, torch.Tensor]]]:
        """Per step a batch of captions, one of questions and one of text; each counts for one third of the loss."""
        pad = self.direct.tokenizer.pad_token_id
        config = self.config
        first, last = config.caption_share
        for step in itertools.count():
            progress = min(step / (config.turn * config.steps), 1.0)
            caption_rows = round(config.audio_rows * (first + (last - first) * progress))
            captions = [self.caption_row() for _ in range(caption_rows)]
            questions = [self.question_row() for _ in range(config.audio_rows - caption_rows)]
            texts = [self.text_row() for _ in range(config.text_rows)]
            yield [collate(rows, pad, "right") for rows in (captions, questions, texts)]


def make_optimizers(model: Qwen2_5OmniThinker, config: PretrainConfig) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the layers' matrices, AdamW for the rest.

    In a trial on this world AdamW alone took about twice the steps until the model could name the first sound.
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    matrix_ids = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in matrix_ids]
    optimizers = [
        torch.optim.Muon(
            matrices, lr=config.muon_learning_rate, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def learning_rate_factor(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, constant, then linear decay to 0 over the last 40 %."""
    warmup = step / config.warmup_steps
    decay = (config.steps - step + 1) / (0.4 * config.steps)
    return min(warmup, 1.0, decay)


def pretrain(config: PretrainConfig, sounds: Sounds | None = None):
    """Train the base model from random weights; returns (`Qwen2_5OmniThinker`, its Omni config, processor).

    Deterministic for a seed.
    """
    torch.manual_seed(config.seed)
    sounds = sounds or SynthesisedSounds()
    processor = make_processor(tokenizer_corpus(sounds, config.knobs))
    seconds = clip_seconds(sounds, config.knobs)
    omni_config = make_config(processor, config.hidden, config.layers, config.audio_layers, seconds)
    model = Qwen2_5OmniThinker(omni_config.thinker_config)
    data = PretrainingData(config, sounds, processor)
    optimizers = make_optimizers(model, config)
    model.train()
    left = TimeLeft(config.steps)
    for step, batches in zip(range(1, config.steps + 1), data.batches(), strict=False):
        losses = [model(**batch).loss for batch in batches]
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * learning_rate_factor(step, config)
            optimizer.step()
            optimizer.zero_grad()
        if step % config.log_steps == 0 or step == config.steps:
            captions, questions, texts = (f"{loss.item():.2f}" for loss in losses)
            words = (f"captions {captions}", f"questions {questions}", f"text {texts}", left.in_words(step))
            print(f"  pretraining {step}/{config.steps}: loss of {', '.join(filter(None, words))}", flush=True)
    return model.eval(), omni_config, processor


def save_base(folder: Path, model: Qwen2_5OmniThinker, omni_config: Qwen2_5OmniConfig, processor) -> None:
    """Write a base model like a released one: full Omni layout, processor, and its training prompt."""
    save_omni(folder, model.state_dict(), omni_config, base=None)
    processor.save_pretrained(folder)
    torch.save({}, folder / "spk_dict.pt")  # transformers' class of the whole model does not load without one
    write_prompt(folder, make_prompt("demo_direct", system=""))
