"""Save a complete checkpoint when a run is noticed of its preemption, then end it (`preemption.py`)."""

from transformers import TrainerCallback

from ..preemption import NOTICE, Preempted
from ..processes import any_process, wait_for_all


class PreemptionCheckpoints(TrainerCallback):
    """Ends a noticed run at the next step from which it can resume, every `steps_between`, behind its checkpoint.

    One noticed process is enough: all agree at such a step. Added last, so that other callbacks see the checkpoint first.
    An evaluation that is due at the step comes before the checkpoint, as in a run without a notice.
    """

    def __init__(self, steps_between: int = 1):
        self.steps_between = steps_between

    def on_train_begin(self, args, state, control, **kwargs):
        NOTICE.is_deferred = True

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.steps_between == 0 and any_process(NOTICE.is_given, args.device):
            control.should_save = control.should_log = True  # steps since the last log would have no line

    def on_save(self, args, state, control, **kwargs):
        if any_process(NOTICE.is_given, args.device):
            NOTICE.ignore()
            wait_for_all()  # the first process to end makes the launcher end the others, which ignore it from here on
            step = state.global_step
            raise Preempted(f"preempted at step {step}: checkpoint-{step} is complete, start again to go on")

    def on_train_end(self, args, state, control, **kwargs):
        NOTICE.is_deferred = False
        if NOTICE.is_given:
            raise Preempted("preempted after the last step: start again to go on")
