"""What clips were encoded to, kept from step to step: a clip that comes again is not encoded again."""

from collections import OrderedDict
from dataclasses import replace

import torch

from .curriculum_feed import Draw


class EncodingCache:
    """Encodings in the machine's memory by clip, at most `limit_bytes` of them; those not used for longest go first.

    Right as long as the audio tower does not learn. Encodings made in another batch differ in the last bits.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self.held: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.bytes = 0

    def encoded(self, draws: list[Draw], device: torch.device) -> list[Draw]:
        """The draws, with their clips' encodings where these are held."""
        return [self._encoded(draw, device) for draw in draws]

    def _encoded(self, draw: Draw, device: torch.device) -> Draw:
        held = self.held.get(draw.sample.audio_path)
        if held is None:
            return draw
        self.held.move_to_end(draw.sample.audio_path)
        return replace(draw, example=replace(draw.example, audio_embeddings=held.to(device)))

    def keep(self, draws: list[Draw]) -> None:
        """Keep what the draws' clips were encoded to."""
        for draw in draws:
            encoding, path = draw.example.audio_embeddings, draw.sample.audio_path
            if encoding is None or path in self.held or encoding.nbytes > self.limit_bytes:
                continue
            self.held[path] = encoding.to("cpu", copy=True)  # a view would hold on to its whole batch
            self.bytes += encoding.nbytes
            while self.bytes > self.limit_bytes:
                self.bytes -= self.held.popitem(last=False)[1].nbytes
