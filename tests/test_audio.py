"""`load_audio`, `probe_audio`, `inspect_audio` on every kind of file that real data sets hold, and the token count."""

import struct
import subprocess
import sys
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
import soundfile

from omni_clst.data.audio import MIN_SAMPLES, audio_token_count, inspect_audio, load_audio, mel_frame_count, probe_audio
from omni_clst.data.audio_files import open_clip
from omni_clst.errors import InputError


def tone(seconds: float = 1.0, rate: int = 16000, channels: int = 1) -> np.ndarray:
    """A 440 Hz sine (frames, channels), each channel half as loud as the one before."""
    times = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * 440 * times)[:, None] * 0.5 ** np.arange(channels)


def write(path: Path, signal: np.ndarray, rate: int = 16000, **kwargs) -> Path:
    soundfile.write(path, signal, rate, **kwargs)
    return path


def real_clips(real_data: Path) -> list[Path]:
    return sorted((real_data / "mmau_mini_subset" / "test-mini-audios").iterdir())


# --- what it decodes


@pytest.mark.parametrize(
    ("rate", "channels", "kwargs"),
    [
        (16000, 1, {"subtype": "PCM_16"}),
        (16000, 2, {"subtype": "FLOAT"}),
        (44100, 1, {"subtype": "DOUBLE"}),
        (24000, 1, {"subtype": "PCM_24"}),
        (32000, 2, {"subtype": "PCM_32"}),
        (48000, 6, {"subtype": "PCM_16"}),
        (8000, 1, {"subtype": "PCM_U8"}),
        (192000, 1, {"subtype": "PCM_16"}),
        (44100, 2, {"format": "MP3"}),
        (22050, 1, {"format": "FLAC"}),
        (44100, 2, {"format": "OGG"}),
    ],
)
def test_every_format_rate_and_channel_count_becomes_mono_16_khz_float32(tmp_path, rate, channels, kwargs):
    path = write(tmp_path / "clip.wav", tone(1.0, rate, channels), rate, **kwargs)
    waveform = load_audio(path)
    assert waveform.dtype == np.float32
    assert waveform.shape == (16000,)
    expected = tone()[:, 0] * (0.5 ** np.arange(channels)).mean()
    inner = slice(800, -800)  # lossy codecs and the resampler ring at the ends
    np.testing.assert_allclose(waveform[inner], expected[inner], atol=0.03)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_samples_equal_librosa_at_any_rate(tmp_path, rate, channels):
    noise = np.random.default_rng(rate + channels).uniform(-0.5, 0.5, (rate // 3 + 7, channels))
    path = write(tmp_path / "clip.wav", noise, rate, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(path), librosa.load(path, sr=16000, mono=True)[0])


@pytest.mark.parametrize("encoding", ["MP3", "FLAC", "OGG", "AIFF", "CAF"])
def test_reading_block_by_block_equals_reading_at_once(tmp_path, encoding):
    # an MP3 decoder that seeks between two reads loses what it carries from frame to frame
    path = write(tmp_path / "clip.wav", tone(2.0, 44100, 2), 44100, format=encoding)
    np.testing.assert_array_equal(load_audio(path), librosa.load(path, sr=16000, mono=True)[0])


def test_samples_equal_librosa_on_real_clips(real_data):
    clips = real_clips(real_data)
    assert len(clips) == 38
    for clip in clips:
        np.testing.assert_array_equal(load_audio(clip), librosa.load(clip, sr=16000, mono=True)[0], err_msg=clip.name)


def write_aac(path: Path, signal: np.ndarray, rate: int) -> Path:
    if "aac" not in av.codecs_available:
        pytest.skip("this PyAV has no AAC encoder")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono", bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(signal.T.astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def test_files_that_libsndfile_cannot_read_are_decoded_by_ffmpeg(tmp_path):
    path = write_aac(tmp_path / "clip.m4a", tone(1.0, 48000), 48000)
    info, waveform = probe_audio(path), load_audio(path)
    assert (info.format, info.channels, info.sampling_rate, info.estimated) == ("aac", 1, 48000, True)
    assert len(waveform) == pytest.approx(16000, abs=800)
    assert info.samples() == pytest.approx(len(waveform), abs=800)
    assert np.abs(waveform[4000:12000]).max() == pytest.approx(0.5, abs=0.05)
    assert load_audio(path, max_audio_seconds=0.5).shape == (8000,)


def test_wav_whose_writer_never_filled_in_the_size_is_decoded(tmp_path):
    path = write(tmp_path / "clip.wav", tone(), subtype="PCM_16")
    patch_data_size(path, 0)
    assert load_audio(path).shape == (16000,)


# --- crop


def test_long_clip_keeps_its_beginning_cropped_before_resampling(tmp_path):
    path = write(tmp_path / "clip.wav", tone(3.0, 44100), 44100, subtype="FLOAT")
    cropped = load_audio(path, max_audio_seconds=1.5)
    assert cropped.shape == (24000,)
    np.testing.assert_array_equal(cropped, librosa.load(path, sr=16000, duration=1.5)[0])
    assert probe_audio(path).samples(max_audio_seconds=1.5) == 24000


def test_clip_shorter_than_the_limit_is_left_alone(tmp_path):
    path = write(tmp_path / "clip.wav", tone(1.0))
    np.testing.assert_array_equal(load_audio(path, max_audio_seconds=30.0), load_audio(path))


def test_cropping_reads_no_more_than_it_needs(tmp_path):
    signal = tone(3.0)
    signal[40000:] = np.nan
    path = write(tmp_path / "clip.wav", signal, subtype="FLOAT")
    assert load_audio(path, max_audio_seconds=2.0).shape == (32000,)


# --- what it refuses, each in one line with the path


def refused(call, path) -> str:
    with pytest.raises(InputError) as error:
        call(path)
    prefix = f"{path}: "
    assert str(error.value).startswith(prefix)
    return str(error.value).removeprefix(prefix)


@pytest.mark.parametrize("call", [load_audio, probe_audio, inspect_audio])
def test_unreadable_files_are_refused_with_the_reason(tmp_path, call):
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is no sound\n" * 100)
    (tmp_path / "text.flac").write_text("this is no sound\n" * 100)
    (tmp_path / "text.raw").write_text("this is no sound\n" * 100)
    assert refused(call, tmp_path / "missing.wav") == "No such file or directory"
    assert refused(call, tmp_path / "folder.wav") == "Is a directory"
    assert refused(call, tmp_path / "empty.wav") == "is empty (0 bytes)"
    assert refused(call, tmp_path / "text.wav") == ("not decodable as audio (Invalid data found when processing input)")
    assert refused(call, tmp_path / "text.flac") == "not decodable as audio (no decoder for its audio stream)"
    assert refused(call, tmp_path / "text.raw") == "not decodable as audio (no audio stream)"


@pytest.mark.parametrize("call", [load_audio, inspect_audio])
def test_unusable_content_is_refused_with_the_reason(tmp_path, call):
    header = write(tmp_path / "header.wav", np.zeros((0, 1)))
    assert refused(call, header) == "holds no audio samples"
    signal = tone(channels=2)
    signal[100, 0], signal[101:103, 1] = np.nan, np.inf
    not_finite = write(tmp_path / "nan.wav", signal, subtype="FLOAT")
    assert refused(call, not_finite) == "3 sample values are not finite (NaN or infinity)"
    short = write(tmp_path / "short.wav", np.zeros(320))
    assert refused(call, short) == "320 samples at 16 kHz are too short, one audio token takes 321"


def test_header_alone_shows_that_a_file_is_empty(tmp_path):
    assert probe_audio(write(tmp_path / "header.wav", np.zeros((0, 1)))).frames == 0


def test_shortest_clip_is_one_token(tmp_path):
    path = write(tmp_path / "clip.wav", np.zeros(MIN_SAMPLES))
    assert load_audio(path).shape == (MIN_SAMPLES,)
    assert probe_audio(path).audio_tokens() == 1


# --- what it flags


def cut_file(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def patch_data_size(path: Path, size: int) -> None:
    data = bytearray(path.read_bytes())
    position = data.find(b"data") + 4
    data[position : position + 4] = struct.pack("<I", size)
    path.write_bytes(data)


@pytest.mark.parametrize("kwargs", [{"subtype": "PCM_16"}, {"subtype": "FLOAT"}, {"format": "AIFF"}])
def test_truncation_shows_in_the_header(tmp_path, kwargs):
    path = cut_file(write(tmp_path / "clip.wav", tone(4.0), **kwargs), 0.5)
    info = probe_audio(path)
    assert info.promised_frames / 16000 == pytest.approx(4.0, abs=0.01)
    assert info.seconds == pytest.approx(2.0, abs=0.01)
    assert load_audio(path).shape == (info.frames,)
    assert inspect_audio(path).problems == ("truncated: the header promises 4.00 s, 2.00 s are there",)


@pytest.mark.parametrize("kwargs", [{"format": "FLAC"}, {"format": "MP3"}])
def test_truncation_of_a_compressed_stream_shows_when_decoded(tmp_path, kwargs):
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (160000, 1))
    path = cut_file(write(tmp_path / "clip.wav", noise, **kwargs), 0.5)
    assert probe_audio(path).promised_frames == pytest.approx(160000, abs=3200)
    inspection = inspect_audio(path)
    (problem,) = inspection.problems
    assert problem.startswith("truncated: the header promises 10.00 s, ")
    assert inspection.info.seconds == pytest.approx(5.0, abs=0.3)
    assert load_audio(path).shape == (inspection.info.frames,)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_placeholder_size_of_a_streaming_writer_is_no_truncation(tmp_path, size):
    path = write(tmp_path / "clip.wav", tone(), subtype="PCM_16")
    patch_data_size(path, size)
    assert probe_audio(path).promised_frames == 16000
    assert inspect_audio(path).problems == ()


def test_silence_loads_and_is_flagged(tmp_path):
    path = write(tmp_path / "clip.wav", np.zeros(16000))
    assert not load_audio(path).any()
    assert inspect_audio(path).problems == ("silent",)


def test_channels_that_cancel_are_silent_to_the_model(tmp_path):
    path = write(tmp_path / "clip.wav", tone() * np.array([1, -1]), subtype="PCM_16")
    assert inspect_audio(path).problems == ("silent",)


def test_sound_clip_has_no_problems(tmp_path):
    inspection = inspect_audio(write(tmp_path / "clip.wav", tone(), subtype="PCM_16"))
    assert inspection.problems == ()
    assert inspection.peak == pytest.approx(0.5, abs=1e-3)


def test_real_clips_have_no_problems(real_data):
    assert {clip.name: inspect_audio(clip).problems for clip in real_clips(real_data)} == {
        clip.name: () for clip in real_clips(real_data)
    }


# --- lengths and tokens


def test_header_states_the_exact_length_of_real_clips(real_data):
    for clip in real_clips(real_data):
        info, samples = probe_audio(clip), len(load_audio(clip))
        if info.estimated:
            assert info.format.startswith("MP3")
            assert abs(info.samples() - samples) < 0.1 * 16000
        else:
            assert info.samples() == samples


@pytest.mark.parametrize(
    ("samples", "mel_frames", "tokens"),
    [
        (1, 1, 0),
        (160, 1, 0),
        (161, 2, 0),
        (321, 3, 1),
        (960, 6, 1),
        (961, 7, 2),
        (16000, 100, 25),
        (160000, 1000, 250),
        (480000, 3000, 750),
    ],
)
def test_token_count(samples, mel_frames, tokens):
    assert mel_frame_count(samples) == mel_frames
    assert audio_token_count(mel_frames) == tokens


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("max_audio_seconds", [None, 0.7, 30.0])
def test_header_gives_the_token_count_of_the_loaded_clip(tmp_path, rate, max_audio_seconds):
    path = write(tmp_path / "clip.wav", tone(1.1233, rate), rate)
    loaded = load_audio(path, max_audio_seconds)
    assert probe_audio(path).samples(max_audio_seconds) == len(loaded)
    assert probe_audio(path).audio_tokens(max_audio_seconds) == audio_token_count(mel_frame_count(len(loaded)))


def test_import_stays_light():
    heavy = "{'torch', 'librosa', 'transformers', 'av', 'scipy'} & set(sys.modules)"
    code = f"import sys, omni_clst.data.audio; print({heavy} or 'light')"
    source = Path(__file__).resolve().parents[1] / "src"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"


def test_clip_that_did_not_change_is_opened_once_in_a_process(tmp_path, monkeypatch):
    opened = []

    def counted(path):
        opened.append(path)
        return open_clip(path)

    monkeypatch.setattr("omni_clst.data.audio.open_clip", counted)
    path = write(tmp_path / "clip.wav", tone(1.0))
    assert [probe_audio(path).frames for _ in range(3)] == [16000] * 3
    assert len(opened) == 1
    write(path, tone(2.0))
    assert probe_audio(path).frames == 32000
    assert len(opened) == 2
