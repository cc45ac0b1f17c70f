"""One GRPO step in the plain way, as a reference for the fast path.

The stock processor pads every clip to its full length and is called with one copy a completion; each copy is encoded,
prefilled and pushed through every forward, with logits at every position.
"""

from contextlib import contextmanager

import torch

from omni_clst.model.attention import FOLDED_SDPA


@contextmanager
def as_released(model):
    """The model with transformers' own attention."""
    config = model.config.text_config
    attention = config._attn_implementation
    try:
        config._attn_implementation = "sdpa" if attention == FOLDED_SDPA else attention
        yield
    finally:
        config._attn_implementation = attention


def make_inputs(processor, text: str, waveform, copies: int, device="cpu") -> dict[str, torch.Tensor]:
    """Model inputs of `copies` equal prompts (copies, tokens), each with its clip, as the stock processor makes them."""
    stock = processor(text=[text] * copies, audio=[waveform] * copies, padding=True, return_tensors="pt")
    return {name: tensor.to(device) for name, tensor in stock.items()}


@torch.no_grad()
def roll_out(model, inputs: dict[str, torch.Tensor], new_tokens: int, temperature: float, suppressed: list[int]):
    """Sampled completions (rows, new tokens), none of which ends early."""
    drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0, "suppress_tokens": suppressed}
    with as_released(model):
        output = model.generate(**inputs, **drawn, max_new_tokens=new_tokens, eos_token_id=None, pad_token_id=0)
    return output[:, inputs["input_ids"].shape[1] :]


def score(
    model, inputs: dict[str, torch.Tensor], completion_ids, completion_mask, temperature: float, suppressed: list[int]
):
    """Log-probabilities (rows, completion tokens), 0 where masked, from the released forward over whole rows."""
    prompt = inputs["input_ids"].shape[1]
    rows = inputs | {
        "input_ids": torch.cat([inputs["input_ids"], completion_ids], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], completion_mask], dim=1),
    }
    model.rope_deltas = None  # what another forward left behind
    with as_released(model):
        logits = type(model).__mro__[2].forward(model, **rows).logits[:, prompt - 1 : -1]
    logits = logits.float() / temperature
    logits = logits.index_fill(-1, torch.tensor(suppressed, device=logits.device), -torch.inf)
    log_probs = logits.log_softmax(dim=-1).gather(-1, completion_ids.unsqueeze(-1)).squeeze(-1)
    return log_probs * completion_mask


def grpo_loss(log_probs, reference, completion_mask, advantages, beta: float) -> torch.Tensor:
    """DeepSeekMath's loss (arXiv 2402.03300, equations 3 and 4) at the first update, averaged per completion."""
    ratio = (log_probs - log_probs.detach()).exp()
    apart = reference - log_probs
    terms = -advantages.unsqueeze(-1) * ratio + beta * (apart.exp() - apart - 1)
    return ((terms * completion_mask).sum(dim=1) / completion_mask.sum(dim=1).clamp_min(1)).mean()
