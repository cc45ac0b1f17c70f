"""Run an entry point in a separate process with hooks: kill it at some point, or log what it computes.

    python tests/driver.py sft|grpo|infer|prepare HOOK[+HOOK...] [entry point arguments]

HOOK: none | kill_before_marker:N | kill_while_saving:N | kill_after_step:N | kill_before_append:N | kill_after_append:N |
kill_in_audit:N | kill_in_comparisons:N | kill_before_write:N | dump_weights:FOLDER | log_clips:FILE | spell |
out_of_memory:N | tokens_at_once:N | ends_often | record:FILE | replay:FILE | dump_buffers:FILE | kill_worker:N |
kill_last_rank:N | end_other_after_step:N:PROCESS | keep_vllm_weights | stand_in_device |
notify:SIGNAL:MOMENT:N:WHOM | every_signal_counts | count_calls:FILE | signal_at_call:SIGNAL:N:RANK |
fill_disk:MOMENT:N | stop_last_rank:N | hang_last_rank:N

MOMENT: rollout | update | saving; of fill_disk: weights | optimizer | rng | state | prompt.
WHOM: self | group | launcher | last_rank
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src")]


AT_END = []  # called at the end of a run that succeeds


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def call_then(function, count: int, before: bool):
    """`function`, which kills the process before or after its call number `count`."""
    calls = [0]

    def wrapped(*arguments, **keywords):
        calls[0] += 1
        if before and calls[0] == count:
            die()
        result = function(*arguments, **keywords)
        if calls[0] == count:
            die()
        return result

    return wrapped


def spelling(sample, completion) -> float:
    """A reward that random text earns now and then, so that rewards differ within groups."""
    return sum(completion.text.encode()) % 5 / 4


def seldom(sample, completion) -> float:
    """A reward that often is 0 for all completions of a group, which is then uninformative."""
    return float(sum(completion.text.encode()) % 4 == 0)


def reward_spelling() -> None:
    from omni_clst.method import rewards

    rewards.REWARDS |= {"spelling": spelling, "seldom": seldom}


def hash_clips(input_features, feature_attention_mask) -> list[str]:
    """One hash per clip, of its valid mel frames."""
    import hashlib

    clips = zip(input_features, feature_attention_mask.bool(), strict=True)
    return [hashlib.sha256(clip[:, valid].numpy().tobytes()).hexdigest()[:12] for clip, valid in clips]


def log_clips(file: Path) -> None:
    """Append to `file`, one line per call, which clips the audio tower encodes, and whose encodings the model gets.

    In the phase `tower` these are the clips' hashes; in `rollout`, `score` and `policy` the hashes of the clips whose
    encodings are in the model's input, identified by the encodings' bytes.
    """
    import hashlib

    from omni_clst.model.engine import HFEngine
    from omni_clst.model.families.qwen2_5_omni import Qwen2_5OmniThinker
    from omni_clst.model.thinker import OmniThinker

    encode, embed = Qwen2_5OmniThinker.get_audio_features, OmniThinker.embed
    generate, score = HFEngine._generate_copies, OmniThinker.score_completions
    phases: list[str] = []
    clip_of: dict[str, str] = {}

    def note(phase: str, clips: list[str]) -> None:
        with open(file.with_suffix(f".rank{os.environ.get('RANK', '0')}"), "a") as log:
            log.write(json.dumps({"phase": phase, "clips": clips}) + "\n")

    def during(phase: str, function, *arguments, **keywords):
        phases.append(phase)
        try:
            return function(*arguments, **keywords)
        finally:
            phases.pop()

    def generated(self, *arguments):
        return during("rollout", generate, self, *arguments)

    def scored(self, *arguments, **keywords):
        import torch

        phase = "policy" if torch.is_grad_enabled() else "score"
        return during(phase, score, self, *arguments, **keywords)

    def digest(encoding) -> str:
        return hashlib.sha256(encoding.float().numpy().tobytes()).hexdigest()

    def encoded(self, input_features, feature_attention_mask=None, *arguments, **keywords):
        from omni_clst.data.audio import audio_token_count

        clips = hash_clips(input_features, feature_attention_mask)
        note("tower", clips)
        output = encode(self, input_features, feature_attention_mask, *arguments, **keywords)
        sizes = [audio_token_count(frames) for frames in feature_attention_mask.sum(dim=-1).tolist()]
        clip_of.update(zip(map(digest, output.last_hidden_state.split(sizes)), clips, strict=True))
        return output

    def embedded(self, input_ids, input_features=None, feature_attention_mask=None, audio_embeddings=None):
        embeddings = embed(self, input_ids, input_features, feature_attention_mask, audio_embeddings)
        is_audio = input_ids == self.config.audio_token_id
        pairs = zip(embeddings, is_audio, strict=True)
        note(phases[-1], [clip_of[digest(row[mask].detach())] for row, mask in pairs])
        return embeddings

    Qwen2_5OmniThinker.get_audio_features, OmniThinker.embed = encoded, embedded
    HFEngine._generate_copies, OmniThinker.score_completions = generated, scored


def record_completions(file: Path) -> None:
    """Append the completions of every prompt to `file`, with the prompt's seed, which is the same in every launch."""
    from dataclasses import asdict

    from omni_clst.model.engine import HFEngine

    generate = HFEngine.generate

    def recorded(self, examples, seeds, n=1):
        groups = generate(self, examples, seeds, n)
        with open(file, "a") as log:
            for seed, group in zip(seeds, groups, strict=True):
                log.write(json.dumps({"seed": seed, "group": [asdict(completion) for completion in group]}) + "\n")
        return groups

    HFEngine.generate = recorded


