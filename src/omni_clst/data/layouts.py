"""Read samples from files in our own or a foreign layout; the only module that knows foreign layouts.

A layout is a pair in `LAYOUTS`: the keys that identify it, and a converter. To add a layout, add a pair.
"""

import ast
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from .benchmarks.registry import BENCHMARKS
from .matching import LETTER_MARK, split_letter
from .response import parse_response
from .samples import AudioQASample, check_trainable, read_rows, sample_from_row

MAX_PROBLEMS_SHOWN = 5
_QUOTED = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
_LIST_LITERAL = re.compile(rf"\[\s*{_QUOTED}(?:\s*,\s*{_QUOTED})*\s*,?\s*\]")
# The beginning of a lettered item: white space follows the mark, except after CJK marks.
_LETTERED_ITEM = LETTER_MARK + r"(?:\s+|(?<=[、。．：）］】]))"


def read_samples(path: Path | str, audio_root: Path | str | None = None) -> list[AudioQASample]:
    """Read training samples in the file's order; all problems are reported together, by file, line and value.

    Takes our own format and every foreign layout. Relative audio paths count from `audio_root`, or from
    the file's folder. Raises `InputError` for a row that cannot be trained on: no question, no or repeated choices, an
    answer that is no choice, a tag inside thought or answer, a repeated id.
    """
    root = os.path.abspath(audio_root or Path(path).parent)
    samples: list[AudioQASample] = []
    places: dict[str, str] = {}
    problems: list[str] = []
    for place, row in read_rows(path):
        try:
            sample = convert_row(row)
            check_trainable(sample)
            if sample.id in places:
                raise InputError(f"id {sample.id!r} is used already at {places[sample.id]}")
        except InputError as error:
            problems.append(f"{place}: {error}")
            continue
        places[sample.id] = place
        clip = os.path.normpath(os.path.join(root, sample.audio_path))
        samples.append(replace(sample, audio_path=clip, place=place))
    if problems:
        shown = "\n  ".join(problems[:MAX_PROBLEMS_SHOWN])
        more = f"\n  ... and {len(problems) - MAX_PROBLEMS_SHOWN} more" if len(problems) > MAX_PROBLEMS_SHOWN else ""
        raise InputError(shown + more if len(problems) == 1 else f"{len(problems)} bad rows:\n  {shown}{more}")
    if not samples:
        raise InputError(f"{path}: holds no samples")
    return samples


def convert_row(row: dict) -> AudioQASample:
    """Convert a row of any known layout to a sample; raises `InputError` with the value, or the keys of an unknown layout.

    `audio_path` stays as the row has it.
    """
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("holds a text that is not Unicode (half of a surrogate pair)") from None
    for keys, convert in LAYOUTS:
        if keys <= row.keys():
            return convert(row)
    raise InputError(f"unknown layout with the keys {sorted(row)}")


def strip_letter(text: str, choices: tuple[str, ...]) -> str:
    """`B. dog` -> `dog` where dog is choice B and `B. dog` is no choice itself; anything else stays."""
    lettered = split_letter(text)
    if lettered is None or text in choices:
        return text
    place, bare = lettered
    return choices[place] if place < len(choices) and choices[place].strip() == bare else text


def _from_published_clst(row: dict) -> AudioQASample:
    """`CLST_15k.jsonl` as published: question_text, multi_choice, answer, think."""
    renamed = {"question_text": "question", "multi_choice": "choices"}
    fields = {renamed.get(key, key): value for key, value in row.items()}
    return sample_from_row({"source": "published_clst"} | fields)


def _from_published_sft(row: dict) -> AudioQASample:
    """The published SFT files (ms-swift): the user's text verbatim as prompt, thought and answer from the tags.

    A system turn is dropped: the settings give it.
    """
    turns = row["messages"] if isinstance(row["messages"], list) else []
    match [turn for turn in turns if not (isinstance(turn, dict) and turn.get("role") == "system")]:
        case [{"role": "user", "content": str(user)}, {"role": "assistant", "content": str(assistant)}]:
            prompt = user.replace("<audio>", "")
        case _:
            raise InputError(f"messages {row['messages']!r} are not one user's and one assistant's text")
    audios = row["audios"]
    if not isinstance(audios, list) or len(audios) != 1 or not isinstance(audios[0], str) or user.count("<audio>") > 1:
        raise InputError(f"audios {audios!r} with {user.count('<audio>')} <audio> in the text: one clip is expected")
    response = parse_response(assistant)
    if response.answer is None:
        raise InputError(f"assistant text {assistant[:80]!r} has no <answer>")
    choices = choices_in_text(prompt)
    fields = {
        "audio_path": audios[0],
        "question": prompt.strip(),
        "choices": list(choices),
        "answer": strip_letter(response.answer, choices),
        "think": response.think,
        "prompt": prompt,
    }
    others = {key: value for key, value in row.items() if key not in ("messages", "audios")}
    return sample_from_row({"source": "published_sft"} | others | fields)


def choices_in_text(text: str) -> tuple[str, ...]:
    """The choices in a text, as a list literal or as lettered items from A on; () where there are none.

    Of several lists or runs of letters the last counts: the choices come after the question.
    """
    for match in reversed(list(_LIST_LITERAL.finditer(text))):
        try:
            choices = ast.literal_eval(match[0])
        except (ValueError, SyntaxError):  # an invalid escape
            continue
        if len(choices) > 1:
            return tuple(choice.strip() for choice in choices)  # stripped, as the answer between its tags is
    for before in (r"^[ \t]*", r"(?<!\S)"):  # at the start of lines; else anywhere, as in "A. cat B. cow"
        matches = re.finditer(before + _LETTERED_ITEM, text, re.MULTILINE)
        markers = [m for m in matches if m["letter"].isupper() and m.end("letter") == m.start("after")]
        styles = sorted({(m["before"], m["after"]) for m in markers}, reverse=True)  # those in brackets first
        for style in styles:
            choices = _lettered_items(text, [m for m in markers if (m["before"], m["after"]) == style])
            if choices:
                return choices
    return ()


def _lettered_items(text: str, markers: list[re.Match]) -> tuple[str, ...]:
    """The items of the last run A, B, ... of letters; an item ends where the next one begins, or with its line."""
    last_run: list[re.Match] = []
    for index, marker in enumerate(markers):
        run = [marker] if marker["letter"] == "A" else []
        for following in markers[index + 1 :] if run else ():
            if following["letter"] == chr(ord("A") + len(run)):
                run.append(following)
        if len(run) > 1:
            last_run = run
    ends = [marker.start() for marker in last_run[1:]] + [len(text)]
    return tuple(text[marker.end() : end].split("\n")[0].strip() for marker, end in zip(last_run, ends, strict=False))


LAYOUTS: list[tuple[frozenset[str] | set[str], Callable[[dict], AudioQASample]]] = [
    ({"audio_path", "question", "choices", "think"}, sample_from_row),  # as write_samples writes it, and further keys
    ({"messages", "audios"}, _from_published_sft),
    ({"question_text", "multi_choice", "audio_path"}, _from_published_clst),
    *((benchmark.row_keys, benchmark.to_sample) for benchmark in BENCHMARKS.values() if benchmark.row_keys),
    ({"audio_path", "question", "choices"}, sample_from_row),
]
