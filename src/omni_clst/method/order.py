"""The orders in which a training run can visit a curriculum file."""

import random

from ..data.samples import EASY_TO_HARD
from ..errors import InputError

ORDERS = ("file", "shuffled", "shuffled_within_level", "overlapping")


def arrange(levels: list[str], order: str, seed: int, overlap: float) -> list[int]:
    """The row numbers of a curriculum file in the order of training: a permutation of 0..N-1 for N `levels`.

    `file`: the file's order. `shuffled`: no curriculum. `shuffled_within_level`: easy, medium, hard, each level shuffled;
    raises `InputError` where a level is unknown. `overlapping`: the shares of the levels shift gradually; rows are sorted
    by their number as a share of the file's length plus Gaussian noise of standard deviation `overlap` (0 is the file's
    order, much above 1 is shuffled).
    """
    rows = list(range(len(levels)))
    rng = random.Random(seed)
    if order == "file":
        return rows
    if order == "overlapping":
        noisy = [row / len(levels) + rng.gauss(0.0, overlap) for row in rows]
        return sorted(rows, key=noisy.__getitem__)
    rng.shuffle(rows)
    if order == "shuffled":
        return rows
    if order != "shuffled_within_level":
        raise InputError(f"order {order!r} is not one of {', '.join(ORDERS)}")
    if unknown := sum(level not in EASY_TO_HARD for level in levels):
        raise InputError(f"order shuffled_within_level needs levels: {unknown} of {len(levels)} samples have none")
    return sorted(rows, key=lambda row: EASY_TO_HARD.index(levels[row]))
