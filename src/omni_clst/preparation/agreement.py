"""Whether two clips are the same sound: their waveforms' correlation, at the lag at which they agree best.

They are aligned between 100 Hz and 3.4 kHz, what every codec and telephone keeps, and a polarity turned over counts as the
same. They are compared window by window, so that a second of another sound in a minute of the same is seen, and above
4.2 kHz as a whole where both have sound there: codecs and low rates take of it what they like.
"""

from dataclasses import dataclass

import numpy as np

RATE = 16_000
LOW_HZ, HIGH_HZ = (100.0, 3_400.0), (4_200.0, 7_000.0)
WINDOW_SECONDS = 0.5
QUIET_DB = 30.0  # below the loudest window codecs alter what they like: not compared
NOISE_SHARE = 1e-3  # of a clip's energy that lies high: with less it is noise of a codec, not sound
# A clip with less than this share, and so much less than the other's, had what is high cut off: not compared there.
CUT_SHARE, CUT_RATIO = 3e-3, 1e-2
LEAST_ENERGY = 0.01  # of a clip: places with less say nothing of the lag
FINER = 16  # parts of a sample, for the lag
MAX_LAG_SECONDS = 0.5  # of copies of one length: an encoder's delay
MIN_CORRELATION, MIN_WINDOW_CORRELATION = 0.9, 0.5
MIN_HIGH_CORRELATION = 0.5
MIN_COVERED = 0.9  # of the shorter clip that lies inside the longer


@dataclass(frozen=True)
class Agreement:
    """How two clips agree, the second shifted by `lag_seconds`.

    `correlation` is that of all they have in common, `lowest` that of their worst window, up to 1; `high` is that of
    all above 4.2 kHz, None where one of them has nothing there.
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
        longer = abs(self.lengths[0] - self.lengths[1])
        return "same" if longer <= MAX_LAG_SECONDS and abs(self.lag_seconds) <= MAX_LAG_SECONDS else "contained"


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
