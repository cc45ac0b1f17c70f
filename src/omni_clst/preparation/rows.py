"""Read the rows of a data set and convert them, before clips are decoded, to a spool file of one line per row."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from ..data.benchmark_rows import find_benchmark, find_oddities, load_benchmark, require_new_id, row_id
from ..data.benchmarks.benchmark import Benchmark
from ..data.benchmarks.registry import BENCHMARKS
from ..data.samples import AudioQASample, sample_from_row
from ..errors import InputError
from ..files import write_jsonl
from ..processes import say
from .columns import OWN, Columns, choose_columns
from .config import PrepareConfig
from .copies import EmbeddedClips
from .finder import ClipFinder
from .layouts import Candidate, convert, convert_benchmark
from .readers import ROWS_AT_ONCE, NoRows, RawRow, has_question, read_hub_rows, read_raw_rows
from .rules import Dropped
from .workers import make_pool

ROWS_TO_LEARN_FROM = 50  # of a table in JSON Lines: a row may lack keys that others have


class RowSpool:
    """Reads a source's rows once, stores embedded clips, and writes every row's candidate, or why it is dropped."""

    def __init__(self, config: PrepareConfig, work: Path, flac_folder: Path, num_workers: int):
        self.config, self.work, self.flac_folder, self.num_workers = config, work, flac_folder, num_workers
        self.benchmark = BENCHMARKS.get(config.source)
        self.is_benchmark = self.benchmark is not None
        self.path = work / "rows.jsonl"
        self.columns: Columns | None = None  # of the user's own table, once its first rows are read
        self._oddities: dict[str, list[str]] = defaultdict(list)
        self.skipped: list[str] = []  # data files without rows, and why
        self._finder = ClipFinder(self._clip_folders(), leave_out=Path(config.output))

    def fill(self) -> int:
        """Spool all rows, in their order; returns their number."""
        count = 0

        def spooled(embedded: EmbeddedClips) -> Iterator[dict]:
            nonlocal count
            for part in _batches(self._rows(), ROWS_AT_ONCE):
                hashes = [None if raw.audio is None else hashlib.sha256(raw.audio).hexdigest() for raw in part]
                embedded.store({key: raw.audio for key, raw in zip(hashes, part, strict=True) if key is not None})
                for raw, key in zip(part, hashes, strict=True):
                    count += 1
                    yield self._spool_row(raw, None if key is None else embedded.known[key])

        with make_pool(self.num_workers) as pool:
            write_jsonl(self.path, spooled(EmbeddedClips(self.work, self.flac_folder, pool)))
        if not count:
            raise NoRows(f"{self.config.input or self.config.hub}: holds no rows")
        return count

    def _clip_folders(self) -> list[Path]:
        """The folders that names of clips are relative to: --clips, then the input's folder."""
        folders = [Path(self.config.clips)] if self.config.clips else []
        if self.config.input is not None:
            source = Path(self.config.input)
            folders.append(source if source.is_dir() else source.parent)
        elif Path(self.config.hub).is_dir():
            folders.append(Path(self.config.hub))
        return folders

    def _rows(self) -> Iterator[RawRow]:
        config = self.config
        if self.benchmark is not None:
            return self._benchmark_rows(self.benchmark)
        return self._with_columns(self._raw_rows()) if config.source == OWN else self._raw_rows()

    def _raw_rows(self) -> Iterator[RawRow]:
        config = self.config
        if config.hub is not None:
            return read_hub_rows(config.hub, config.hub_config, config.hub_split)
        return read_raw_rows(config.input, self.skipped.append, Path(config.output), self._has_question)

    def _has_question(self, keys: Iterable[str]) -> bool:
        """True for the keys of a row with a question; a table of the user's own may have any."""
        return self.config.source == OWN or has_question(keys)

    def _with_columns(self, rows: Iterator[RawRow]) -> Iterator[RawRow]:
        """The rows of a table, after its columns are chosen by the first of them and shown."""
        first = list(islice(rows, ROWS_TO_LEARN_FROM))
        keys = dict.fromkeys(key for raw in first for key in raw.row)
        place = first[0].place if first else str(self.config.input or self.config.hub)
        self.columns = choose_columns(keys, self.config.columns, self.config.first_choice, place)
        say(f"columns: {self.columns.describe()}" + ("" if self.config.columns else " (guessed; --columns sets them)"))
        return chain(first, rows)

    def _benchmark_rows(self, benchmark: Benchmark) -> Iterator[RawRow]:
        """A benchmark's rows, from its metadata file, its folder as in data/README.md, or as they are downloaded."""
        path = None if self.config.input is None else Path(self.config.input)
        if path is not None and path.is_dir():
            place = find_benchmark(path, benchmark.name)
            path = None if place is None else place[0]
        if path is None or path.suffix not in (".json", ".jsonl"):
            return self._downloaded_rows(benchmark)
        loaded = load_benchmark(benchmark.name, path)
        for sample_id, oddity in loaded.oddities:
            self._oddities[sample_id].append(oddity)
        return (RawRow(f"{path}: {row['id']}", row) for row in loaded.original_rows)

    def _downloaded_rows(self, benchmark: Benchmark) -> Iterator[RawRow]:
        """Rows of a benchmark's parquet, CSV or tar files, one by one; an embedded clip without a name goes by the id."""
        seen: dict[str, str] = {}
        for raw in self._raw_rows():
            row = benchmark.to_row(raw.row)
            require_new_id(row, raw.place, seen)
            if raw.audio is not None and not row.get("audio_path"):
                row["audio_path"] = str(row["id"])
            sample = benchmark.to_sample(row)
            self._oddities[sample.id] += find_oddities(sample, row, benchmark)
            yield RawRow(raw.place, row, raw.audio)

    def _spool_row(self, raw: RawRow, embedded: dict | None) -> dict:
        place = raw.place.removeprefix(f"{self.config.audio_root}/")  # shorter, and the same after a move
        try:
            if self.benchmark is not None:
                candidate = convert_benchmark(self.benchmark, raw.row, self._oddities[row_id(raw.row, place)])
            else:
                candidate = convert(self.config.source, raw.row, self.columns and self.columns.draft)
            clip, original_format, problem = self._clip_of(candidate, embedded)
            if problem and not self.is_benchmark:
                raise Dropped(*problem)
            more = [self._finder.find(self._names(clip)) for clip in candidate.sample.more_clips]
        except Dropped as dropped:
            return {"place": place, "rule": dropped.rule, "value": dropped.value}
        except InputError as error:
            raise InputError(f"{raw.place}: {error}") from None
        notes = [*candidate.notes, *([problem] if problem else [])]
        notes += [("no clip", reason) for path, reason in more if path is None]
        sample = candidate.sample.to_row()
        if clip and not candidate.clip_names:  # embedded without a name: use its copy's, the hash of its content
            sample["audio_path"] = Path(clip).name
        spooled = {"place": place, "sample": sample, "notes": notes, "clip": clip, "was": original_format}
        return spooled | ({"row": raw.row, "more": [path for path, _ in more]} if self.is_benchmark else {})

    def _names(self, clip: str) -> tuple[str, ...]:
        return (clip,) if self.benchmark is None else self.benchmark.clip_names(clip)

    def _clip_of(
        self, candidate: Candidate, embedded: dict | None
    ) -> tuple[str | None, str | None, tuple[str, str] | None]:
        """The clip's file, the original format of an embedded one, and (rule, value) where there is no usable file."""
        if embedded is None:
            path, reason = self._finder.find(candidate.clip_names)
            return path, None, None if path else ("no clip", reason)
        if embedded["flac"] is None:
            return None, None, (embedded["rule"], embedded["reason"])
        return str(self.flac_folder / embedded["flac"]), embedded["was"], None


def spooled_sample(row: dict, is_benchmark: bool) -> AudioQASample:
    """The sample of a spooled row; a benchmark's is not validated."""
    fields = row["sample"]
    if not is_benchmark:
        return sample_from_row(fields)
    known = ("id", "audio_path", "question", "choices", "answer", "think", "source", "prompt", "more_clips")
    values = {name: fields[name] for name in known if name in fields}
    lists = {name: tuple(values[name]) for name in ("choices", "more_clips") if name in values}
    return AudioQASample(**values | lists, extra={name: value for name, value in fields.items() if name not in known})


def _batches(rows: Iterator[RawRow], size: int) -> Iterator[list[RawRow]]:
    part = []
    for raw in rows:
        part.append(raw)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
