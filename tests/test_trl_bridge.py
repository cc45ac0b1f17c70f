"""The methods and attributes of TRL's and transformers' trainers that the project uses: changes in new versions fail."""

import ast
import inspect
import re

import pytest
from trl import GRPOTrainer

from omni_clst.grpo import trl_bridge
from omni_clst.grpo.trainer import AudioGRPOTrainer
from omni_clst.settings import REPOSITORY

SIGNATURES = {  # of trl 1.16.0 and transformers 5.17.0
    "get_train_dataloader": "(self)",
    "create_scheduler": "(self, num_training_steps, optimizer=None)",
    "training_step": "(self, model, inputs, num_items_in_batch)",
    "_prepare_inputs": "(self, generation_batch)",
    "_tokenize_prompts": "(self, prompts)",
    "_generate_single_turn": "(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False)",
    "_get_per_token_logps_and_entropies": (
        "(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, "
        "compute_aux_loss=False, pixel_values=None, image_grid_thw=None, num_images=None, pixel_attention_mask=None, "
        "spatial_shapes=None, num_tiles=None, image_sizes=None, token_type_ids=None, mm_token_type_ids=None, "
        "image_position_ids=None)"
    ),
    "_compute_loss": "(self, model, inputs)",
    "evaluate": "(self, eval_dataset=None, ignore_keys=None, metric_key_prefix='eval')",
    "log": "(self, logs, start_time=None)",
    "create_model_card": "(self, model_name=None, dataset_name=None, tags=None)",
    "_send_telemetry": "(self)",
    "_save_checkpoint": "(self, model, trial)",
    "_save": "(self, output_dir=None, state_dict=None)",
    "_load_from_checkpoint": "(self, resume_from_checkpoint, model=None)",
    "_get_grad_norm": "(self, model, grad_norm=None)",
    "_determine_best_metric": "(self, metrics, trial)",
    "train": "(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None)",
}
READ = ("_step", "_metrics", "_tokenizer", "_current_train_step_time", "eos_token_ids", "beta", "ref_model",
        "num_generations", "num_iterations")  # fmt: skip
CALLED = {"_generate_and_score_completions": "(self, inputs)"}


def signature_of(function) -> str:
    """Without types."""
    signature = inspect.signature(function)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def overridden() -> set[str]:
    """Methods of TRL's trainer that a class between it and ours defines again."""
    own = AudioGRPOTrainer.__mro__[: AudioGRPOTrainer.__mro__.index(GRPOTrainer)]
    return {name for cls in own for name in vars(cls) if callable(getattr(GRPOTrainer, name, None)) and name[:2] != "__"}


def test_every_method_that_is_overridden_is_known():
    assert overridden() == set(SIGNATURES)


@pytest.mark.parametrize("name, signature", (SIGNATURES | CALLED).items(), ids=(SIGNATURES | CALLED).keys())
def test_signature_is_the_one_that_the_bridge_was_written_for(name, signature):
    assert signature_of(getattr(GRPOTrainer, name)) == signature


@pytest.mark.parametrize("name", READ)
def test_attribute_that_the_bridge_uses_is_still_there(name):
    assert re.search(rf"self\.{name}\b", inspect.getsource(GRPOTrainer.__init__))


def test_table_of_the_bridge_lists_what_is_overridden():
    """All that it and the trainer override; whole checkpoints and gradient norms are `training/base.py`."""
    table = set(re.findall(r"^\| `(\w+)`", trl_bridge.__doc__, re.MULTILINE))
    own = {name for cls in (trl_bridge.TRLBridge, AudioGRPOTrainer) for name in vars(cls)}
    assert table == overridden() & own - {"_save_collectively", "_write_extra_files"}


def test_one_file_uses_the_trainer_of_trl():
    def names_trl(path) -> bool:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
        return any((i.module or "").split(".")[0] == "trl" and {a.name for a in i.names} != {"GRPOConfig"} for i in imports)

    assert [path.name for path in (REPOSITORY / "src").rglob("*.py") if names_trl(path)] == ["trl_bridge.py"]
