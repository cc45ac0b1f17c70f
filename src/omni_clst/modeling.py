"""The released thinker with a training forward of our own: logits only where a label stands.

The logits of a 152k vocabulary over a whole prompt cost more memory than the rest of the step. The forward stays that of
the wrapped model, so that DDP, DeepSpeed and autocast see it.
"""

from functools import wraps

import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen2_5OmniThinkerForConditionalGeneration
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniThinkerCausalLMOutputWithPast

from .processing import IGNORED_LABEL


def positions_from_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """Position ids (batch, tokens) that count from 0 at each row's first token, whichever side is padded.

    Without pictures the three axes of the model's rotary positions are equal, so these plain ids are all it needs.
    """
    return (attention_mask.long().cumsum(dim=-1) - 1).clamp_min(0)


class OmniThinker(Qwen2_5OmniThinkerForConditionalGeneration):
    """`Qwen2_5OmniThinkerForConditionalGeneration`, whose forward with `labels` makes the supervised loss alone."""

    @wraps(Qwen2_5OmniThinkerForConditionalGeneration.forward)  # generate() reads the signature
    def forward(self, input_ids=None, labels=None, num_items_in_batch=None, **inputs):
        """Without `labels` the released forward; with them the mean cross-entropy over labelled positions.

        `labels` (batch, tokens) are -100 where nothing is learnt; `num_items_in_batch` is the divisor when the batch
        is one part of a larger one. `logits` of the result has shape (labelled positions, vocabulary).
        """
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
