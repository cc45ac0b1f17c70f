"""Generate groups of completions for the next samples of the curriculum; dynamic sampling replaces uninformative groups.

Every process has whole groups. A generation has one slot per prompt, numbered over all processes in the order in which the
optimiser uses them. The slot's process, its sample and the sampled tokens depend on nothing else, so one process and eight
train on the same samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..method.rewards import ParsedCompletion, Reward, parse_completion, score_completion
from ..model.engine import Completion
from ..model.sampling import derive_seed
from .curriculum_feed import CurriculumFeed, PlacedSample


@dataclass(frozen=True)
class Slots:
    """How a generation's prompts are distributed: by micro-batch, and within a micro-batch by process."""

    micro_batches: int  # per process and generation
    processes: int
    prompts: int  # per micro-batch and process

    @property
    def total(self) -> int:
        return self.micro_batches * self.processes * self.prompts

    def of_process(self, rank: int) -> list[int]:
        """The slots of a process, in its order."""
        return [slot for slot in range(self.total) if slot // self.prompts % self.processes == rank]


@dataclass(frozen=True)
class Group:
    """The completions of one prompt and their rewards; `drawn_again` counts the uninformative groups that it replaces."""

    place: PlacedSample
    completions: list[Completion]
    parsed: list[ParsedCompletion]
    rewards: list[dict[str, float]]
    drawn_again: int

    def totals(self, weights: dict[str, float]) -> list[float]:
        """Weighted reward of every completion."""
        return [sum(weights[name] * value for name, value in rewards.items()) for rewards in self.rewards]

    def is_informative(self, weights: dict[str, float]) -> bool:
        """False where all completions have the same reward: every advantage is then 0."""
        totals = self.totals(weights)
        return max(totals) - min(totals) > 1e-6


@dataclass
class Rollouts:
    """Generates this process's groups of a generation; all processes make the same decisions.

    `complete(places, seeds)` generates: it returns the samples with their clips encoded, and their completions.
    `share(mapping)` returns the union of the mappings of all processes.
    """

    feed: CurriculumFeed
    slots: Slots
    rank: int
    rewards: dict[str, Reward]
    weights: dict[str, float]
    complete: Callable[[list[PlacedSample], list[int]], tuple[list[PlacedSample], list[list[Completion]]]]
    share: Callable[[dict], dict]
    redraws: int  # how often uninformative groups are replaced (dynamic sampling, DAPO, arXiv 2503.14476)
    seed: int

    def next_generation(self) -> tuple[list[Group], dict[str, float]]:
        """This process's groups in slot order, and counts over all processes.

        The slots of uninformative groups are filled with the next samples of the curriculum, in slot order, until all
        groups are informative, `redraws` is reached or the curriculum ends.
        """
        own_slots = self.slots.of_process(self.rank)
        groups: dict[int, Group] = {}
        unfilled = list(range(self.slots.total))
        counts = {"groups/drawn": 0, "groups/uninformative": 0}
        for round_ in range(self.redraws + 1):
            position_of = dict(zip(unfilled, self.feed.advance(len(unfilled)), strict=False))
            filled = [slot for slot in own_slots if slot in position_of]
            groups |= dict(zip(filled, self._roll_out([position_of[slot] for slot in filled], round_), strict=True))
            informative = self.share({slot: groups[slot].is_informative(self.weights) for slot in filled})
            counts["groups/drawn"] += len(position_of)
            counts["groups/uninformative"] += sum(not is_informative for is_informative in informative.values())
            unfilled = [slot for slot in unfilled if not informative.get(slot, False)]
            if not unfilled or not self.feed.remaining:
                break
        counts["groups/trained_uninformative"] = len(unfilled)
        return [groups[slot] for slot in own_slots], counts

    def next_positions(self) -> list[int]:
        """The positions that this process will take first in the next generation."""
        own_slots = self.slots.of_process(self.rank)
        return [self.feed.cursor + slot for slot in own_slots] if self.feed.remaining >= self.slots.total else []

    def _roll_out(self, positions: list[int], round_: int) -> list[Group]:
        places = self.feed.take(positions)
        # the seed depends on the position: a resumed run, or one on more processes, samples the same tokens
        seeds = [derive_seed(self.seed, place.position) for place in places]
        # also without samples: under ZeRO-3 all processes take part in gathering the weights
        places, completions = self.complete(places, seeds)
        return [self._scored(place, group, round_) for place, group in zip(places, completions, strict=True)]

    def _scored(self, place: PlacedSample, completions: list[Completion], round_: int) -> Group:
        parsed = [parse_completion(c.text, c.tokens, c.finished) for c in completions]
        rewards = [score_completion(place.sample, completion, self.rewards) for completion in parsed]
        return Group(place, completions, parsed, rewards, round_)
