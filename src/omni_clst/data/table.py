"""Format tables: in aligned columns for a terminal, in Markdown for a file."""

from collections.abc import Sequence

from .intervals import Interval


def with_interval(value: float, interval: Interval, digits: int = 1) -> str:
    """A figure with its 95 % interval: `56.70 [53.6, 59.7]`."""
    return f"{value:.{digits}f} [{interval[0]:.1f}, {interval[1]:.1f}]"


def make_table(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool = False) -> str:
    """A table as text: a line for the header and one for each row, without a line break at the end.

    In a terminal the first column (names) is aligned to the left, the others (numbers) to the right.
    """
    lines = [header, *rows]
    if markdown:
        named, *others = (f"| {' | '.join(cells)} |" for cells in lines)
        return "\n".join([named, "|---" * len(header) + "|", *others])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]) for cells in lines)
