"""Ask single questions about clips: from the command line, or line by line with the model kept loaded."""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data.matching import strict_choice
from ..data.response import answer_of, parse_response
from ..data.samples import AudioQASample
from ..errors import InputError
from ..model.engine import Completion
from .audio_source import AudioSource
from .run import AnsweringRun

SEPARATOR = "|"
LINE_FORMAT = f"CLIP {SEPARATOR} QUESTION {SEPARATOR} CHOICE {SEPARATOR} ..., or a question alone about the same clip"


@dataclass(frozen=True)
class Asked:
    """A question as asked, its completion, and the seconds that the completion took."""

    sample: AudioQASample
    completion: Completion
    prompt_tokens: int
    seconds: float

    def describe(self, asks_for_tags: bool) -> str:
        """Thought, answer, seconds and tokens, a line each."""
        text, choices = self.completion.text, self.sample.choices
        thought, answer = parse_response(text).think, answer_of(text, asks_for_tags)
        remark = ""
        if not self.completion.finished:
            remark = "  (cut off: raise --max_new_tokens)"
        elif choices and strict_choice(answer, choices) is None:
            remark = "  (none of the choices)"
        shown = "none in <answer> tags: " + repr(text) if answer is None else answer or "(empty)"
        lines = [f"thought  {thought or ('(empty)' if thought == '' else '(none)')}"] if asks_for_tags else []
        tokens = f"{self.prompt_tokens} tokens of prompt, {self.completion.tokens} of completion"
        return "\n".join([*lines, f"answer   {shown}{remark}", f"time     {self.seconds:.1f} s, {tokens}"])


def make_question(clip: str, question: str, choices: Iterable[str], asks_for_choices: bool) -> AudioQASample:
    """The sample of a question; without choices, a prompt that asks for one of them is replaced by the bare question.

    Raises `InputError` for a missing clip or question, and for a single choice.
    """
    choices = tuple(choice.strip() for choice in choices)
    path = Path(clip).expanduser()  # in a line of questions no shell has done so
    if not path.is_file():
        raise InputError(f"{clip}: no such clip")
    if not question.strip():
        raise InputError("no question given")
    if len(choices) == 1:
        raise InputError(f"{choices[0]!r} is one choice: give two or more, or none")
    bare = question.strip() if not choices and asks_for_choices else None
    return AudioQASample("question", str(path.absolute()), question.strip(), choices, None, prompt=bare)


def ask(run: AnsweringRun, sample: AudioQASample) -> Asked:
    """The model's completion for one question."""
    source = AudioSource.plan(run.config.audio, [sample])
    engine = run.engine  # loaded before the clock starts
    start = time.perf_counter()
    example = source.encode(run.encoder, sample)
    completion = engine.generate([example], [run.config.seed])[0][0]
    return Asked(sample, run.with_opening(completion), len(example.input_ids), time.perf_counter() - start)


def questions_in(
    lines: Iterable[str], asks_for_choices: bool, clip: str | None = None
) -> Iterator[AudioQASample | InputError]:
    """The questions of lines in `LINE_FORMAT`; a line that is none becomes its error, which the next line survives."""
    for line in lines:
        parts = [part.strip() for part in line.split(SEPARATOR)]
        if parts == [""]:
            continue
        has_clip = len(parts) > 1 and (Path(parts[0]).is_file() or re.fullmatch(r"\S*\.\w{2,4}", parts[0]) is not None)
        named, question, choices = (parts[0], parts[1], parts[2:]) if has_clip else (clip, parts[0], parts[1:])
        try:
            if named is None:
                raise InputError(f"{question}: no clip; a line is {LINE_FORMAT}")
            yield make_question(named, question, choices, asks_for_choices)
            clip = named
        except InputError as error:
            yield error
