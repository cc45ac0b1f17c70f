"""All prompt texts of the project, and the user's turn for a sample.

A prompt is one of the names in `PROMPTS`, a text with `{question}` and `{choices}`, or a file (.txt) with such a text. The
reasoning prompts ask for `<think>...</think><answer>...</answer>`, where an empty thought is `<think>\n\n</think>` and the
answer is the text of one choice, never a letter (arXiv 2509.12275, section 3).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..errors import InputError
from ..fields import Location
from ..files import read_text, sha256_of_text
from .samples import AudioQASample

PROMPT_SUFFIX = ".txt"  # of a prompt's file
PromptSetting = Annotated[str, Location(suffix=PROMPT_SUFFIX)]
_FORMAT = (
    "Reply in exactly this form: <think>your reasoning</think><answer>your choice</answer>. "
    "Between the answer tags write one of the choices word for word, without a letter or any comment."
)

PROMPTS = {
    "selective": (
        "{question}\n{choices}\n"
        "Judge first how hard this question is for you. If listening once settles it, leave the thought empty: "
        "<think>\n\n</think>. If it needs several steps, reason step by step inside the thought, in fewer than 100 "
        "words. " + _FORMAT
    ),
    "always_think": (
        "{question}\n{choices}\n"
        "Reason step by step about what you hear, in fewer than 100 words, before you answer. " + _FORMAT
    ),
    "direct": "{question}\n{choices}\nReply with the choice that is right, word for word, and nothing else.",
    # Short, for the embedded world: a prompt of 100 tokens would be most of what its tiny model computes.
    "demo_selective": "{question}\n{choices}\nthink if needed :",
    "demo_direct": "{question}\n{choices}\nanswer :",
}


@dataclass(frozen=True)
class Prompt:
    """A prompt: the template, whether it asks for tags, and the system text (empty: no system turn)."""

    name: str
    template: str
    asks_for_tags: bool
    system: str

    @property
    def asks_for_thought(self) -> bool:
        """False where the answer is asked for alone: bare, or in its tags."""
        return asks_for_thought(self.template, self.asks_for_tags)

    @property
    def sha256(self) -> str:
        """Identifies the wording in answers files and in the settings that a resumed run compares."""
        return sha256_of_text(f"{self.system}\0{self.template}\0{self.asks_for_tags}")

    def user_text(self, sample: AudioQASample) -> str:
        """The user's turn for one sample: the sample's `prompt` verbatim where it has one, else the filled template."""
        if sample.prompt is not None:
            return sample.prompt
        texts = {"question": sample.question, "choices": format_choices(sample.choices)}
        return re.sub(r"\{(question|choices)\}", lambda place: texts[place[1]], self.template)


def asks_for_thought(template: str, asks_for_tags: bool) -> bool:
    """False for a text that asks for the bare answer, or mentions the answer's tags and not those of a thought."""
    return asks_for_tags and ("<think>" in template or "<answer>" not in template)


def format_choices(choices: tuple[str, ...]) -> str:
    """The choices as the prompt lists them, one a line."""
    return "\n".join(f"- {choice}" for choice in choices)


def make_prompt(setting: str, system: str, asks_for_tags: bool | None = None) -> Prompt:
    """The prompt of a setting: a name in `PROMPTS`, a file, or a template text; raises `InputError` for any other.

    `asks_for_tags` of a file or text is given, or true where it mentions `<answer>`.
    """
    if setting in PROMPTS:
        return Prompt(setting, PROMPTS[setting], not setting.endswith("direct"), system)
    name, template = "custom", setting
    if setting.endswith(PROMPT_SUFFIX):
        try:
            name, template = Path(setting).name, read_text(Path(setting)).strip()
        except InputError as error:
            raise InputError(f"prompt {error}") from None
    if "{question}" not in template or "{choices}" not in template:
        if template != setting:
            raise InputError(f"prompt {setting}: the text has no {{question}} or no {{choices}}: {template[:60]!r}")
        names = ", ".join(PROMPTS)
        raise InputError(f"prompt {setting!r} is neither one of {names} nor a text with {{question}} and {{choices}}")
    return Prompt(name, template, "<answer>" in template if asks_for_tags is None else asks_for_tags, system)
