"""Count right answers in total and by group, with the 95 % interval of every accuracy."""

from dataclasses import dataclass, field

from ..data.intervals import ClipSums, Interval, accuracy_interval


@dataclass
class Cell:
    """Right answers among all, by the clip that they are about."""

    answers: ClipSums = field(default_factory=ClipSums)

    @property
    def correct(self) -> int:
        return int(self.answers.total)

    @property
    def total(self) -> int:
        return self.answers.count

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100.0 * self.correct / self.total

    @property
    def interval(self) -> Interval:
        """Of the accuracy, in percent."""
        return accuracy_interval(self.answers)

    def to_json(self) -> dict:
        counts = {"correct": self.correct, "total": self.total}
        return counts | {"accuracy": self.accuracy, "interval": list(self.interval)}


@dataclass
class Tally(Cell):
    """The same in total and for every name of every group."""

    by: dict[str, dict[str, Cell]] = field(default_factory=dict)

    def add(self, is_correct: bool, groups: dict[str, tuple[str, ...]], clip: str) -> None:
        self.answers.add(clip, is_correct)
        for group, name in ((group, name) for group, names in groups.items() for name in names):
            self.by.setdefault(group, {}).setdefault(name, Cell()).answers.add(clip, is_correct)

    def to_json(self) -> dict:
        by = {group: {name: cell.to_json() for name, cell in sorted(names.items())} for group, names in self.by.items()}
        return {"accuracy": self.accuracy, "interval": list(self.interval), "by": by}
