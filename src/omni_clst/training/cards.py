"""GPUs by their datasheets, for the hours of a plan."""

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Card:
    """A GPU by its vendor's datasheet: dense bfloat16 TFLOP/s, memory and link (each direction) in GB/s."""

    name: str
    memory_gib: int
    tflops: float
    memory_gbs: float
    link_gbs: float


CARDS = (  # of equal memory, the slower one first: it is taken where only the memory is given
    Card("RTX3090", 24, 71, 936, 32),
    Card("RTX4090", 24, 165, 1008, 32),
    Card("A100-40", 40, 312, 1555, 300),
    Card("A6000", 48, 155, 768, 32),
    Card("L40S", 48, 362, 864, 32),
    Card("A100-80", 80, 312, 2039, 300),
    Card("H100", 80, 989, 3350, 450),
    Card("H200", 141, 989, 4800, 450),
)


def choose_card(memory_gib: float, name: str | None = None) -> Card:
    """The card of this name, or the one whose memory is nearest; raises `InputError` for an unknown name."""
    wanted = (name or "").upper().replace(" ", "").removeprefix("NVIDIA")
    named = [card for card in CARDS if card.name.startswith(wanted)]
    if not named:
        raise InputError(f"gpu_name {name!r} is not one of {', '.join(card.name.lower() for card in CARDS)}")
    return min(named, key=lambda card: abs(card.memory_gib - memory_gib))


def card_of_device(device_name: str, memory_gib: float) -> Card:
    """The card that torch calls `NVIDIA A100-SXM4-40GB`, or else the one whose memory is nearest."""
    families = [card.name.partition("-")[0] for card in CARDS]
    return choose_card(memory_gib, next((name for name in families if name in device_name.replace(" ", "")), None))
