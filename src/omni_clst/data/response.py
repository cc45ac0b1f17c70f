"""Parse a completion into thought and answer; the one parser, used by training, rewards and scoring.

The expected form is `<think>...</think><answer>...</answer>`, an empty thought is `<think>\n\n</think>`, the answer is the
text of one choice (arXiv 2509.12275, section 3). How deviations are parsed is described at `parse_response` and listed
case by case in `tests/test_response.py`.
"""

import re
from dataclasses import dataclass

ANSWER_TAGS = frozenset({"<think>", "</think>", "<answer>", "</answer>"})
# The beginning of a response without a thought. It ends before the last character of the answer tag, which a byte-pair
# tokenizer may join with the answer (">Dog"): up to here the tokens are the same for every answer.
EMPTY_THOUGHT_OPENING = "<think>\n\n</think><answer"
FULL_THOUGHT_OPENING = "<think"  # of a response whose thought is not empty; a tokenizer may join the ">" with what follows

_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL | re.IGNORECASE)
_OPEN_THINK = re.compile(r"<think>(.*)", re.DOTALL | re.IGNORECASE)
_ANSWER = re.compile(r"<answer>(.*?)(?=</?(?:think|answer)>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_ANSWER_ALONE = re.compile(r"\s*<answer>(.*?)</answer>\s*", re.DOTALL)
_WELL_FORMED = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)


@dataclass(frozen=True)
class Response:
    """A parsed completion: `think` is None without a thought and "" for an empty one, `answer` is None without an answer.

    `well_formed` says that the text is exactly one thought and then exactly one answer, with nothing but white space
    around them.
    """

    think: str | None
    answer: str | None
    well_formed: bool


def parse_response(text: str) -> Response:
    """Parse thought and answer from a completion; never raises.

    The answer is searched after the first thought; an answer inside the thought counts only when there is none after it.
    An answer ends at the next tag of either kind, or at the end of the text. Several answers count as one if they differ
    only in case and white space; otherwise `answer` is None. `well_formed` allows none of these deviations.
    """
    thought = _THINK.search(text)
    after_thought = text[thought.end() :] if thought else text
    answers = _answers(after_thought) or _answers(text)
    distinct = {" ".join(answer.casefold().split()) for answer in answers}
    answer = answers[0] if len(distinct) == 1 else None
    if thought is None and not answers:
        thought = _OPEN_THINK.search(text)  # cut off while thinking
    think = thought[1].strip() if thought else None
    return Response(think, answer, answer is not None and _is_well_formed(text))


def answer_of(text: str, asks_for_tags: bool) -> str | None:
    """The answer in a completion: the one in its tags, or the whole text where the prompt asked for no tags."""
    answer = parse_response(text).answer
    return answer if answer is not None or asks_for_tags else text.strip()


def is_answer_alone(text: str) -> bool:
    """True for exactly one answer in its tags, that is not empty, and nothing else but white space around it."""
    match = _ANSWER_ALONE.fullmatch(text)
    return match is not None and bool(match[1].strip()) and not _TAG.search(match[1])


def format_response(think: str | None, answer: str) -> str:
    """The target text of training; an empty thought is two newlines between its tags, None is the answer alone."""
    thought = "" if think is None else f"<think>{think or chr(10) * 2}</think>"
    return f"{thought}<answer>{answer}</answer>"


def _answers(text: str) -> list[str]:
    """Contents of the answer tags that are not empty, stripped, in order."""
    return [content for match in _ANSWER.finditer(text) if (content := match[1].strip())]


def _is_well_formed(text: str) -> bool:
    match = _WELL_FORMED.fullmatch(text)
    return match is not None and not any(_TAG.search(part) for part in match.groups())