def replay_completions(file: Path) -> None:
    """Make the engine return the recorded completions of another run, so that rounding cannot change the tokens."""
    from omni_clst.model.engine import Completion, HFEngine

    rows = map(json.loads, file.read_text().splitlines())
    group_of = {row["seed"]: [Completion(**completion) for completion in row["group"]] for row in rows}
    generate = HFEngine.generate

    def replayed(self, examples, seeds, n=1):
        generate(self, examples, seeds, n)  # the forwards, and with them the collectives, are still needed
        return [group_of[seed] for seed in seeds]

    HFEngine.generate = replayed


def run_out_of_memory(count: int) -> None:
    """Make the last process of the launch run out of memory in its rollout number `count`."""
    from omni_clst.model.engine import HFEngine

    generate, calls = HFEngine._generate_copies, [0]

    def failing(self, *arguments):
        import torch

        calls[0] += 1
        is_last = int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
        if is_last and calls[0] == count:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return generate(self, *arguments)

    HFEngine._generate_copies = failing


def notify(name: str, moment: str, count: int, whom: str) -> None:
    """Send a signal at a moment's call number `count`, and go on only once this process was noticed of it."""
    from transformers import Trainer

    from omni_clst.model.engine import HFEngine
    from omni_clst.preemption import NOTICE

    owner, method = {
        "rollout": (HFEngine, "_generate_copies"),
        "update": (Trainer, "training_step"),
        "saving": (Trainer, "_save_optimizer_and_scheduler"),
    }[moment]
    function, calls, number = getattr(owner, method), [0], signal.Signals[name]
    if whom == "group":
        os.setsid()  # not the one of the tests

    def notifying(*arguments, **keywords):
        calls[0] += 1
        rank = int(os.environ.get("RANK", "0"))
        if calls[0] == count and rank == (int(os.environ.get("WORLD_SIZE", "1")) - 1 if whom == "last_rank" else 0):
            send = os.killpg if whom == "group" else os.kill
            send(os.getppid() if whom == "launcher" else os.getpid(), number)
            while not NOTICE.is_given:
                time.sleep(0.01)
        return function(*arguments, **keywords)

    setattr(owner, method, notifying)


def at_every_call(act) -> None:
    """Call `act` with the number of every call of a Python function in the main thread, from the start of the training."""
    from omni_clst.training.watch import Watch

    enter, calls = Watch.__enter__, [0]

    def profile(frame, event, _):
        if event == "call":
            calls[0] += 1
            act(calls[0])

    def entered(self):
        enter(self)
        sys.setprofile(profile)

    Watch.__enter__ = entered


def count_calls(file: str) -> None:
    """Write the number of calls of this process (see `at_every_call`) to FILE.RANK at its end."""
    import atexit

    last = [0]
    at_every_call(lambda number: last.__setitem__(0, number))

    def write() -> None:
        Path(f"{file}.{os.environ.get('RANK', '0')}").write_text(str(last[0]))

    atexit.register(write)  # of several processes
    AT_END.append(write)  # a fork runs no such functions


def signal_at_call(name: str, count: int, rank: int) -> None:
    if int(os.environ.get("RANK", "0")) == rank:
        at_every_call(lambda number: os.kill(os.getpid(), signal.Signals[name]) if number == count else None)


def fill_disk(moment: str, count: int) -> None:
    """Let no file grow from a moment in save number `count` on, as on a full disk; all other files are written."""
    import resource

    from transformers import Trainer, TrainerState

    from omni_clst.training import base as training

    owner, name = {
        "weights": (Trainer, "_save_checkpoint"),
        "optimizer": (Trainer, "_save_optimizer_and_scheduler"),
        "rng": (Trainer, "_save_rng_state"),
        "state": (TrainerState, "save_to_json"),
        "prompt": (training, "write_prompt"),
    }[moment]
    function, calls = getattr(owner, name), [0]

    def filling(*arguments, **keywords):
        calls[0] += 1
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if calls[0] == count:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            return function(*arguments, **keywords)
        except Exception:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)  # the error is printed to a file
            raise

    setattr(owner, name, filling)


