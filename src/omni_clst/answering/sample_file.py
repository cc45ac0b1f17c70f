"""Answer the samples of one file k times each: the difficulty passes of `answer.py`."""

from pathlib import Path

from ..data.layouts import read_samples
from ..data.samples import AudioQASample
from ..files import sha256_of_file
from ..model.engine import Completion
from ..processes import process_rank, say, wait_for_all
from .config import AnswerConfig
from .folder import AnswerFolder
from .pass_rates import answer_row, read_pass_rates
from .questions import Questions, check_questions
from .run import AnsweringRun


def open_sample_file(run: AnsweringRun, config: AnswerConfig) -> tuple[Questions, AnswerFolder]:
    """The samples and the folder for their answers, both checked."""
    questions = check_questions(
        config.samples,
        sha256_of_file(config.samples),
        read_samples(config.samples, config.audio_root),
        config.samples,
        run.encoder,
        config,
        config.allow_missing_audio,
        "--allow_missing_audio leaves them unanswered",
    )
    settings = {"samples_sha256": questions.sha256, "num_completions": config.num_completions}
    settings |= {} if config.audio == "real" else {"audio": config.audio}  # real: compatible with older folders
    return questions, run.open_folder(Path(config.answers_dir), settings)


def answer_samples(run: AnsweringRun, config: AnswerConfig, questions: Questions, folder: AnswerFolder) -> None:
    """Answer what is not answered yet; rank 0 writes `answers.jsonl` and prints the accuracy."""
    say(f"{config.samples}: {len(questions.samples)} samples, {config.num_completions} answers each, {config.audio} audio")

    def make_row(sample: AudioQASample, completions: list[Completion]) -> dict:
        texts = [completion.text for completion in completions]
        return answer_row(sample, texts, run.encoder.prompt, config.model, config.audio)

    run.answer(questions, folder, make_row, config.num_completions)
    if process_rank() == 0:
        without = questions.unreadable | folder.failed()
        answered = [sample for sample in questions.samples if sample.id not in without]
        path = folder.join_parts("answers.jsonl", answered)
        rates = read_pass_rates(path, config.audio).values()
        if without:
            say(f"{len(without)} samples are not answered: {'; '.join(list(without.values())[:3])}")
        say(f"{path}: {len(answered)} samples answered, {100 * sum(rates) / len(rates):.1f} % accuracy")
    wait_for_all()
