"""In which order a training run visits a curriculum file."""

import random

from ..errors import InputError
from .levels import EASY_TO_HARD

ORDERS = ("file", "shuffled", "shuffled_within_level", "overlapping")


def arrange(levels: list[str], order: str, seed: int, overlap: float) -> list[int]:
    """The order in which a run visits a curriculum file of N rows with these levels: a permutation of 0..N-1.

    `file`: as it stands. `shuffled`: no curriculum. `shuffled_within_level`: easy, medium, hard, shuffled inside; raises
    `InputError` where a level is unknown. `overlapping`: the shares of the levels shift over the run; each row is sorted
    by its place, as a share of the file's length, plus Gaussian noise of standard deviation `overlap` (0 is the file's
    order, much above 1 is shuffled).
    """
    places = list(range(len(levels)))
    rng = random.Random(seed)
    if order == "file":
        return places
    if order == "overlapping":
        noisy = [place / len(levels) + rng.gauss(0.0, overlap) for place in places]
        return sorted(places, key=noisy.__getitem__)
    rng.shuffle(places)
    if order == "shuffled":
        return places
    if order != "shuffled_within_level":
        raise InputError(f"order {order!r} is not one of {', '.join(ORDERS)}")
    if unknown := sum(level not in EASY_TO_HARD for level in levels):
        raise InputError(f"order shuffled_within_level needs levels: {unknown} of {len(levels)} samples have none")
    return sorted(places, key=lambda place: EASY_TO_HARD.index(levels[place]))
