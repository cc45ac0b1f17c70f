"""Ask a model a question about a clip: prints its thought, its answer, seconds and tokens.

    python src/ask.py CHECKPOINT CLIP "what barks ?" dog cat cow --thought empty

The first words are a checkpoint, a clip, a question and its choices, which may be left out. With the checkpoint alone
questions are read line by line, from the terminal or a file, as CLIP | QUESTION | CHOICE | ..., and the model stays loaded;
a line without a clip is about the one before.

    python src/ask.py CHECKPOINT < questions.txt
"""

import sys

from omni_clst.answering.config import AskConfig
from omni_clst.errors import InputError, run_main
from omni_clst.settings import asks_for_help, load_config, parse_arguments


def main(argv: list[str]) -> None:
    options_from = next((place for place, word in enumerate(argv) if word.startswith("--") or word == "-h"), len(argv))
    words, options = argv[:options_from], argv[options_from:]
    if len(words) == 2:
        raise InputError(f'{words[1]}: a clip without a question: ask.sh CHECKPOINT CLIP "question" [choice ...]')
    stray = [] if asks_for_help(options) else parse_arguments(options)[1]
    if stray:
        raise InputError(f"{stray[0]}: checkpoint, clip, question and choices come first, then --key value")
    config = load_config(AskConfig, words[:1] + options, about=__doc__, first_word="model")

    from omni_clst.answering.ask import LINE_FORMAT, ask, make_question, questions_in
    from omni_clst.answering.run import AnsweringRun
    from omni_clst.devices import choose_device
    from omni_clst.model.checkpoints import find_checkpoint
    from omni_clst.processes import quiet_libraries, say

    checkpoint = find_checkpoint(config.model)
    device = choose_device(config.device)
    quiet_libraries()
    run = AnsweringRun(config, checkpoint, device)
    prompt = run.encoder.prompt
    asks_for_choices = not run.is_trained_here
    if words[1:]:
        _, clip, question, *choices = words
        say(ask(run, make_question(clip, question, choices, asks_for_choices)).describe(prompt.asks_for_tags))
        return
    if sys.stdin.isatty():
        say(f"a line is {LINE_FORMAT}; end with Ctrl-D")
    for sample in questions_in(sys.stdin, asks_for_choices):
        try:
            if isinstance(sample, InputError):
                raise sample
            say(f"{sample.question}\n{ask(run, sample).describe(prompt.asks_for_tags)}\n")
        except InputError as error:  # such as a clip that cannot be decoded: the next line is asked all the same
            print(f"error: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_main(main)
