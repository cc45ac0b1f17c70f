"""A folder of answers: rows appended by every process, resume by sample, and one file at the end."""

import json
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from ..data.samples import AudioQASample
from ..errors import InputError
from ..files import append_jsonl, read_json, read_jsonl, remove_incomplete_line, write_json, write_jsonl
from ..processes import process_rank, wait_for_all
from ..runs import FolderLock, changed_settings, empty_folder


class AnswerFolder:
    """The answers to one set of samples: `settings.json`, `parts/` with a file per process, and one file at the end."""

    def __init__(self, folder: Path, settings: dict, overwrite: bool):
        self.folder = folder
        self.parts = folder / "parts"
        self.settings = settings
        if process_rank() == 0:
            with ExitStack() as stack:
                stack.enter_context(FolderLock(folder, "answer into another folder"))
                self._open(overwrite)
                weakref.finalize(self, stack.pop_all().close)
        wait_for_all()
        self.done = frozenset(self.answered())  # read by all processes before one of them appends
        wait_for_all()

    def _open(self, overwrite: bool) -> None:
        if overwrite:
            empty_folder(self.folder, last="settings.json")
        self.parts.mkdir(exist_ok=True)
        for path in self.parts.glob("*.jsonl"):
            remove_incomplete_line(path)
        file = self.folder / "settings.json"
        if file.exists() and self.answered():
            changed = changed_settings(read_json(file), json.loads(json.dumps(self.settings)))
            if changed:
                other = ", --name gives these another folder" if "audio_root" in self.settings else ""  # of --samples
                raise InputError(
                    f"{self.folder}: has answers with other settings ({'; '.join(changed)}); "
                    f"--overwrite deletes them and starts anew{other}"
                )
        write_json(file, self.settings)

    def has_unanswered(self, ids: Iterable[str]) -> bool:
        """True if one of these ids was not answered when the folder was opened."""
        return bool(set(ids) - self.done)

    def answered(self) -> dict[str, dict]:
        """The rows of answered samples, by id."""
        return {row["id"]: row for row in self._rows() if "error" not in row}

    def failed(self) -> dict[str, str]:
        """By id, the errors of samples whose clips could not be decoded; the next start tries them again."""
        answered = self.answered()
        return {row["id"]: row["error"] for row in self._rows() if "error" in row and row["id"] not in answered}

    def _rows(self) -> Iterator[dict]:
        for path in sorted(self.parts.glob("*.jsonl")):
            for _, row in read_jsonl(path):
                yield row

    def append(self, rows: list[dict]) -> None:
        """Append rows to this process's part."""
        append_jsonl(self.parts / f"rank{process_rank()}.jsonl", rows)

    def join_parts(self, name: str, samples: list[AudioQASample], others: dict[str, dict] | None = None) -> Path:
        """Write all rows to one file in the samples' order, with `others` for samples without an answer."""
        rows = (others or {}) | self.answered()
        write_jsonl(self.folder / name, (rows[sample.id] for sample in samples))
        return self.folder / name
