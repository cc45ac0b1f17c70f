"""Odd audio files: the number of samples at 16 kHz of each, or the one-line error."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import odd_files as odd
import pytest
from odd_files import RATE, Maker, changed, cut, ffmpeg, libsndfile, several, written

from omni_clst.data.audio import ClipError, inspect_audio, load_audio, probe_audio

SOUND = round(odd.SECONDS * RATE)
UNKNOWN = "not decodable as audio (Invalid data found when processing input)"
NO_DECODER = "not decodable as audio (no decoder for its audio stream)"
OGG = {"format": "OGG", "subtype": "VORBIS"}
OPUS = {"format": "OGG", "subtype": "OPUS", "rate": 48_000}
WITH_NAN = np.where(np.arange(SOUND) == 20_000, np.nan, odd.sound())


class Good(NamedTuple):
    """`samples` may be off by `slack`, as codecs pad; `problem` begins what is found odd about the length."""

    name: str
    maker: Maker
    samples: int = SOUND
    slack: int = 0
    problem: str = ""


class Bad(NamedTuple):
    """`line` refuses the file; its header alone may look good (`when_read`)."""

    name: str
    maker: Maker
    line: str
    when_read: bool = False


FRAME = 2_048  # samples that a lossy codec may add or take at either end
GOOD = [
    # containers, by whatever name
    Good("a.wav", libsndfile(format="WAV")),
    Good("capitals.WAV", libsndfile(format="WAV")),
    Good("a.wave", libsndfile(format="WAV", subtype="PCM_24")),
    Good("no suffix", libsndfile(format="WAV", subtype="DOUBLE")),
    Good("wrong suffix.mp3", libsndfile(format="FLAC")),
    Good("is a wav.raw", libsndfile(format="WAV")),
    Good("a-law.wav", libsndfile(format="WAV", subtype="ALAW")),
    Good("adpcm.wav", libsndfile(format="WAV", subtype="MS_ADPCM"), slack=FRAME),
    Good("gsm.wav", libsndfile(format="WAV", subtype="GSM610"), slack=FRAME),
    Good("255 channels.wav", libsndfile(format="WAV", channels=255, seconds=2.0)),
    Good("a.rf64", libsndfile(format="RF64")),
    Good("a.w64", libsndfile(format="W64")),
    Good("a.flac", libsndfile(format="FLAC")),
    Good("a.aiff", libsndfile(format="AIFF")),
    Good("a.aifc", libsndfile(format="AIFF", subtype="ULAW")),
    Good("a.caf", libsndfile(format="CAF")),
    Good("alac.caf", libsndfile(format="CAF", subtype="ALAC_16")),
    Good("a.au", libsndfile(format="AU")),
    Good("a.voc", libsndfile(format="VOC")),
    Good("a.sph", libsndfile(format="NIST")),
    Good("a.mp3", libsndfile(format="MP3", rate=44_100), slack=FRAME),
    Good("a.ogg", libsndfile(**OGG)),
    Good("a.oga", libsndfile(**OGG)),
    Good("a.opus", libsndfile(**OPUS)),
    Good("a.m4a", ffmpeg("mp4", "aac"), slack=FRAME),
    Good("a.m4b", ffmpeg("mp4", "alac"), slack=FRAME),
    Good("a.mov", ffmpeg("mov", "aac", picture=True), slack=FRAME),
    Good("a.mp4", ffmpeg("mp4", "aac", picture=True), slack=FRAME),
    Good("a.3gp", ffmpeg("3gp", "aac"), slack=FRAME),
    Good("a.mka", ffmpeg("matroska", "flac"), slack=FRAME),
    Good("a.mkv", ffmpeg("matroska", "aac", picture=True), slack=FRAME),
    Good("a.webm", ffmpeg("webm", "libopus"), slack=FRAME),
    Good("a.wma", ffmpeg("asf", "wmav2"), slack=3 * FRAME),
    Good("a.avi", ffmpeg("avi", "pcm_s16le", picture=True), slack=FRAME),
    Good("a.flv", ffmpeg("flv", "aac", rate=44_100), slack=FRAME),
    Good("a.ts", ffmpeg("mpegts", "aac"), slack=FRAME),
    Good("a.aac", ffmpeg("adts", "aac"), slack=FRAME),
    Good("a.ac3", ffmpeg("ac3", "ac3"), slack=FRAME),
    Good("a.mp2", ffmpeg("mp2", "mp2"), slack=FRAME),
    Good("a.wv", ffmpeg("wv", "wavpack"), slack=FRAME),
    Good("a.tta", ffmpeg("tta", "tta"), slack=FRAME),
    # names that trouble a reader
    Good("ünï 音.m4a", ffmpeg("mp4", "aac"), slack=FRAME),
    Good("not utf-8 \udcff.m4a", ffmpeg("mp4", "aac"), slack=FRAME),
    Good("tags in Latin-1.m4a", changed(ffmpeg("mp4", "aac"), (b"Cafe", 0, b"Caf\xe9")), slack=FRAME),
    Good("a link.wav", odd.link_to_sound),
    # headers that lie, or say nothing
    Good("no size.wav", odd.wav(data_size=0), slack=64),
    Good("streamed.wav", odd.wav(data_size=0xFFFFFFFF)),
    Good("streamed too.wav", odd.wav(data_size=0x7FFFF000)),
    Good("cut.wav", cut(odd.wav(), 0.5), SOUND // 2, 64, "truncated: the header promises 2.00 s"),
    Good("cut.aiff", cut(libsndfile(format="AIFF"), 0.5), SOUND // 2, 64, "truncated: the header promises 2.00 s"),
    Good("absurd.rf64", changed(libsndfile(format="RF64"), (b"ds64", 16, b"\xff" * 7 + b"\x3f"))),
    Good("absurd.w64", changed(libsndfile(format="W64"), (b"data\xf3\xac", 16, b"\xff" * 7 + b"\x3f"))),
    Good("absurd.au", changed(libsndfile(format="AU"), (b".snd", 8, b"\x7f\xff\xff\xff"))),
    Good("endless.caf", changed(libsndfile(format="CAF"), (b"data", 4, b"\xff" * 8))),
    Good("absurd.caf", changed(libsndfile(format="CAF"), (b"data", 4, b"\x3f" + b"\xff" * 7))),
    Good("absurd.aiff", changed(libsndfile(format="AIFF"), (b"COMM", 10, b"\x7f\xff\xff\xff"))),
    Good("no total.flac", odd.bytes_of(odd.flac_of_unknown_length())),
    Good("cut.flac", cut(libsndfile(format="FLAC"), 0.5), SOUND // 2, SOUND // 8, "truncated: the header promises 2.00 s"),
    Good("hole.flac", odd.bytes_of(odd.flac_with_a_hole()), SOUND // 2, SOUND // 4, "truncated: the header promises 2.00"),
    Good("index.mp3", odd.bytes_of(odd.mp3()), 3 * RATE),
    Good("no index.mp3", odd.bytes_of(odd.mp3(index=False)), 3 * RATE, FRAME),
    Good("tag before.mp3", odd.bytes_of(odd.mp3(tag=odd.id3(100_000))), 3 * RATE),
    Good("tag behind.mp3", several(odd.mp3(), b"TAG" + bytes(125)), 3 * RATE),
    Good("quiet, loud.mp3", odd.uneven_mp3(1e-4, 0.3), 10 * RATE, FRAME),
    Good("loud, quiet.mp3", odd.uneven_mp3(0.3, 1e-4), 10 * RATE, FRAME),
    Good("joined.mp3", several(odd.mp3(index=False), odd.mp3(2, index=False)), 6 * RATE, FRAME),
    Good("joined, tags.mp3", several(odd.mp3(tag=odd.id3(500)), odd.mp3(2, tag=odd.id3(500))), 6 * RATE, 2 * FRAME,
         "longer than its header states: 3.00 s"),
    Good("cut.mp3", cut(odd.bytes_of(odd.mp3()), 0.5), 3 * RATE // 2, RATE // 4, "truncated: the header promises 3.00 s"),
    Good("joined.ogg", several(written(1, **OGG), written(2, **OGG)), 2 * SOUND),
    Good("joined.opus", several(written(1, **OPUS), written(2, **OPUS)), 2 * SOUND),
    Good("two rates.ogg", several(written(1, **OGG), written(2, rate=44_100, **OGG)), 2 * SOUND, 1),
    Good("two codecs.ogg", several(written(1, **OPUS), written(2, channels=2, **OGG)), 2 * SOUND, 1),
    Good("three links, cut.ogg", cut(several(*[written(n, **OGG) for n in range(3)]), 0.9), 5 * SOUND // 2, SOUND // 2),
    Good("in pieces.m4a", ffmpeg("mp4", "aac", movflags="frag_keyframe+empty_moov"), slack=FRAME),
    Good("live.mkv", ffmpeg("matroska", "flac", live="1"), slack=FRAME),
    Good("a quarter.m4a", odd.index_first(0.25), SOUND // 4, SOUND // 8, "truncated: the header promises 2.0"),
    # of several tracks the first that decodes
    Good("first of two.mov", ffmpeg("mov", "aac", "aac"), slack=FRAME),
    Good("first unknown.mov", odd.track_without_decoder(ffmpeg("mov", "aac", "aac"), 0), slack=FRAME),
    Good("second unknown.mov", odd.track_without_decoder(ffmpeg("mov", "aac", "aac"), 1), slack=FRAME),
]  # fmt: skip
BAD = [
    # no sound at all
    Bad("gone.wav", odd.nothing, "No such file or directory"),
    Bad("broken link.wav", odd.link_to_nothing, "No such file or directory"),
    Bad("folder.wav", odd.folder, "Is a directory"),
    Bad("pipe.wav", odd.pipe, "is no regular file"),
    Bad("empty.wav", odd.bytes_of(b""), "is empty (0 bytes)"),
    Bad("zeros.wav", odd.bytes_of(bytes(1_000)), UNKNOWN),
    Bad("page.wav", odd.bytes_of("<!doctype html><title>404</title>" * 20), UNKNOWN),
    Bad("text.vox", odd.bytes_of("no sound\n" * 99), UNKNOWN),
    Bad("text.au", odd.bytes_of("no sound\n" * 99), UNKNOWN),
    Bad("pointer.flac", odd.bytes_of("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "not decodable as audio (a Git LFS pointer, not the file itself: `git lfs pull` fetches it)"),
    Bad("picture.mp4", ffmpeg("mp4", picture=True), "not decodable as audio (no audio stream)"),
    # a codec that nobody knows
    Bad("foreign.wav", odd.wav(tag=0xFFFE, guid=b"\x99" * 16), NO_DECODER),
    Bad("unknown track.mov", odd.track_without_decoder(ffmpeg("mov", "aac"), 0), NO_DECODER),
    # headers without sense
    Bad("no rate.wav", odd.wav(rate=0), UNKNOWN),
    Bad("1 Hz.wav", odd.wav(rate=1), "sampling rate 1 Hz is not between 1000 and 1000000 Hz"),
    Bad("2 GHz.wav", odd.wav(rate=2**31 - 1), "sampling rate 2147483647 Hz is not between 1000 and 1000000 Hz"),
    Bad("no channels.wav", odd.wav(channels=0), NO_DECODER),
    Bad("rate is NaN.caf", changed(libsndfile(format="CAF"), (b"desc", 12, b"\x7f\xf8" + bytes(6))), NO_DECODER),
    Bad("negative size.rf64", changed(libsndfile(format="RF64"), (b"ds64", 16, b"\xff" * 8)), UNKNOWN),
    Bad("index cut off.m4a", cut(ffmpeg("mp4", "aac"), 0.5), UNKNOWN),
    # sound that cannot be used
    Bad("nan.wav", odd.samples(WITH_NAN), "1 sample values are not finite (NaN or infinity)", when_read=True),
    Bad("no samples.wav", odd.samples(np.zeros(0)), "holds no audio samples", when_read=True),
    Bad("20 ms.wav", odd.samples(np.zeros(320)), "320 samples at 16 kHz are too short, one audio token takes 321",
        when_read=True),
    Bad("index alone.m4a", odd.index_first(0.0),
        "not decodable as audio (its header promises 2.02 s, none of it decodes)", when_read=True),
]  # fmt: skip


def made(tmp_path: Path, row: Good | Bad) -> Path:
    path = tmp_path / row.name
    row.maker(path)
    return path


@pytest.mark.parametrize("row", GOOD, ids=[ascii(row.name) for row in GOOD])
def test_odd_file_is_decoded_to_its_end(tmp_path, row):
    path = made(tmp_path, row)
    loaded, inspection, info = len(load_audio(path)), inspect_audio(path), probe_audio(path)
    assert abs(loaded - row.samples) <= row.slack
    assert inspection.info.samples() == loaded
    length_problems = [problem for problem in inspection.problems if problem != "silent"]
    assert len(length_problems) == bool(row.problem)
    assert all(problem.startswith(row.problem) for problem in length_problems)
    if not row.problem or row.problem.startswith("longer"):  # else the header states more frames than there are
        assert abs(info.samples() - loaded) <= (1_600 if info.estimated else 0)
    else:
        assert info.promised_frames > inspection.info.frames


@pytest.mark.parametrize("row", BAD, ids=[row.name for row in BAD])
def test_odd_file_is_refused_in_one_line(tmp_path, row):
    path = made(tmp_path, row)
    for read in (load_audio, inspect_audio, *([] if row.when_read else [probe_audio])):
        with pytest.raises(ClipError) as caught:
            read(path)
        assert str(caught.value) == f"{path}: {row.line}"
    if row.when_read:
        probe_audio(path)


def test_path_with_a_zero_character_is_refused_in_one_line():
    for read in (load_audio, inspect_audio, probe_audio):
        with pytest.raises(ClipError, match="embedded null byte"):
            read("a\0b.wav")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's list of open files")
def test_no_file_stays_open(tmp_path):
    paths = [made(tmp_path, row) for row in BAD if row.name.endswith((".wav", ".m4a")) and row.name != "pipe.wav"]
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for path in paths:
        with pytest.raises(ClipError):
            load_audio(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