def install(hook: str) -> None:
    name, _, value = hook.partition(":")
    if name == "none":
        return
    from omni_clst.answering import folder
    from omni_clst.training import base as training
    from omni_clst.training import metrics_log

    if name == "spell":
        reward_spelling()
    elif name == "tokens_at_once":
        from omni_clst.model.thinker import OmniThinker

        OmniThinker._tokens_at_once = int(value)
    elif name == "ends_often":
        from omni_clst.model.engine import HFEngine

        make = HFEngine.__init__

        def with_many_ends(self, *arguments, **keywords):
            make(self, *arguments, **keywords)
            self.end_ids = list(range(0, 700, 5))

        HFEngine.__init__ = with_many_ends
    elif name == "log_clips":
        log_clips(Path(value))
    elif name == "stand_in_device":
        import stand_in_device

        stand_in_device.start()
    elif name == "kill_worker":
        from omni_clst.data.encoder import OmniEncoder

        OmniEncoder.encode = call_then(OmniEncoder.encode, int(value), before=True)
    elif name == "record":
        record_completions(Path(value))
    elif name == "replay":
        replay_completions(Path(value))
    elif name == "dump_buffers":
        begin = metrics_log.MetricsLog.on_train_begin

        def on_train_begin(self, args, state, control, model=None, **kwargs):
            import torch

            if state.is_world_process_zero:
                torch.save(dict(model.named_buffers()), value)
            begin(self, args, state, control, model=model, **kwargs)

        metrics_log.MetricsLog.on_train_begin = on_train_begin
    elif name == "out_of_memory":
        run_out_of_memory(int(value))
    elif name == "kill_before_marker":
        training.mark_complete = call_then(training.mark_complete, int(value), before=True)
    elif name == "kill_while_saving":
        from transformers import Trainer

        Trainer._save_optimizer_and_scheduler = call_then(Trainer._save_optimizer_and_scheduler, int(value), before=True)
    elif name in ("kill_after_step", "kill_last_rank"):

        def on_step_end(self, args, state, control, **kwargs):
            is_last = args.process_index == args.world_size - 1
            if state.global_step == int(value) and (name == "kill_after_step" or is_last):
                die()

        metrics_log.MetricsLog.on_step_end = on_step_end
    elif name == "end_other_after_step":
        step, _, process = value.partition(":")

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == int(step):
                os.kill(int(process), signal.SIGTERM)
                while Path(f"/proc/{process}").exists():
                    time.sleep(0.05)

        metrics_log.MetricsLog.on_step_end = on_step_end
    elif name == "notify":
        signal_name, moment, count, whom = value.split(":")
        notify(signal_name, moment, int(count), whom)
    elif name in ("stop_last_rank", "hang_last_rank"):

        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == int(value) and args.process_index == args.world_size - 1:
                os.kill(os.getpid(), signal.SIGSTOP) if name == "stop_last_rank" else time.sleep(3600)

        metrics_log.MetricsLog.on_step_begin = on_step_begin
    elif name == "count_calls":
        count_calls(value)
    elif name == "signal_at_call":
        signal_name, count, rank = value.split(":")
        signal_at_call(signal_name, int(count), int(rank))
    elif name == "fill_disk":
        moment, count = value.split(":")
        fill_disk(moment, int(count))
    elif name == "every_signal_counts":
        from omni_clst import preemption

        preemption.SAME_NOTICE_SECONDS = -1.0
    elif name == "keep_vllm_weights":
        from omni_clst.model.vllm_engine import VLLMEngine

        VLLMEngine.load = lambda self, weights: None
    elif name in ("kill_before_append", "kill_after_append"):
        append = call_then(folder.append_jsonl, int(value), before=name == "kill_before_append")
        folder.append_jsonl = append
    elif name == "kill_in_audit":
        from omni_clst.preparation import clips

        clips.append_jsonl = call_then(clips.append_jsonl, int(value), before=False)
    elif name == "kill_in_comparisons":
        from omni_clst.preparation import comparisons

        comparisons.append_jsonl = call_then(comparisons.append_jsonl, int(value), before=False)
    elif name == "kill_before_write":
        from omni_clst.preparation import run

        run.write_jsonl = call_then(run.write_jsonl, int(value), before=True)
    elif name == "dump_weights":

        def on_train_end(self, args, state, control, model=None, **kwargs):
            import torch

            trained = {key: p.detach().clone() for key, p in model.named_parameters() if p.requires_grad}
            torch.save(trained, Path(value) / f"rank{os.environ.get('RANK', '0')}.pt")

        metrics_log.MetricsLog.on_train_end = on_train_end
    else:
        raise ValueError(hook)


if __name__ == "__main__":
    entry, hook, *arguments = sys.argv[1:]
    for part in hook.split("+"):
        install(part)
    from omni_clst.errors import run_main

    sys.argv[1:] = arguments
    run_main(__import__(entry).main, resumes=True)
    for call in AT_END:
        call()
