"""Split rows so that a clip, and questions that are nearly the same, are in one split only."""

import random
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

_WORD = re.compile(r"\w+")


def question_key(question: str, choices: Iterable[str]) -> str:
    """A key that is equal for questions which differ only in case, punctuation, white space or order of choices."""
    words = " ".join(_WORD.findall(question.casefold()))
    return "\n".join([words, *sorted(" ".join(_WORD.findall(choice.casefold())) for choice in choices)])


def connected(links: Sequence[Iterable[Hashable]]) -> list[int]:
    """For every row the first row of its group: groups are the connected components of rows that share a link."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(links)
    if not count:
        return []
    first: dict[Hashable, int] = {}
    nodes = (node for row, of_row in enumerate(links) for link in of_row for node in (first.setdefault(link, row), row))
    edges = np.fromiter(nodes, np.int32).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    _, first_rows = np.unique(labels, return_index=True)
    return first_rows[labels].tolist()


def split(groups: Sequence[int], sizes: dict[str, int], seed: int) -> list[str]:
    """The split of every row: `sizes` rows for the named splits, all others are `train`.

    Whole groups are drawn at random. A split takes a group only if it still has room for it, so that a question which is
    asked about every clip stays in training; a split may then be smaller than its size.
    """
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        rows_of[group].append(row)
    order = random.Random(f"split {seed}").sample(sorted(rows_of), len(rows_of))
    split_of = ["train"] * len(groups)
    remaining = dict(sizes)
    for group in order:
        rows = rows_of[group]
        for name, room in remaining.items():
            if len(rows) <= room:
                remaining[name] -= len(rows)
                for row in rows:
                    split_of[row] = name
                break
    return split_of
