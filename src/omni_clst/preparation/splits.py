"""Splits that keep a clip, and questions that are nearly the same, on one side."""

import random
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

_WORD = re.compile(r"\w+")


def question_key(question: str, choices: Iterable[str]) -> str:
    """Equal for questions that differ in case, punctuation, white space or the order of their choices alone."""
    words = " ".join(_WORD.findall(question.casefold()))
    return "\n".join([words, *sorted(" ".join(_WORD.findall(choice.casefold())) for choice in choices)])


def connected(links: Sequence[Iterable[Hashable]]) -> list[int]:
    """For every row the first row of its group: rows that share a link, or are joined by rows that do, are one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(links)
    if not count:
        return []
    first: dict[Hashable, int] = {}
    ends = (end for row, own in enumerate(links) for link in own for end in (first.setdefault(link, row), row))
    edges = np.fromiter(ends, np.int32).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    _, first_rows = np.unique(labels, return_index=True)
    return first_rows[labels].tolist()


def split(groups: Sequence[int], sizes: dict[str, int], seed: int) -> list[str]:
    """The split of every row: `sizes` rows for the named ones, in their order, all others are `train`.

    Whole groups are drawn and a split takes a group only if it still has room for it, so that a question which is asked
    about every clip stays in training instead of emptying it; a split may then end up smaller than asked for.
    """
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        rows_of[group].append(row)
    order = random.Random(f"split {seed}").sample(sorted(rows_of), len(rows_of))
    found = ["train"] * len(groups)
    left = dict(sizes)
    for group in order:
        rows = rows_of[group]
        for name, room in left.items():
            if len(rows) <= room:
                left[name] -= len(rows)
                for row in rows:
                    found[row] = name
                break
    return found
