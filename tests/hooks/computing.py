"""Other rewards, completions, sizes or devices than the run would have."""

import json
from pathlib import Path

from hooks import hook


def spelling(sample, completion) -> float:
    """A reward that random text earns now and then, so that rewards differ within groups."""
    return sum(completion.text.encode()) % 5 / 4


def seldom(sample, completion) -> float:
    """A reward that often is 0 for all completions of a group, which is then uninformative."""
    return float(sum(completion.text.encode()) % 4 == 0)


def reward_spelling() -> None:
    from omni_clst.method import rewards

    rewards.REWARDS |= {"spelling": spelling, "seldom": seldom}


@hook
def spell() -> None:
    """Add the rewards `spelling` and `seldom`."""
    reward_spelling()


@hook
def tokens_at_once(count: int) -> None:
    """Logits are made for so many tokens at a time."""
    from omni_clst.model.thinker import OmniThinker

    OmniThinker._tokens_at_once = count


@hook
def ends_often() -> None:
    """Let every fifth token end a completion, so that completions differ in length."""
    from omni_clst.model.engine import HFEngine

    make = HFEngine.__init__

    def with_many_ends(self, *arguments, **keywords):
        make(self, *arguments, **keywords)
        self.end_ids = list(range(0, 700, 5))

    HFEngine.__init__ = with_many_ends


@hook
def stand_in_device() -> None:
    """Compute on a stand-in for a GPU that watches where tensors are."""
    import stand_in_device

    stand_in_device.start()


@hook
def keep_vllm_weights() -> None:
    """Let vLLM generate with the weights that it began with."""
    from omni_clst.model.vllm_engine import VLLMEngine

    VLLMEngine.load = lambda self, weights: None


@hook
def replay(file: Path) -> None:
    """Make the engine return the recorded completions of another run, so that rounding cannot change the tokens."""
    from omni_clst.model.engine import Completion, HFEngine

    rows = map(json.loads, file.read_text().splitlines())
    group_of = {row["seed"]: [Completion(**completion) for completion in row["group"]] for row in rows}
    generate = HFEngine.generate

    def replayed(self, examples, seeds, n=1):
        generate(self, examples, seeds, n)  # the forwards, and with them the collectives, are still needed
        return [group_of[seed] for seed in seeds]

    HFEngine.generate = replayed
