"""Decide whether two clips contain the same sound, by the correlation of their waveforms at the best lag.

The clips are aligned and correlated between 100 Hz and 3.4 kHz, which every codec and telephone keeps; inverted polarity
counts as the same. They are correlated window by window, so that a second of another sound within a minute of the same is
detected, and above 4.2 kHz over all windows together, where both have energy there: codecs and low sampling rates remove
some of it.
"""

from dataclasses import dataclass

import numpy as np

RATE = 16_000
LOW_HZ, HIGH_HZ = (100.0, 3_400.0), (4_200.0, 7_000.0)
WINDOW_SECONDS = 0.5
QUIET_DB = 30.0  # windows this far below the loudest are not compared: codecs change them
NOISE_SHARE = 1e-3  # of a clip's energy in the high band: less is a codec's noise
# A clip with a smaller share of high energy, and a smaller ratio to the other clip's, was low-passed: not compared there.
CUT_SHARE, CUT_RATIO = 3e-3, 1e-2
MIN_ENERGY_SHARE = 0.01  # of a clip's energy: the normalisation of a lag's correlation uses at least this
LAG_STEPS = 16  # per sample, of the fractional lag
MAX_LAG_SECONDS = 0.5  # between copies of equal length: an encoder's delay
MIN_CORRELATION, MIN_WINDOW_CORRELATION = 0.9, 0.5
MIN_HIGH_CORRELATION = 0.5
MIN_COVERED = 0.9  # share of the shorter clip that lies inside the longer


@dataclass(frozen=True)
class Agreement:
    """The correlations of two clips, the second shifted by `lag_seconds`.

    `correlation` is over their whole overlap, `lowest` that of the worst window; `high` is over the whole overlap above
    4.2 kHz, None where one of them has no energy there.
    """

    correlation: float
    lowest: float
    high: float | None
    lag_seconds: float
    lengths: tuple[float, float]

    @property
    def relation(self) -> str | None:
        """`same`, `contained` (the shorter in the longer), or None."""
        if self.correlation < MIN_CORRELATION or self.lowest < MIN_WINDOW_CORRELATION:
            return None
        if self.high is not None and self.high < MIN_HIGH_CORRELATION:
            return None
        difference = abs(self.lengths[0] - self.lengths[1])
        return "same" if difference <= MAX_LAG_SECONDS and abs(self.lag_seconds) <= MAX_LAG_SECONDS else "contained"


def compare(first: np.ndarray, second: np.ndarray) -> Agreement:
    """Agreement of two mono clips (samples,) at 16 kHz."""
    lengths = (len(first), len(second))
    size = 1 << sum(lengths).bit_length()
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    low, high = ((hertz >= begin) & (hertz < end) for begin, end in (LOW_HZ, HIGH_HZ))
    spectra = [np.fft.rfft(wave, size) for wave in (first, second)]
    cross = spectra[0] * np.conj(spectra[1]) * low
    waves = [np.fft.irfft(spectrum * low, size)[:length] for spectrum, length in zip(spectra, lengths, strict=True)]
    lag = _finer_lag(cross[low], hertz[low], _best_lag(np.fft.irfft(cross, size), *waves))
    spectra[1] = spectra[1] * _phase(hertz, -lag)
    inside = slice(max(0, round(lag)), max(0, min(lengths[0], round(lag) + lengths[1])))
    low_waves, high_waves = ([np.fft.irfft(s * band, size)[inside] for s in spectra] for band in (low, high))
    shares = sorted(float(h @ h) / max(float(w @ w), 1e-20) for h, w in zip(high_waves, low_waves, strict=True))
    has_high = shares[1] >= NOISE_SHARE and shares[0] >= min(CUT_SHARE, CUT_RATIO * shares[1])
    return Agreement(
        *_correlations(*low_waves),
        high=_correlations(*high_waves)[0] if has_high else None,
        lag_seconds=lag / RATE,
        lengths=(lengths[0] / RATE, lengths[1] / RATE),
    )


def _best_lag(correlations: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    """The lag of the highest correlation, normalised by the energy of the overlap (else the loudest part would win).

    Only lags at which at least nine tenths of the shorter clip lie inside the longer.
    """
    inside = int(MIN_COVERED * min(len(first), len(second)))
    lags = np.arange(inside - len(second), len(first) - inside + 1)
    energies = []
    for wave, begin, end in ((first, lags, lags + len(second)), (second, -lags, len(first) - lags)):
        cumulative = np.concatenate([[0.0], np.cumsum(np.square(wave))])
        energy = cumulative[np.clip(end, 0, len(wave))] - cumulative[np.clip(begin, 0, len(wave))]
        energies.append(np.maximum(energy, cumulative[-1] * MIN_ENERGY_SHARE))
    return int(lags[np.argmax(np.abs(correlations[lags]) / np.sqrt(energies[0] * energies[1] + 1e-30))])


def _finer_lag(cross: np.ndarray, hertz: np.ndarray, lag: int) -> float:
    """The fractional lag near a whole one at which the correlation is highest, to a sixteenth of a sample."""
    shifted = cross * _phase(hertz, lag - 0.5)
    step = _phase(hertz, 1 / LAG_STEPS)
    values = []
    for _ in range(LAG_STEPS + 1):
        values.append(abs(float(shifted.real.sum())))
        shifted = shifted * step
    return lag - 0.5 + int(np.argmax(values)) / LAG_STEPS


def _phase(hertz: np.ndarray, samples: float) -> np.ndarray:
    """The factors by which a spectrum is multiplied to advance its waveform by this many samples."""
    return np.exp(2j * np.pi / RATE * samples * hertz).astype(np.complex64)


def _correlations(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """(overall correlation, that of the worst window) of two waveforms of one length, without quiet windows."""
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
