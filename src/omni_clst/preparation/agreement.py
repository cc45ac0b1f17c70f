"""Whether two clips are the same sound: their waveforms' correlation, at the lag at which they agree best.

Both are taken at 8 kHz and from 100 Hz to 3.4 kHz, what every codec and telephone keeps, and a polarity turned over counts
as the same. They are then compared window by window, so that a second of another sound in a minute of the same is seen.
"""

from dataclasses import dataclass

import numpy as np
import soxr

RATE = 8_000
LOWEST_HZ, HIGHEST_HZ = 100.0, 3_400.0
WINDOW_SECONDS = 0.5
QUIET_DB = 30.0  # below the loudest window codecs alter what they like: not compared
LEAST_ENERGY = 0.01  # of a clip: places with less say nothing of the lag
FINER = 16  # parts of a sample, for the lag
MAX_LAG_SECONDS = 0.5  # of copies of one length: an encoder's delay
MIN_CORRELATION = 0.9
MIN_WINDOW_CORRELATION = 0.5
MIN_COVERED = 0.9  # of the shorter clip that lies inside the longer


@dataclass(frozen=True)
class Agreement:
    """How two clips agree, the second shifted by `lag_seconds`.

    `correlation` is that of all they have in common, `lowest` that of their worst window, up to 1.
    """

    correlation: float
    lowest: float
    lag_seconds: float
    lengths: tuple[float, float]

    @property
    def relation(self) -> str | None:
        """`same`, `contained` (the shorter in the longer), or None."""
        if self.correlation < MIN_CORRELATION or self.lowest < MIN_WINDOW_CORRELATION:
            return None
        longer = abs(self.lengths[0] - self.lengths[1])
        return "same" if longer <= MAX_LAG_SECONDS and abs(self.lag_seconds) <= MAX_LAG_SECONDS else "contained"


def compare(first: np.ndarray, second: np.ndarray, sampling_rate: int) -> Agreement:
    """Agreement of two mono clips (samples,) at one rate."""
    waves = [soxr.resample(wave, sampling_rate, RATE, quality="LQ") for wave in (first, second)]
    size = 1 << (len(waves[0]) + len(waves[1])).bit_length()
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    kept = (hertz >= LOWEST_HZ) & (hertz <= HIGHEST_HZ)
    spectra = [np.fft.rfft(wave, size) * kept for wave in waves]
    first, second = (np.fft.irfft(spectrum, size)[: len(wave)] for spectrum, wave in zip(spectra, waves, strict=True))
    cross = spectra[0] * np.conj(spectra[1])
    lag = _finer_lag(cross[kept], hertz[kept], _best_lag(np.fft.irfft(cross, size), first, second))
    spectra[1][kept] *= _phase(hertz[kept], -lag)
    shifted = np.fft.irfft(spectra[1], size)
    begin, end = max(0, round(lag)), max(0, min(len(first), round(lag) + len(second)))
    whole, lowest = _correlations(first[begin:end], shifted[begin:end])
    lengths = (len(first) / RATE, len(second) / RATE)
    return Agreement(whole, lowest, lag / RATE, lengths)


def _best_lag(correlations: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    """The lag of the highest correlation for the energy that the two have there, else the loudest place would win.

    Only lags at which the shorter clip lies inside the longer, all but a tenth of it.
    """
    inside = int(MIN_COVERED * min(len(first), len(second)))
    lags = np.arange(inside - len(second), len(first) - inside + 1)
    energies = []
    for wave, begin, end in ((first, lags, lags + len(second)), (second, -lags, len(first) - lags)):
        until = np.concatenate([[0.0], np.cumsum(np.square(wave))])
        energy = until[np.clip(end, 0, len(wave))] - until[np.clip(begin, 0, len(wave))]
        energies.append(np.maximum(energy, until[-1] * LEAST_ENERGY))
    return int(lags[np.argmax(np.abs(correlations[lags]) / np.sqrt(energies[0] * energies[1] + 1e-30))])


def _finer_lag(cross: np.ndarray, hertz: np.ndarray, lag: int) -> float:
    """The lag around a whole one at which the correlation is highest, to a sixteenth of a sample."""
    turned = cross * _phase(hertz, lag - 0.5)
    step = _phase(hertz, 1 / FINER)
    values = []
    for _ in range(FINER + 1):
        values.append(abs(float(turned.real.sum())))
        turned = turned * step
    return lag - 0.5 + int(np.argmax(values)) / FINER


def _phase(hertz: np.ndarray, samples: float) -> np.ndarray:
    """What a spectrum is multiplied with to move its wave ahead by so many samples."""
    return np.exp(2j * np.pi / RATE * samples * hertz).astype(np.complex64)


def _correlations(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """(of all, of the worst window) of two waves of one length; quiet windows aside."""
    window = round(WINDOW_SECONDS * RATE)
    count = max(1, len(first) // window)
    if not first.any() or not second.any():
        return 0.0, 0.0
    starts = np.arange(count) * window
    dot, one, other = (np.add.reduceat(values, starts) for values in (first * second, first**2, second**2))
    loud = np.maximum(one / max(one.max(), 1e-20), other / max(other.max(), 1e-20)) >= 10 ** (-QUIET_DB / 10)
    whole = float(dot.sum() / max(np.sqrt(one.sum() * other.sum()), 1e-20))
    windows = dot[loud] / np.maximum(np.sqrt(one[loud] * other[loud]), 1e-20)
    return abs(whole), float((windows * np.sign(whole)).min())
