"""Samples of a long file in little memory, the same for all data workers."""

import pickle
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import fields

from .samples import AudioQASample

_FIELDS = tuple(f.name for f in fields(AudioQASample))


class PackedSamples(Sequence[AudioQASample]):
    """A read-only sequence of samples, packed into one block of bytes.

    Data workers are forks. The first look at an object there copies its page of memory, since looking counts a reference:
    samples as objects would end up in memory once for each worker.
    """

    def __init__(self, samples: Iterable[AudioQASample]):
        block = bytearray()
        self._ends = array("Q", [0])
        for sample in samples:
            block += pickle.dumps(tuple(getattr(sample, name) for name in _FIELDS), protocol=pickle.HIGHEST_PROTOCOL)
            self._ends.append(len(block))
        self._block = bytes(block)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]  # raises for one that is not there
        values = pickle.loads(memoryview(self._block)[self._ends[number] : self._ends[number + 1]])
        return AudioQASample(*values)
