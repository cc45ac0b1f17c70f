"""Bad settings: one line with the place, the value and the remedy, before a model or a row is read."""

import json

import pytest
from test_trainer_settings import arguments
from tiny_world import make_base, write_train_file

import sft
from omni_clst.answering.config import AnswerConfig, InferConfig
from omni_clst.errors import InputError
from omni_clst.grpo.config import CLSTConfig
from omni_clst.grpo.settings import grpo_keys
from omni_clst.settings import load_config
from omni_clst.training.config import SFTConfig
from omni_clst.training.trainer_settings import trainer_keys

NO_BENCHMARK = "is not one of all, adqa-dev, adqa-eval, mmar, mmau-mini, mmau-test, mmau-pro, mmsu, muchomusic"

NOT_INSTALLED = ("wandb", "swanlab", "flash_attn", "bitsandbytes")
STAGES = {  # stage: its settings, its trainer's keys, good arguments
    "sft": (SFTConfig, trainer_keys, ["--model=a/b", "--train_file={train}"]),
    "clst": (CLSTConfig, grpo_keys, ["--model=a/b", "--train_file={train}"]),
    "infer": (InferConfig, None, ["--model=a/b"]),
    "answer": (AnswerConfig, None, ["--model=a/b", "--samples={train}", "--answers_dir=x"]),
}
ROWS = [  # stage, an argument or a YAML's content, the line
    ("sft", "lora_rank: 8.7\n", "c.yaml: lora_rank 8.7 is not a whole number"),
    ("sft", "lora_rank: [8]\n", "c.yaml: lora_rank [8] is not a whole number"),
    ("sft", "lora_rank: {a: 1}\n", "c.yaml: lora_rank {{'a': 1}} is not a whole number"),
    ("sft", "lora_rank: true\n", "c.yaml: lora_rank True is not a whole number"),
    ("sft", "lora_rank:\n", "c.yaml: lora_rank None is not a whole number"),
    ("sft", "lora_rank: .inf\n", "c.yaml: lora_rank inf is not a whole number"),
    ("sft", "lora_rank: .nan\n", "c.yaml: lora_rank nan is not a whole number"),
    ("sft", "--lora_rank=8.7", "command line: lora_rank '8.7' is not a whole number"),
    ("sft", "lora_rank: 8\nseed: 1\nlora_rank: 16\n", "{yaml}:3: not YAML (the key 'lora_rank' is repeated)"),
    ("sft", "rewards_: {a: 1}\n", "c.yaml: unknown key 'rewards_'"),
    ("sft", "true: 1\n", "{yaml}: expected `key: value` lines"),
    ("sft", "1: 2\n", "{yaml}: expected `key: value` lines"),
    ("sft", "- model\n", "{yaml}: expected `key: value` lines"),
    ("sft", "", "{yaml}: expected `key: value` lines"),
    ("sft", b"\xff\xfe\x00", "{yaml}: not UTF-8 (invalid start byte at byte 0)"),
    ("sft", "a: 1\n---\nb: 2\n", "{yaml}:2: not YAML (but found another document)"),
    ("sft", "learning_rate: fast\n", "c.yaml: learning_rate 'fast' is not a number"),
    ("sft", "learning_rate: [1.0e-4]\n", "c.yaml: learning_rate [0.0001] is not a number"),
    ("sft", "learning_rate: .inf\n", "learning_rate inf is not positive"),
    ("sft", "learning_rate: true\n", "c.yaml: learning_rate True is not a number"),
    ("sft", "run_name: true\n", "c.yaml: run_name True is not a text"),
    ("sft", "run_name: 2026-01-01\n", "c.yaml: run_name datetime.date(2026, 1, 1) is not a text"),
    ("sft", "run_name: [a]\n", "c.yaml: run_name ['a'] is not a text"),
    ("sft", "prompt: {a: 1}\n", "c.yaml: prompt {{'a': 1}} is not a text"),
    ("sft", "--dtype=float16", "dtype float16 is for inference: training has no loss scaler; use bfloat16 or float32"),
    ("sft", "--dtype=fp16", "dtype 'fp16' is not one of auto, float32, bfloat16, float16"),
    ("sft", "--attn_implementation=flash_attention_2",
     "attn_implementation flash_attention_2 needs a package that is not installed: pip install flash-attn "
     "--no-build-isolation"),
    ("infer", "--attn_implementation=flash_attention_2",
     "attn_implementation flash_attention_2 needs a package that is not installed: pip install flash-attn "
     "--no-build-isolation"),
    ("sft", "--report_to=wandbb",
     "report_to 'wandbb' is not one of none, all, azure_ml, clearml, codecarbon, comet_ml, dagshub, dvclive, "
     "flyte, kubeflow, mlflow, neptune, swanlab, tensorboard, trackio, wandb"),
    ("sft", "--report_to=tensorboard,wandb",
     "report_to 'wandb' needs a package that is not installed: pip install wandb"),
    ("sft", "report_to: [tensorboard, swanlab]\n",
     "report_to 'swanlab' needs a package that is not installed: pip install swanlab"),
    ("sft", "report_to: 3\n", "c.yaml: report_to 3 is not a list of names"),
    ("sft", "--warmup_ratio=0.05",
     "command line: warmup_ratio is not a setting here: warmup_steps below 1 is a share of all steps"),
    ("sft", "--evaluation_strategy=steps",
     "command line: evaluation_strategy is not a setting here: eval_steps, with valid_file"),
    ("sft", "--lora_r=8", "command line: lora_r is not a setting here: lora_rank"),
    ("sft", "--resume_from_checkpoint=latest",
     "command line: resume_from_checkpoint cannot be set: a second start resumes from the newest complete "
     "checkpoint; overwrite starts anew"),
    ("sft", "--bf16", "command line: bf16 cannot be set: dtype decides"),
    ("sft", "--weight_decay=heavy", "command line: weight_decay 'heavy' is not a number"),
    ("sft", "weight_decay: [0.1]\n", "c.yaml: weight_decay [0.1] is not a number"),
    ("sft", "weight_decay: .nan\n", "c.yaml: weight_decay nan is not a number"),
    ("sft", "--max_grad_norm=nan", "command line: max_grad_norm 'nan' is not a number"),
    ("sft", "eval_on_start: 3\n", "c.yaml: eval_on_start 3 is not true or false"),
    ("sft", "--lr_scheduler_kwargs=5",
     "command line: lr_scheduler_kwargs '5' is not none or names with values ({{a: 1}})"),
    ("sft", "--lr_scheduler_kwargs={a: [}",
     "command line: lr_scheduler_kwargs '{{a: [}}' is not none or names with values ({{a: 1}})"),
    ("sft", "--data_seed=1.5", "command line: data_seed '1.5' is not a whole number or none"),
    ("sft", "--optim=adam",
     "optim 'adam' is not one of adamw_torch, adamw_torch_fused, adafactor, sgd, adagrad, rmsprop, "
     "adamw_bnb_8bit, adamw_8bit, paged_adamw_32bit, paged_adamw_8bit, ademamix, ademamix_8bit, "
     "paged_ademamix_32bit, paged_ademamix_8bit, lion_8bit, lion_32bit, paged_lion_32bit, paged_lion_8bit, "
     "rmsprop_bnb, rmsprop_bnb_8bit, rmsprop_bnb_32bit, adamw_torch_4bit, adamw_torch_8bit, "
     "schedule_free_radam, schedule_free_adamw, schedule_free_sgd"),
    ("sft", "--optim=galore_adamw",
     "optim 'galore_adamw' is not one of adamw_torch, adamw_torch_fused, adafactor, sgd, adagrad, rmsprop, "
     "adamw_bnb_8bit, adamw_8bit, paged_adamw_32bit, paged_adamw_8bit, ademamix, ademamix_8bit, "
     "paged_ademamix_32bit, paged_ademamix_8bit, lion_8bit, lion_32bit, paged_lion_32bit, paged_lion_8bit, "
     "rmsprop_bnb, rmsprop_bnb_8bit, rmsprop_bnb_32bit, adamw_torch_4bit, adamw_torch_8bit, "
     "schedule_free_radam, schedule_free_adamw, schedule_free_sgd"),
    ("sft", "--save_steps=0", "save_steps 0.0 is not positive"),
    ("sft", "--eval_steps=-1", "eval_steps -1.0 is not positive"),
    ("sft", "--logging_steps=0", "logging_steps 0.0 is not positive"),
    ("sft", "--seed=-1", "seed -1 is not between 0 and 4294967295"),
    ("sft", "--seed=4294967296", "seed 4294967296 is not between 0 and 4294967295"),
    ("sft", "--lora_alpha=0", "lora_alpha 0.0 is not positive"),
    ("sft", "--warmup_steps=-1", "warmup_steps -1.0 is not at least 0"),
    ("sft", "--num_train_epochs=inf", "num_train_epochs inf is not positive"),
    ("sft", "--max_audio_seconds=inf", "max_audio_seconds inf is not positive"),
    ("sft", "--hub_token=hf_x",
     "hub_token is not supported: checkpoints are not uploaded; `hf upload` takes runs/<run_name>/merged"),
    ("sft", "--push_to_hub", "push_to_hub True is not supported: checkpoints are not uploaded; `hf upload` takes "
     "runs/<run_name>/merged"),
    ("sft", "--torch_compile", "torch_compile True is not supported: every batch has another shape"),
    ("sft", "--label_smoothing_factor=0.1",
     "label_smoothing_factor 0.1 is not supported: the model's forward is the project's own"),
    ("clst", "--save_steps=0", "save_steps 0.0 is not positive"),
    ("clst", "rewards: [accuracy]\n", "c.yaml: rewards ['accuracy'] is not names with numbers (a: 0.5, b: 1)"),
    ("clst", "rewards: {accuracy: much}\n",
     "c.yaml: rewards {{'accuracy': 'much'}} is not names with numbers (a: 0.5, b: 1)"),
    ("clst", "rewards: {accuracy: .nan}\n", "rewards accuracy nan is not a finite number"),
    ("clst", "--scale_rewards=all", "scale_rewards 'all' is not one of group, batch, none"),
    ("clst", "--reward_weights=1", "command line: reward_weights cannot be set: rewards names them with their weights"),
    ("clst", "--epsilon=small", "command line: epsilon 'small' is not a number"),
    ("clst", "--dtype=float16", "dtype float16 is for inference: training has no loss scaler; use bfloat16 or float32"),
    ("clst", "--data_seed=3", "data_seed 3 is not supported: seed decides the order"),
    ("infer", "--benchmarks=", "benchmarks is empty: name at least one"),
    ("infer", "benchmarks: []\n", "benchmarks is empty: name at least one"),
    ("infer", "benchmarks: {mmar: 1}\n", "c.yaml: benchmarks {{'mmar': 1}} is not a list of names"),
    ("infer", "benchmarks: [1]\n", f"benchmarks '1' {NO_BENCHMARK}"),
    ("infer", "--temperature=inf", "temperature inf is not at least 0"),
    ("infer", "--limit=2.5", "command line: limit '2.5' is not a whole number or none"),
    ("infer", "--limit=many", "command line: limit 'many' is not a whole number or none"),
    ("infer", "--seed=-3", "seed -3 is not between 0 and 4294967295"),
    ("infer", "top_p: null\n", "c.yaml: top_p None is not a number"),
    ("answer", "--num_workers=-1", "num_workers -1 is not at least 0"),
    ("answer", "--seed=-1", "seed -1 is not between 0 and 4294967295"),
    ("answer", "--num_completions=1.5", "command line: num_completions '1.5' is not a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "given", "message"), ROWS, ids=[f"{row[0]}: {str(row[1])[:40]!r}" for row in ROWS])
def test_bad_setting_is_one_line(tmp_path, monkeypatch, stage, given, message):
    monkeypatch.setattr("omni_clst.fields.find_spec", lambda name: None if name in NOT_INSTALLED else name)
    config_class, passthrough, argv = STAGES[stage]
    train, file = tmp_path / "train.jsonl", tmp_path / "c.yaml"
    train.write_text("{}\n")
    argv = [word.format(train=train) for word in argv]
    if isinstance(given, str) and given.startswith("--"):
        argv.append(given)
    else:
        file.write_bytes(given if isinstance(given, bytes) else given.encode())
        argv.append(f"--config={file}")
    with pytest.raises(InputError) as caught:
        load_config(config_class, argv, passthrough)
    assert str(caught.value) == message.format(yaml=file)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad settings")
    make_base(folder / "base")
    write_train_file(folder, 4)
    (folder / "bad.json").write_text(json.dumps([1]))
    (folder / "empty.json").write_text("")
    return folder


TRAINING = [  # arguments of sft.py, the line: found with the samples, before weights
    ("--lr_scheduler_type=cosin",
     "training settings: cosin is not a valid SchedulerType, please select one of ['linear', 'cosine', "
     "'cosine_with_restarts', 'polynomial', 'constant', 'constant_with_warmup', 'inverse_sqrt', "
     "'reduce_lr_on_plateau', 'cosine_with_min_lr', 'cosine_warmup_with_min_lr', 'warmup_stable_decay', "
     "'greedy']"),
    ("--lr_scheduler_type=cosine_with_min_lr",
     "lr_scheduler_type 'cosine_with_min_lr' with lr_scheduler_kwargs None: One of min_lr or min_lr_rate "
     "should be set through the `lr_scheduler_kwargs`"),
    ("--lr_scheduler_type=warmup_stable_decay",
     "lr_scheduler_type 'warmup_stable_decay' with lr_scheduler_kwargs None: get_wsd_schedule() missing 1 "
     "required positional argument: 'num_decay_steps'"),
    ("--lr_scheduler_type=cosine --lr_scheduler_kwargs={{min: 1}}",
     "lr_scheduler_type 'cosine' with lr_scheduler_kwargs {{'min': 1}}: get_cosine_schedule_with_warmup() got "
     "an unexpected keyword argument 'min'"),
    ("--save_steps=2.5", "training settings: --save_steps must be an integer if bigger than 1: 2.5"),
    ("--dataloader_prefetch_factor=2",
     "training settings: --dataloader_prefetch_factor can only be set when data is loaded in a different "
     "process, i.e. when --dataloader_num_workers > 0."),
    ("--lr_scheduler_type=reduce_lr_on_plateau",
     "training settings: lr_scheduler_type reduce_lr_on_plateau requires an eval strategy"),
    ("--lr_scheduler_type=greedy", "training settings: lr_scheduler_type greedy requires an eval strategy"),
    ("--eval_delay=-1", "eval_delay -1 is not at least 0"),
    ("--max_grad_norm=-1", "max_grad_norm -1 is not at least 0"),
    ("--adam_beta1=2", "adam_beta1 2 is not from 0 to below 1"),
    ("--deepspeed={w}/bad.json", "deepspeed {w}/bad.json: expected an object, got '[1]'"),
    ("--weight_decay=-1", "weight_decay -1 is not at least 0"),
    ("--dataloader_prefetch_factor=0", "dataloader_prefetch_factor 0 is not at least 1"),
    ("--deepspeed={w}/empty.json", "deepspeed {w}/empty.json:1: not JSON (Expecting value)"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), TRAINING, ids=[row[0] for row in TRAINING])
def test_setting_that_training_could_not_use_is_one_line(world, monkeypatch, given, message):
    def load(*_):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("omni_clst.training.base.load_thinker", load)
    words = [f"--{word}" for word in given.format(w=world).removeprefix("--").split(" --")]
    with pytest.raises(InputError) as caught:
        sft.main([*arguments(world, "bad"), *words])
    assert str(caught.value) == message.format(w=world)
    assert not (world / "runs" / "bad").exists()
