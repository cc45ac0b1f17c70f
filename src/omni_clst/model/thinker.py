"""Two training forwards for the thinker of any base: a supervised one and one that scores completions for GRPO.

Logits are computed only for labelled or sampled tokens: with a vocabulary of 152k those of a whole prompt take more memory
than the rest of the step. Both are called through the model's `forward`, so that DDP, DeepSpeed and autocast apply.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import ModelOutput

from ..data.encoder import IGNORED_LABEL
from .attention import FOLDED, FOLDED_FLEX, explicit_mask
from .kv_cache import GrowingCache
from .sampling import SampledScores, Sampling
from .shared_prefix import SharedPrefix, positions_from_mask

LOGITS_AT_ONCE = 2**24  # values: 64 MiB of float32; a few tensors of this size exist at a time


@dataclass
class CompletionScores(ModelOutput):
    """Log-probabilities of sampled tokens and the entropies of their distributions, (completions, tokens); 0 at padding."""

    log_probs: torch.Tensor | None = None
    entropies: torch.Tensor | None = None


def training_forward(released: Callable) -> Callable:
    """The `forward` of a thinker: the `released` one without `labels` and `completion_ids`, else the training forwards."""

    @wraps(released)  # generate() reads the signature
    def forward(self, input_ids=None, labels=None, num_items_in_batch=None, completion_ids=None, **inputs):
        if completion_ids is not None:
            given = {name: value for name, value in inputs.items() if value is not None}  # PEFT passes all arguments
            return self.score_completions(input_ids, completion_ids=completion_ids, **given)
        if labels is not None:
            return self.supervised_loss(input_ids, labels, num_items_in_batch, **inputs)
        return released(self, input_ids=input_ids, **inputs)

    return forward


class OmniThinker(PreTrainedModel):
    """Mixin over a base's released class, which a module of `families/` names: its thinker with the training forwards.

    The attributes are names within the model: of the language model without its head, of the modules that encode clips,
    and of modules and weights that no sample uses, so that they would never get a gradient.
    """

    TEXT_MODEL = "model"
    CLIP_ENCODER: tuple[str, ...] = ("audio_tower",)
    UNUSED: tuple[str, ...] = ()

    def __init__(self, config):
        super().__init__(config)
        attention = config.text_config._attn_implementation
        config.text_config._attn_implementation = FOLDED.get(attention, attention)

    @property
    def text_model(self) -> torch.nn.Module:
        """The language model without its head."""
        return self.get_submodule(self.TEXT_MODEL)

    @property
    def clip_encoder(self) -> list[torch.nn.Module]:
        """The modules that turn mel features into encodings."""
        return [self.get_submodule(name) for name in self.CLIP_ENCODER]

    @property
    def experts(self) -> dict[str, torch.nn.Parameter]:
        """The matrices of a mixture of experts by name, each stacked (experts, out, in); none in a dense model."""
        return {name: parameter for name, parameter in self.named_parameters() if ".mlp.experts." in name}

    def supervised_loss(
        self, input_ids, labels, num_items_in_batch, attention_mask, input_features=None, feature_attention_mask=None, **_
    ) -> CausalLMOutputWithPast:
        """The mean cross-entropy over the labelled positions of `labels` (batch, tokens), which are -100 elsewhere.

        `num_items_in_batch` is the divisor when the batch is one part of a larger one. `logits` of the result has shape
        (labelled positions, vocabulary).
        """
        embeddings = self.embed(input_ids, input_features, feature_attention_mask)
        hidden = self.text_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=positions_from_mask(attention_mask),
            use_cache=False,
        ).last_hidden_state
        targets = labels[:, 1:]
        is_labelled = targets != IGNORED_LABEL
        logits = self.lm_head(hidden[:, :-1][is_labelled]).float()  # (labelled positions, vocabulary)
        total = cross_entropy(logits, targets[is_labelled], reduction="sum")
        loss = total / (is_labelled.sum() if num_items_in_batch is None else num_items_in_batch)
        return CausalLMOutputWithPast(loss=loss, logits=logits)

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
        completions_at_once: int | None = None,
    ) -> CompletionScores:
        """Score groups of completions; each group follows one prompt with one clip.

        `input_ids` and `attention_mask` (groups, prompt tokens) are padded on the left, `completion_ids` and
        `completion_mask` (groups * G, completion tokens) on the right, the completions of a group adjacent. Prompt and
        clip are computed once per group and shared by its completions (`shared_prefix.py`). `completions_at_once` bounds
        the completions whose activations are kept together; with more of them, each part is recomputed in the backward,
        together with its prompts.
        """
        copies = completion_ids.shape[0] // input_ids.shape[0]
        prompts = self.embed(input_ids, input_features, feature_attention_mask, audio_embeddings)
        completions = torch.arange(completion_ids.shape[0], device=completion_ids.device)
        parts = completions.split(completions_at_once or len(completions))

        def score(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            groups, group_of = (part // copies).unique(return_inverse=True)
            return self._score_packed(
                SharedPrefix(attention_mask[groups], completion_mask[part], group_of),
                prompts[groups],
                completion_ids[part],
                sampling,
                suppressed,
            )

        if len(parts) > 1 and torch.is_grad_enabled():
            scored = [checkpoint(score, part, use_reentrant=False) for part in parts]
        else:
            scored = [score(part) for part in parts]
        return CompletionScores(*(torch.cat(tensors) for tensors in zip(*scored, strict=True)))

    def _score_packed(
        self,
        prefix: SharedPrefix,
        prompts: torch.Tensor,
        completion_ids: torch.Tensor,
        sampling: Sampling,
        suppressed: list[int],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies (completions, tokens) after embedded prompts (groups, tokens, hidden)."""
        sampled = completion_ids[prefix.is_token]  # (tokens,)
        is_flex = self.config.text_config._attn_implementation == FOLDED_FLEX
        hidden = self.text_model(
            inputs_embeds=prefix.pack(prompts, self.get_input_embeddings()(sampled).to(prompts.dtype)),
            attention_mask=prefix.block_mask if is_flex else self._mask(prefix.allowed, prompts.dtype),
            position_ids=prefix.positions,
            use_cache=False,
        ).last_hidden_state
        predicting = hidden.flatten(0, 1)[prefix.predictors]  # (tokens, hidden): each position predicts the next token
        max_tokens = len(completion_ids) * sampling.max_new_tokens
        chosen, entropies = self._score_tokens(predicting, sampled, sampling, suppressed, max_tokens)
        zeros = torch.zeros(completion_ids.shape, dtype=chosen.dtype, device=chosen.device)
        return zeros.masked_scatter(prefix.is_token, chosen), zeros.masked_scatter(prefix.is_token, entropies)

    def _score_tokens(
        self, hidden: torch.Tensor, sampled: torch.Tensor, sampling: Sampling, suppressed: list[int], max_tokens: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies (tokens,) of tokens from the states that predict them (tokens, hidden).

        Logits are computed in tiles of some tokens, and recomputed in the backward. Under ZeRO-3 every use of the head
        gathers its weights from all processes, so all need the same number of tiles: it is computed from `max_tokens`, the
        largest possible number, instead of from the tokens of this process.
        """

        def score(states: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return SampledScores.apply(self.lm_head(states), sampling, suppressed, ids)

        count = -(-(max_tokens if is_deepspeed_zero3_enabled() else max(len(sampled), 1)) // self._tokens_at_once)
        tiles = list(zip(hidden.tensor_split(count), sampled.tensor_split(count), strict=True))
        if len(tiles) == 1:
            return score(*tiles[0])
        if torch.is_grad_enabled():
            scored = [checkpoint(score, *tile, use_reentrant=False) for tile in tiles]
        else:
            scored = [score(*tile) for tile in tiles]
        log_probs, entropies = zip(*scored, strict=True)
        return torch.cat(log_probs), torch.cat(entropies)

    @property
    def _tokens_at_once(self) -> int:
        """Tokens whose logits are computed together."""
        return max(LOGITS_AT_ONCE // self.config.text_config.vocab_size, 1)

    def _mask(self, allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The mask `allowed` (batch, queries, keys) in the format of this model's attention."""
        return explicit_mask(allowed, self.config.text_config._attn_implementation, dtype)

    def prefill(self, embeddings: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, GrowingCache]:
        """Logits (prompts, vocabulary) after embedded prompts padded on the left, and the cache to decode from."""
        output = self.text_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=positions_from_mask(attention_mask),
            past_key_values=GrowingCache(self.config.text_config.num_hidden_layers),
            use_cache=True,
        )
        return self.lm_head(output.last_hidden_state[:, -1]), output.past_key_values

    def decode(
        self, token_ids: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, cache: GrowingCache
    ) -> torch.Tensor:
        """Logits (prompts, completions, vocabulary) after one new token per completion, `token_ids` (prompts, completions).

        `positions` (prompts, completions) are the tokens' position ids; `seen` (prompts, completions, keys) is the mask
        over the keys in the cache, those of the new tokens included.
        """
        embeddings = self.get_input_embeddings()(token_ids)
        output = self.text_model(
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
        with torch.set_grad_enabled(self.trains_audio_tower and torch.is_grad_enabled()):
            found = self.get_audio_features(input_features, feature_attention_mask)  # ty: ignore[not-callable]  # the base's
            return found.last_hidden_state

    @property
    def trains_audio_tower(self) -> bool:
        """True where what encodes clips has trainable weights, so that encodings cannot be reused."""
        return any(parameter.requires_grad for module in self.clip_encoder for parameter in module.parameters())

    def train_fully(self, train_towers: bool) -> None:
        """Choose the weights of full fine-tuning: the language model, and with `train_towers` what encodes clips."""
        for module in self.clip_encoder:
            module.requires_grad_(train_towers)
        for name, parameter in self.named_parameters():
            if f"{name}.".startswith(tuple(f"{unused}." for unused in self.UNUSED)):
                parameter.requires_grad_(False)
