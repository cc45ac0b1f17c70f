"""Groups of completions for the next samples of the curriculum; with dynamic sampling, uninformative ones are replaced.

Every process holds whole groups. A generation has one slot per prompt, counted over all processes in the order in which
the optimiser will see them; who holds a slot, which sample fills it and what is drawn for it depend on nothing else, so
one process and eight go through the same samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..method.rewards import score_completion
from ..model.engine import Completion
from ..model.sampling import derive_seed
from .curriculum_feed import CurriculumFeed, PlacedSample


@dataclass(frozen=True)
class Slots:
    """How a generation's prompts lie on processes: micro-batch after micro-batch, in it process after process."""

    micro_batches: int  # per process and generation
    processes: int
    prompts: int  # per micro-batch and process

    @property
    def total(self) -> int:
        return self.micro_batches * self.processes * self.prompts

    def of_process(self, rank: int) -> list[int]:
        """The slots that a process holds, in its own order."""
        return [slot for slot in range(self.total) if slot // self.prompts % self.processes == rank]


@dataclass(frozen=True)
class Group:
    """The completions of one prompt and what each earned; `drawn_again` counts the uninformative groups before it."""

    place: PlacedSample
    completions: list[Completion]
    rewards: list[dict[str, float]]
    drawn_again: int

    def totals(self, weights: dict[str, float]) -> list[float]:
        """Weighted reward of every completion."""
        return [sum(weights[name] * value for name, value in earned.items()) for earned in self.rewards]

    def is_informative(self, weights: dict[str, float]) -> bool:
        """False where all completions earned the same: every advantage is then 0."""
        totals = self.totals(weights)
        return max(totals) - min(totals) > 1e-6


@dataclass
class Rollouts:
    """Makes one generation's groups on this process; every process takes the same decisions.

    `complete(places, seeds)` is the engine: it returns the samples with their clips encoded, and their completions.
    `share(mapping)` gives every process the union of all mappings.
    """

    feed: CurriculumFeed
    slots: Slots
    rank: int
    weights: dict[str, float]
    complete: Callable[[list[PlacedSample], list[int]], tuple[list[PlacedSample], list[list[Completion]]]]
    share: Callable[[dict], dict]
    redraws: int  # how often slots without any difference in reward are filled anew (dynamic sampling, DAPO 2503.14476)
    seed: int

    def next_generation(self) -> tuple[list[Group], dict[str, float]]:
        """This process's groups in slot order, and counts over all processes.

        An uninformative group gives its slot to the next sample of the curriculum, in slot order, until all groups
        are informative, `redraws` is used up or the curriculum ends.
        """
        own_slots = self.slots.of_process(self.rank)
        groups: dict[int, Group] = {}
        open_slots = list(range(self.slots.total))
        counts = {"groups/drawn": 0, "groups/uninformative": 0}
        for round_ in range(self.redraws + 1):
            places = dict(zip(open_slots, self.feed.advance(len(open_slots)), strict=False))
            filled = [slot for slot in own_slots if slot in places]
            groups |= dict(zip(filled, self._roll_out([places[slot] for slot in filled], round_), strict=True))
            informative = self.share({slot: groups[slot].is_informative(self.weights) for slot in filled})
            counts["groups/drawn"] += len(places)
            counts["groups/uninformative"] += sum(not teaches for teaches in informative.values())
            open_slots = [slot for slot in open_slots if not informative.get(slot, False)]
            if not open_slots or not self.feed.remaining:
                break
        counts["groups/trained_uninformative"] = len(open_slots)
        return [groups[slot] for slot in own_slots], counts

    def next_places(self) -> list[int]:
        """The positions that this process will take first in the next generation."""
        own_slots = self.slots.of_process(self.rank)
        return [self.feed.cursor + slot for slot in own_slots] if self.feed.remaining >= self.slots.total else []

    def _roll_out(self, positions: list[int], round_: int) -> list[Group]:
        places = self.feed.take(positions)
        # the position names the draw: a resumed run, or one on more processes, draws the same
        seeds = [derive_seed(self.seed, place.position) for place in places]
        places, completions = self.complete(
            places, seeds
        )  # without samples too: under ZeRO-3 all processes gather the weights
        return [
            Group(place, own, [score_completion(place.sample, c.text, list(self.weights)) for c in own], round_)
            for place, own in zip(places, completions, strict=True)
        ]
