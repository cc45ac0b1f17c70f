"""Alarms of a GRPO run: completions that teach nothing, said while it runs, with the number and the remedy."""

from collections.abc import Iterator

from ..data.response_health import ResponseHealth

WINDOW = 512  # completions
TIED_GENERATIONS = 10  # in a row, before it is said


class CompletionAlarms:
    """Watches the rows of completions.jsonl, generation by generation."""

    def __init__(self) -> None:
        self.health = ResponseHealth("max_completion_length", WINDOW)
        self.tied = 0  # generations in a row whose groups all tie

    def see(self, rows: list[dict]) -> Iterator[str]:
        """What is to be said after a generation with these rows."""
        for row in rows:
            self.health.add(row["problem"])
        yield from self.health.new_warnings()
        self.tied = 0 if any(row["advantage"] for row in rows) else self.tied + 1
        if self.tied == TIED_GENERATIONS:
            yield (
                f"warning: in {self.tied} generations one after the other all completions of a group had the same reward: "
                f"the loss is 0 and nothing is learnt; {self._remedy(rows)}"
            )

    @staticmethod
    def _remedy(rows: list[dict]) -> str:
        if not any(row["correct"] for row in rows):
            return "none is right: are the samples too hard, or is the checkpoint not the SFT model?"
        if all(row["correct"] for row in rows):
            return "all are right: draw harder samples (max_sft_pass_rate in build_clst.yaml)"
        return "raise num_generations or temperature, or set dynamic_sampling true"
