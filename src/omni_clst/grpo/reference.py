"""The frozen reference model of full fine-tuning: where it lies."""

from accelerate import Accelerator, cpu_offload
from trl import GRPOConfig
from trl.models.utils import prepare_deepspeed
from trl.trainer.utils import disable_dropout_in_model

from ..model.thinker import OmniThinker


def place_reference(reference: OmniThinker | None, arguments: GRPOConfig, accelerator: Accelerator, offload: bool):
    """The reference off the device (`offload`), or sharded or placed by the launch's backend as TRL does; None for none."""
    if reference is None:
        return None
    if arguments.disable_dropout:
        disable_dropout_in_model(reference)
    if getattr(accelerator.state, "deepspeed_plugin", None) is not None:
        return prepare_deepspeed(reference, accelerator)
    if offload:
        return cpu_offload(reference, execution_device=accelerator.device)
    return accelerator.prepare_model(reference, evaluation_mode=True)
