"""Files of what a run computes: clips, completions, weights, buffers."""

import json
import os
from pathlib import Path

from hooks import hook


@hook
def record(file: Path) -> None:
    """Append the completions of every prompt to `file`, with the prompt's seed, which is the same in every launch."""
    from dataclasses import asdict

    from omni_clst.model.engine import HFEngine

    generate = HFEngine.generate

    def recorded(self, examples, seeds, n=1):
        groups = generate(self, examples, seeds, n)
        with open(file, "a") as log:
            for seed, group in zip(seeds, groups, strict=True):
                log.write(json.dumps({"seed": seed, "group": [asdict(completion) for completion in group]}) + "\n")
        return groups

    HFEngine.generate = recorded


@hook
def dump_weights(folder: Path) -> None:
    """Save the trained weights of every process at the end of a training."""
    from omni_clst.training.metrics_log import MetricsLog

    def on_train_end(self, args, state, control, model=None, **kwargs):
        import torch

        trained = {key: p.detach().clone() for key, p in model.named_parameters() if p.requires_grad}
        torch.save(trained, folder / f"rank{os.environ.get('RANK', '0')}.pt")

    MetricsLog.on_train_end = on_train_end


@hook
def dump_buffers(file: Path) -> None:
    """Save the model's buffers at the beginning of a training."""
    from omni_clst.training.metrics_log import MetricsLog

    begin = MetricsLog.on_train_begin

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        import torch

        if state.is_world_process_zero:
            torch.save(dict(model.named_buffers()), file)
        begin(self, args, state, control, model=model, **kwargs)

    MetricsLog.on_train_begin = on_train_begin


def hash_clips(input_features, feature_attention_mask) -> list[str]:
    """One hash per clip, of its valid mel frames."""
    import hashlib

    clips = zip(input_features, feature_attention_mask.bool(), strict=True)
    return [hashlib.sha256(clip[:, valid].numpy().tobytes()).hexdigest()[:12] for clip, valid in clips]


@hook
def log_clips(file: Path) -> None:
    """Append to `file`, one line per call, which clips the audio tower encodes, and whose encodings the model gets.

    In the phase `tower` these are the clips' hashes; in `rollout`, `score` and `policy` the hashes of the clips whose
    encodings are in the model's input, identified by the encodings' bytes.
    """
    import hashlib

    from omni_clst.model.engine import HFEngine
    from omni_clst.model.families.qwen2_5_omni import Qwen2_5OmniThinker
    from omni_clst.model.thinker import OmniThinker

    encode, embed = Qwen2_5OmniThinker.get_audio_features, OmniThinker.embed
    generate, score = HFEngine._generate_copies, OmniThinker.score_completions
    phases: list[str] = []
    clip_of: dict[str, str] = {}

    def note(phase: str, clips: list[str]) -> None:
        with open(file.with_suffix(f".rank{os.environ.get('RANK', '0')}"), "a") as log:
            log.write(json.dumps({"phase": phase, "clips": clips}) + "\n")

    def during(phase: str, function, *arguments, **keywords):
        phases.append(phase)
        try:
            return function(*arguments, **keywords)
        finally:
            phases.pop()

    def generated(self, *arguments):
        return during("rollout", generate, self, *arguments)

    def scored(self, *arguments, **keywords):
        import torch

        phase = "policy" if torch.is_grad_enabled() else "score"
        return during(phase, score, self, *arguments, **keywords)

    def digest(encoding) -> str:
        return hashlib.sha256(encoding.float().numpy().tobytes()).hexdigest()

    def encoded(self, input_features, feature_attention_mask=None, *arguments, **keywords):
        from omni_clst.data.audio import audio_token_count

        clips = hash_clips(input_features, feature_attention_mask)
        note("tower", clips)
        output = encode(self, input_features, feature_attention_mask, *arguments, **keywords)
        sizes = [audio_token_count(frames) for frames in feature_attention_mask.sum(dim=-1).tolist()]
        clip_of.update(zip(map(digest, output.last_hidden_state.split(sizes)), clips, strict=True))
        return output

    def embedded(self, input_ids, input_features=None, feature_attention_mask=None, audio_embeddings=None):
        embeddings = embed(self, input_ids, input_features, feature_attention_mask, audio_embeddings)
        is_audio = input_ids == self.config.audio_token_id
        pairs = zip(embeddings, is_audio, strict=True)
        note(phases[-1], [clip_of[digest(row[mask].detach())] for row, mask in pairs])
        return embeddings

    Qwen2_5OmniThinker.get_audio_features, OmniThinker.embed = encoded, embedded
    HFEngine._generate_copies, OmniThinker.score_completions = generated, scored
