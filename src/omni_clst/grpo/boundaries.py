"""Move checkpoints and evaluations to the ends of generations, and stop at the end of the curriculum."""

from transformers import TrainerCallback

from .curriculum_feed import CurriculumFeed


class GenerationBoundaries(TrainerCallback):
    """Delays saving and evaluation until a generation is used up, and ends the run at the end of the curriculum.

    With several optimiser steps per generation, a checkpoint in between would have to contain the completions too.
    """

    def __init__(self, feed: CurriculumFeed, prompts_per_generation: int, steps_per_rollout: int, evaluates: bool):
        self.feed = feed
        self.prompts_per_generation = prompts_per_generation
        self.steps_per_rollout = steps_per_rollout
        self.evaluates = evaluates
        self.waiting: set[str] = set()

    def on_step_end(self, args, state, control, **kwargs):
        at_boundary = state.global_step % self.steps_per_rollout == 0
        if at_boundary and self.feed.remaining < self.prompts_per_generation:
            control.should_training_stop = control.should_save = True
            control.should_evaluate = self.evaluates
        for name in ("should_save", "should_evaluate"):
            if getattr(control, name) and not at_boundary:
                setattr(control, name, False)
                self.waiting.add(name)
            elif at_boundary and name in self.waiting:
                setattr(control, name, True)
                self.waiting.discard(name)
