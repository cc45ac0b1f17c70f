"""Decoding in reserved room against the plain loop, token by token; its step on a stand-in for a CUDA graph."""

import copy
from dataclasses import replace

import pytest
import torch
from tape import Capture, Tape, stand_in_for_graphs
from tiny_world import make_base, write_train_file

from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.layouts import read_samples
from omni_clst.data.prompts import make_prompt
from omni_clst.devices import choose_device
from omni_clst.model import static_decoding
from omni_clst.model.checkpoints import find_checkpoint, load_processor, load_thinker
from omni_clst.model.cuda_graph import GraphedStep
from omni_clst.model.engine import HFEngine
from omni_clst.model.lora import add_lora, make_lora
from omni_clst.model.merged_adapter import adapter_merged
from omni_clst.model.sampling import Sampling
from omni_clst.model.static_decoding import choose_decoding

NEW_TOKENS = 30
SAMPLINGS = {
    "greedy": Sampling(NEW_TOKENS),
    "sampled": Sampling(NEW_TOKENS, 1.2),
    "top-k": Sampling(NEW_TOKENS, 1.2, top_k=20),
    "nucleus": Sampling(NEW_TOKENS, 0.9, top_p=0.8, min_p=0.01),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny model without and with an adapter, an encoder, and prompts of three lengths with clips of three lengths."""
    folder = tmp_path_factory.mktemp("static")
    checkpoint = find_checkpoint(str(make_base(folder / "base")))
    encoder = OmniEncoder(load_processor(checkpoint), make_prompt("demo_selective", ""), 30.0)
    samples = read_samples(str(write_train_file(folder, 3)), None)
    questions = ("which sound ?", "what sound comes first ?", "how many times is the hiss heard in it ?")
    examples = [encoder.encode(replace(s, question=q)) for s, q in zip(samples, questions, strict=True)]
    assert len({len(example.input_ids) for example in examples}) == 3
    models = {"full": load_thinker(checkpoint, torch.float32)}
    torch.manual_seed(0)
    model = load_thinker(checkpoint, torch.float32)
    models["lora"] = add_lora(model, str(folder), make_lora(model, 4, 8.0), float32=True)
    for parameter in models["lora"].parameters():
        if parameter.requires_grad:
            parameter.data = 0.1 * torch.randn_like(parameter)
    for model in models.values():
        model.requires_grad_(False)
    return models, encoder, examples


def generate(world, model, sampling, decoding, copies=3, end_ids=None, **settings):
    """The completions of all prompts, one list."""
    _, encoder, examples = world
    engine = HFEngine(model, encoder, sampling, decoding=decoding, **settings)
    engine.end_ids = encoder.end_ids if end_ids is None else end_ids
    groups = engine.generate(examples, [3, 4, 5], copies)
    assert [len(group) for group in groups] == [copies] * len(examples)
    return [completion for group in groups for completion in group]


def ends_of(world, model, sampling) -> list[int]:
    """Tokens that end completions at different steps, one of them at the first."""
    completions = generate(world, model, sampling, "plain", end_ids=[])
    return [completions[0].token_ids[0], completions[4].token_ids[9], completions[8].token_ids[17]]


def require_equal(found, expected, within=1e-5) -> None:
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    assert [one.text for one in found] == [one.text for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=within)


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("name", ["full", "lora", "merged"])
def test_static_decoding_repeats_the_plain_loop(world, name, sampling):
    """Ragged prompts, three completions each, ends at different steps; and none that ends."""
    model = world[0]["full" if name == "full" else "lora"]
    ends = ends_of(world, model, sampling)
    with adapter_merged(model) if name == "merged" else torch.no_grad():
        expected = generate(world, model, sampling, "plain", end_ids=ends)
        assert len({one.tokens for one in expected}) > (2 if sampling.temperature else 1)
        require_equal(generate(world, model, sampling, "static", end_ids=ends), expected)
        require_equal(
            generate(world, model, sampling, "static", end_ids=[]), generate(world, model, sampling, "plain", end_ids=[])
        )


@pytest.mark.parametrize(
    ("copies", "new_tokens", "settings"),
    [
        (1, NEW_TOKENS, {}),
        (5, 2, {}),
        (2, 1, {}),
        (4, 12, {"completions_at_once": 3}),
        (2, 12, {"prefill_tokens": 1}),
    ],
    ids=["one completion", "two tokens", "one token", "groups in parts", "prefilled one by one"],
)
def test_static_decoding_repeats_the_plain_loop_for_other_shapes(world, copies, new_tokens, settings):
    sampling = Sampling(new_tokens, 1.2)
    ways = [generate(world, world[0]["full"], sampling, way, copies, **settings) for way in ("static", "plain")]
    require_equal(*ways)


def test_decoding_ends_when_all_completions_have(world, monkeypatch):
    """All end at the first token: it is chosen from the prefill, and no step is computed."""
    model, sampling = world[0]["full"], Sampling(NEW_TOKENS)
    steps = []
    monkeypatch.setattr(static_decoding, "graphed", lambda lanes, device: lambda: (steps.append(1), lanes.step()))
    firsts = [one.token_ids[0] for one in generate(world, model, sampling, "plain", end_ids=[])]
    assert {one.tokens for one in generate(world, model, sampling, "static", end_ids=firsts)} == {1}
    assert not steps


@pytest.fixture
def tapes(monkeypatch):
    """Stand-ins for CUDA graphs, and static decoding that uses them on the CPU."""
    monkeypatch.setattr(GraphedStep, "can_capture", True)
    monkeypatch.setattr(GraphedStep, "is_checked", False)
    monkeypatch.setattr(static_decoding, "graphed", lambda lanes, device: GraphedStep(lanes))
    return stand_in_for_graphs(monkeypatch)


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("name", ["full", "lora"])
def test_captured_step_repeats_the_plain_loop(world, tapes, name, sampling):
    """What a step computes may not depend on numbers that Python had at the capture, and it may wait for nothing."""
    model = world[0][name]
    ends = ends_of(world, model, sampling)
    expected = generate(world, model, sampling, "plain", end_ids=ends)
    require_equal(generate(world, model, sampling, "static", end_ids=ends), expected)
    require_equal(
        generate(world, model, sampling, "static", end_ids=[]), generate(world, model, sampling, "plain", end_ids=[])
    )
    assert [tape.replays for tape in tapes][-1] == NEW_TOKENS - 1 - 3  # the first token is the prefill's, three warm up


def test_step_that_cannot_be_captured_runs_as_it_is_and_says_why_once(world, tapes, monkeypatch, capsys):
    model, sampling = world[0]["full"], Sampling(12, 1.2)
    expected = generate(world, model, sampling, "plain")

    def refuse(self, error_mode):
        raise RuntimeError("CUDA error: operation not permitted\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(Capture, "__enter__", lambda self: refuse(self, ""))
    for _ in range(2):
        require_equal(generate(world, model, sampling, "static"), expected)
    assert capsys.readouterr().out.splitlines() == [
        "warning: no CUDA graph of a decoding step (CUDA error: operation not permitted): decoding goes on kernel by "
        "kernel, slower"
    ]


def test_graph_whose_result_is_another_one_is_not_used(world, tapes, monkeypatch, capsys):
    """Here one that computes nothing: its tokens are those of the step before."""
    model, sampling = world[0]["full"], Sampling(12, 1.2)
    expected = generate(world, model, sampling, "plain")
    monkeypatch.setattr(Tape, "replay", lambda tape: None)
    for _ in range(2):
        require_equal(generate(world, model, sampling, "static"), expected)
    assert len(tapes) == 1
    assert "its result is another one in 100% of the completions): decoding goes on kernel" in capsys.readouterr().out


def test_capture_refuses_a_step_that_waits_for_the_device():
    """The stand-in notices what a real capture would end with."""
    number = torch.zeros(1)
    for step in (lambda: number.item(), lambda: number.add_(torch.tensor([1.0])), lambda: number[number > 0]):
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"), Capture(Tape(), "thread_local"):
            step()


def test_number_that_was_baked_into_a_capture_is_noticed():
    """The stand-in repeats the captured number: a step that counts in Python would write one place again and again."""
    room, count = torch.zeros(3), [0]

    def step() -> None:
        room[count[0]] += 1
        count[0] += 1

    tape = Tape()
    with Capture(tape, "thread_local"):
        step()
    assert room.tolist() == [0, 0, 0]
    tape.replay()
    tape.replay()
    assert room.tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    ("setting", "device", "is_sharded", "chosen"),
    [
        ("auto", "cuda", False, "static"),
        ("auto", "cuda", True, "plain"),
        ("auto", "cpu", False, "plain"),
        ("static", "cpu", False, "static"),
        ("plain", "cuda", False, "plain"),
    ],
)
def test_choice_of_decoding(setting, device, is_sharded, chosen):
    assert choose_decoding(setting, torch.device(device), is_sharded) == chosen


def test_merged_adapter_changes_no_completion_and_no_weight(world):
    """Log-probabilities within 1e-4, and the base afterwards bit by bit as before, in float32 and in bfloat16."""
    model, sampling = world[0]["lora"], Sampling(NEW_TOKENS, 1.2)
    expected = generate(world, model, sampling, "plain")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with adapter_merged(model):
        found = generate(world, model, sampling, "plain")
        assert any(not torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
    require_equal(generate(world, model, sampling, "plain"), expected)
    model = copy.deepcopy(model).bfloat16()
    before |= {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), adapter_merged(model):
        raise KeyboardInterrupt
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_merged_adapter_computes_none_of_its_products(world):
    model = world[0]["lora"]
    adapters = [module for name, module in model.named_modules() if name.endswith("lora_A.default")]
    calls = []
    hooks = [module.register_forward_hook(lambda *_: calls.append(1)) for module in adapters]
    generate(world, model, Sampling(2), "plain", copies=1)
    assert len(calls) == 2 * len(adapters)
    with adapter_merged(model):
        generate(world, model, Sampling(2), "plain", copies=1)
    assert len(calls) == 2 * len(adapters)
    for hook in hooks:
        hook.remove()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("name", ["full", "lora", "merged"])
def test_graph_repeats_the_plain_loop_on_a_gpu(world, name, sampling, monkeypatch, capsys):
    monkeypatch.setattr(GraphedStep, "can_capture", True)
    monkeypatch.setattr(GraphedStep, "is_checked", False)
    model = copy.deepcopy(world[0]["full" if name == "full" else "lora"]).to(choose_device("cuda"))
    with adapter_merged(model) if name == "merged" else torch.no_grad():
        ends = ends_of(world, model, sampling)
        for end_ids in (ends, []):
            expected = generate(world, model, sampling, "plain", end_ids=end_ids)
            require_equal(generate(world, model, sampling, "static", end_ids=end_ids), expected, within=1e-4)
    assert GraphedStep.can_capture, capsys.readouterr().out
