"""What a model wrote -> thought and answer: the only parser; training, rewards and scoring use it alike.

The contract: `<think>...</think><answer>...</answer>`, an empty thought is `<think>\n\n</think>`, the answer is the text
of one choice (arXiv 2509.12275, section 3). What models really write deviates; what is made of it stands at
`parse_response` and, row by row, in the test.
"""

import re
from dataclasses import dataclass

ANSWER_TAGS = frozenset({"<think>", "</think>", "<answer>", "</answer>"})
# How a response without a thought begins. The answer tag's last character is left out: a byte-pair tokenizer may join it
# with the answer (">Dog"), so up to here, and no further, the tokens are the same whatever is answered.
EMPTY_THOUGHT_OPENING = "<think>\n\n</think><answer"

_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL | re.IGNORECASE)
_OPEN_THINK = re.compile(r"<think>(.*)", re.DOTALL | re.IGNORECASE)
_ANSWER = re.compile(r"<answer>(.*?)(?=</?(?:think|answer)>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_WELL_FORMED = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)


@dataclass(frozen=True)
class Response:
    """A parsed completion: `think` is None without a thought and "" for an empty one, `answer` None where none was given.

    `well_formed` says that the text is exactly one thought and then exactly one answer, with nothing but white space
    around them.
    """

    think: str | None
    answer: str | None
    well_formed: bool


def parse_response(text: str) -> Response:
    """Read thought and answer out of a completion; never raises.

    The answer is looked for behind the first thought; an answer inside a thought counts only when there is none behind
    it. An answer runs to the next tag of either kind, or to the end of the text. Several answers count as one if they say
    the same but for case and white space; else the model hedged and has given none. Nothing is forgiven in `well_formed`.
    """
    thought = _THINK.search(text)
    behind = text[thought.end() :] if thought else text
    answers = _answers(behind) or _answers(text)
    distinct = {" ".join(answer.casefold().split()) for answer in answers}
    answer = answers[0] if len(distinct) == 1 else None
    if thought is None and not answers:
        thought = _OPEN_THINK.search(text)  # cut off while thinking
    think = thought[1].strip() if thought else None
    return Response(think, answer, answer is not None and _is_well_formed(text))


def answer_of(text: str, asks_for_tags: bool) -> str | None:
    """The answer that a completion gives: the one in its tags, or the whole text where the prompt asked for none."""
    answer = parse_response(text).answer
    return answer if answer is not None or asks_for_tags else text.strip()


def format_response(think: str, answer: str) -> str:
    """The text that a model is taught to write; an empty thought is two newlines between its tags."""
    return f"<think>{think or chr(10) * 2}</think><answer>{answer}</answer>"


def _answers(text: str) -> list[str]:
    """Contents of the answer tags that are not empty, stripped, in order."""
    return [content for match in _ANSWER.finditer(text) if (content := match[1].strip())]


def _is_well_formed(text: str) -> bool:
    match = _WELL_FORMED.fullmatch(text)
    return match is not None and not any(_TAG.search(part) for part in match.groups())
