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
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniThinkerCausalLMOutputWithPast
from transformers.utils import ModelOutput

from ..data.encoder import IGNORED_LABEL
from .attention import FOLDED, FOLDED_FLEX, free_mask
from .kv_cache import RoomyCache
from .onednn import use_onednn
from .sampling import SampledScores, Sampling
from .shared_prefix import SharedPrefix, positions_from_mask

LOGITS_AT_ONCE = 2**24  # values: 64 MiB of float32, of which a handful is held at once


@dataclass
class CompletionScores(ModelOutput):
    """Log-probabilities of sampled tokens and the entropy where each was drawn, (rows, tokens); 0 where masked."""

    log_probs: torch.Tensor | None = None
    entropies: torch.Tensor | None = None


class OmniThinker(Qwen2_5OmniThinkerForConditionalGeneration):
    """`Qwen2_5OmniThinkerForConditionalGeneration` with a supervised forward (`labels`) and one that scores completions."""

    def __init__(self, config):
        super().__init__(config)
        attention = config.text_config._attn_implementation
        config.text_config._attn_implementation = FOLDED.get(attention, attention)
        use_onednn(self)

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
        audio_embeddings: torch.Tensor | None = None,
        rows_at_once: int | None = None,
    ) -> CompletionScores:
        """Score groups of completions, each group behind one prompt with one clip.

        `input_ids` and `attention_mask` (groups, prompt tokens) are padded on the left, `completion_ids` and
        `completion_mask` (groups * G, completion tokens) on the right, a group's rows next to each other: each is
        scored behind the clip of its own prompt. Prompt and clip go through the model once a group, and the completions
        branch off (`shared_prefix.py`). `rows_at_once` bounds the completions whose activations are kept
        together; more of them are computed again in the backward, behind their prompt again.
        """
        copies = completion_ids.shape[0] // input_ids.shape[0]
        prompts = self.embed(input_ids, input_features, feature_attention_mask, audio_embeddings)
        rows = torch.arange(completion_ids.shape[0], device=completion_ids.device)
        pieces = rows.split(rows_at_once or len(rows))

        def score(own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            groups, owner = (own // copies).unique(return_inverse=True)
            return self._score_rows(
                SharedPrefix(attention_mask[groups], completion_mask[own], owner),
                prompts[groups],
                completion_ids[own],
                sampling,
                suppressed,
            )

        if len(pieces) > 1 and torch.is_grad_enabled():
            scored = [checkpoint(score, own, use_reentrant=False) for own in pieces]
        else:
            scored = [score(own) for own in pieces]
        return CompletionScores(*(torch.cat(parts) for parts in zip(*scored, strict=True)))

    def _score_rows(
        self,
        prefix: SharedPrefix,
        prompts: torch.Tensor,
        completion_ids: torch.Tensor,
        sampling: Sampling,
        suppressed: list[int],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies (rows, completion tokens) behind embedded prompts (groups, tokens, hidden)."""
        sampled = completion_ids[prefix.drawn]  # (tokens,)
        is_flex = self.config.text_config._attn_implementation == FOLDED_FLEX
        hidden = self.model(
            inputs_embeds=prefix.pack(prompts, self.get_input_embeddings()(sampled).to(prompts.dtype)),
            attention_mask=prefix.block_mask if is_flex else self._mask(prefix.allowed, prompts.dtype),
            position_ids=prefix.positions,
            use_cache=False,
        ).last_hidden_state
        before = hidden.flatten(0, 1)[prefix.predictors]  # (tokens, hidden): each position predicts the next token
        most = len(completion_ids) * sampling.max_new_tokens
        chosen, entropies = self._score_tokens(before, sampled, sampling, suppressed, most)
        empty = torch.zeros(completion_ids.shape, dtype=chosen.dtype, device=chosen.device)
        return empty.masked_scatter(prefix.drawn, chosen), empty.masked_scatter(prefix.drawn, entropies)

    def _score_tokens(
        self, hidden: torch.Tensor, sampled: torch.Tensor, sampling: Sampling, suppressed: list[int], most: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability and entropy (tokens,) where each token was drawn, from the states before them (tokens, hidden).

        Logits are made for some tokens at a time, and again in the backward. Under ZeRO-3 every use of the head gathers its
        weights from all processes, which have to take the same number of tiles: it follows from `most`, the tokens that
        there can be, and not from those that this process has.
        """

        def score(states: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return SampledScores.apply(self.lm_head(states), sampling, suppressed, ids)

        count = -(-(most if is_deepspeed_zero3_enabled() else max(len(sampled), 1)) // self._tokens_at_once)
        tiles = list(zip(hidden.tensor_split(count), sampled.tensor_split(count), strict=True))
        if len(tiles) == 1:
            return score(*tiles[0])
        if torch.is_grad_enabled():
            scored = [checkpoint(score, *tile, use_reentrant=False) for tile in tiles]
        else:
            scored = [score(*tile) for tile in tiles]
        return tuple(torch.cat(parts) for parts in zip(*scored, strict=True))

    @property
    def _tokens_at_once(self) -> int:
        """Tokens whose logits are held together."""
        return max(LOGITS_AT_ONCE // self.config.text_config.vocab_size, 1)

    def _mask(self, allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The mask for who sees whom (batch, queries, keys), as the attention in force takes it."""
        return free_mask(allowed, self.config.text_config._attn_implementation, dtype)

    def prefill(self, embeddings: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, RoomyCache]:
        """Logits (prompts, vocabulary) behind embedded prompts padded on the left, and the cache to go on with."""
        output = self.model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=positions_from_mask(attention_mask),
            past_key_values=RoomyCache(self.config.text_config.num_hidden_layers),
            use_cache=True,
        )
        return self.lm_head(output.last_hidden_state[:, -1]), output.past_key_values

    def decode(
        self, token_ids: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, cache: RoomyCache
    ) -> torch.Tensor:
        """Logits (prompts, lanes, vocabulary) behind one more token of each completion, `token_ids` (prompts, lanes).

        `positions` (prompts, lanes) are theirs; `seen` (prompts, lanes, keys) says what each sees of what the cache will
        hold with them.
        """
        embeddings = self.get_input_embeddings()(token_ids)
        output = self.model(
            inputs_embeds=embeddings,
            attention_mask=self._mask(seen, embeddings.dtype),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return self.lm_head(output.last_hidden_state)

    def embed(self, input_ids, input_features=None, feature_attention_mask=None, audio_embeddings=None) -> torch.Tensor:
        """Token embeddings (batch, tokens, hidden) with the clips' encodings in place of the audio placeholders.

        The clips are given as mel features, or encoded already: `audio_embeddings` (audio tokens of all clips, hidden).
        """
        embeddings = self.get_input_embeddings()(input_ids)
        if audio_embeddings is None:
            if input_features is None:
                return embeddings
            audio_embeddings = self.encode_clips(input_features, feature_attention_mask)
        placeholders = (input_ids == self.config.audio_token_id).unsqueeze(-1)  # (batch, tokens, 1)
        return embeddings.masked_scatter(placeholders, audio_embeddings.to(embeddings.dtype))

    def encode_clips(self, input_features: torch.Tensor, feature_attention_mask: torch.Tensor) -> torch.Tensor:
        """Encodings of clips (audio tokens of all clips, hidden), one clip after the other."""
        with torch.set_grad_enabled(self.tower_learns and torch.is_grad_enabled()):
            return self.get_audio_features(input_features, feature_attention_mask).last_hidden_state

    @property
    def tower_learns(self) -> bool:
        """True where a clip's encoding changes with training, so that none can be kept."""
        return any(parameter.requires_grad for parameter in self.audio_tower.parameters())
