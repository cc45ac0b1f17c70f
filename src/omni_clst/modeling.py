"""The released thinker with two training forwards of our own: a supervised one and one for policy gradients.

Logits are made only where a label or a sampled token stands: those of a 152k vocabulary over a whole prompt cost more
memory than the rest of the step. Both go through the model's `forward`, so that DDP, DeepSpeed and autocast see them.
"""

from dataclasses import dataclass
from functools import wraps

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import Qwen2_5OmniThinkerForConditionalGeneration
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniThinkerCausalLMOutputWithPast
from transformers.utils import ModelOutput

from .processing import IGNORED_LABEL
from .sampling import Sampling, token_log_probs


def positions_from_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """Position ids (batch, tokens) that count from 0 at each row's first token, whichever side is padded.

    Without pictures the three axes of the model's rotary positions are equal, so these plain ids are all it needs.
    """
    return (attention_mask.long().cumsum(dim=-1) - 1).clamp_min(0)


@dataclass
class CompletionScores(ModelOutput):
    """Log-probabilities of sampled tokens and the entropy where each was drawn, (rows, tokens); 0 where masked."""

    log_probs: torch.Tensor | None = None
    entropies: torch.Tensor | None = None


class OmniThinker(Qwen2_5OmniThinkerForConditionalGeneration):
    """`Qwen2_5OmniThinkerForConditionalGeneration` with a supervised forward (`labels`) and one that scores completions."""

    @wraps(Qwen2_5OmniThinkerForConditionalGeneration.forward)  # generate() reads the signature
    def forward(self, input_ids=None, labels=None, num_items_in_batch=None, completion_ids=None, **inputs):
        """With neither `labels` nor `completion_ids` the released forward; with the latter `score_completions`.

        With `labels` (batch, tokens), which are -100 where nothing is learnt, the mean cross-entropy over labelled
        positions; `num_items_in_batch` is the divisor when the batch is one part of a larger one. `logits` of the
        result has shape (labelled positions, vocabulary).
        """
        if completion_ids is not None:
            given = {name: value for name, value in inputs.items() if value is not None}  # PEFT names all that it knows
            return self.score_completions(input_ids, completion_ids=completion_ids, **given)
        if labels is None:
            return super().forward(input_ids=input_ids, **inputs)
        attention_mask = inputs["attention_mask"]
        embeddings = self.embed(input_ids, inputs.get("input_features"), inputs.get("feature_attention_mask"))
        hidden = self.model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=positions_from_mask(attention_mask),
            use_cache=False,
        ).last_hidden_state
        targets = labels[:, 1:]
        learnt = targets != IGNORED_LABEL
        logits = self.lm_head(hidden[:, :-1][learnt]).float()  # (labelled positions, vocabulary)
        total = cross_entropy(logits, targets[learnt], reduction="sum")
        loss = total / (learnt.sum() if num_items_in_batch is None else num_items_in_batch)
        return Qwen2_5OmniThinkerCausalLMOutputWithPast(loss=loss, logits=logits)

    def score_completions(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        completion_ids: torch.Tensor,
        completion_mask: torch.Tensor,
        sampling: Sampling,
        suppressed: list[int],
        input_features: torch.Tensor | None = None,
        feature_attention_mask: torch.Tensor | None = None,
        rows_at_once: int | None = None,
    ) -> CompletionScores:
        """Score groups of completions, each group behind one prompt with one clip.

        `input_ids` and `attention_mask` (groups, prompt tokens) are padded on the left, `completion_ids` and
        `completion_mask` (groups * G, completion tokens) on the right, a group's rows next to each other: whatever the
        batch, they hear the clip of their own prompt, which is encoded once. `rows_at_once` bounds the rows whose
        activations are kept together; more of them are computed again in the backward.
        """
        copies = completion_ids.shape[0] // input_ids.shape[0]
        prompts = self.embed(input_ids, input_features, feature_attention_mask)  # (groups, prompt tokens, hidden)
        rows = torch.arange(completion_ids.shape[0], device=completion_ids.device)
        pieces = rows.split(rows_at_once or len(rows))

        def score(own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            group = own // copies
            return self._score_rows(
                prompts[group], attention_mask[group], completion_ids[own], completion_mask[own], sampling, suppressed
            )

        if len(pieces) > 1 and torch.is_grad_enabled():
            scored = [checkpoint(score, own, use_reentrant=False) for own in pieces]
        else:
            scored = [score(own) for own in pieces]
        return CompletionScores(*(torch.cat(parts) for parts in zip(*scored, strict=True)))

    def _score_rows(self, prompts, prompt_mask, completion_ids, completion_mask, sampling, suppressed):
        """Log-probabilities and entropies (rows, completion tokens) behind embedded prompts, one a row."""
        embeddings = torch.cat([prompts, self.get_input_embeddings()(completion_ids).to(prompts.dtype)], dim=1)
        attention_mask = torch.cat([prompt_mask, completion_mask.to(prompt_mask.dtype)], dim=1)
        hidden = self.model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=positions_from_mask(attention_mask),
            use_cache=False,
        ).last_hidden_state[:, prompts.shape[1] - 1 : -1]  # each position predicts the next token
        drawn = completion_mask.bool()
        sampled = completion_ids[drawn]  # (tokens,)
        log_probs = token_log_probs(self.lm_head(hidden[drawn]), sampling, suppressed, sampled)  # (tokens, vocabulary)
        entropies = -(log_probs.exp() * log_probs.masked_fill(log_probs.isinf(), 0.0)).sum(dim=-1)
        chosen = log_probs.gather(-1, sampled.unsqueeze(-1)).squeeze(-1)
        empty = torch.zeros(completion_ids.shape, dtype=chosen.dtype, device=chosen.device)
        return empty.masked_scatter(drawn, chosen), empty.masked_scatter(drawn, entropies)

    def embed(self, input_ids, input_features=None, feature_attention_mask=None) -> torch.Tensor:
        """Token embeddings (batch, tokens, hidden) with the clips' encodings in place of the audio placeholders."""
        embeddings = self.get_input_embeddings()(input_ids)
        if input_features is None:
            return embeddings
        tower_learns = any(parameter.requires_grad for parameter in self.audio_tower.parameters())
        with torch.set_grad_enabled(tower_learns and torch.is_grad_enabled()):
            audio = self.get_audio_features(input_features, feature_attention_mask).last_hidden_state
        placeholders = (input_ids == self.config.audio_token_id).unsqueeze(-1)  # (batch, tokens, 1)
        return embeddings.masked_scatter(placeholders, audio.to(embeddings.dtype))
