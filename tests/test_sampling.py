"""Tokens and their log-probabilities come from the same distribution."""

from collections import Counter

import pytest
import torch

from omni_clst.model.sampling import SampledScores, Sampling, TokenChooser, derive_seed, token_log_probs

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, 5.0], [0.0, 0.0, 3.0, 0.0, 9.0]])
CPU = torch.device("cpu")


def probabilities(**settings) -> list[list[float]]:
    return token_log_probs(LOGITS, Sampling(4, **settings), suppressed=[4]).exp().tolist()


def test_suppressed_tokens_have_no_probability_and_the_others_share_it():
    for row, logits in zip(probabilities(temperature=1.0), LOGITS, strict=True):
        assert row[4] == 0.0
        assert row[:4] == pytest.approx(logits[:4].softmax(dim=-1).tolist())


def test_temperature_divides_the_logits():
    assert probabilities(temperature=2.0)[0][:4] == pytest.approx((LOGITS[0, :4] / 2).softmax(dim=-1).tolist())


def test_top_k_keeps_the_k_largest():
    assert probabilities(temperature=1.0, top_k=2)[0] == pytest.approx(
        [*LOGITS[0, :2].softmax(dim=-1).tolist(), 0.0, 0.0, 0.0]
    )


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    """Probabilities 0.64, 0.24, 0.09, 0.03: two tokens reach 0.8, one reaches 0.6."""
    two, one = (probabilities(temperature=1.0, top_p=p)[0] for p in (0.8, 0.6))
    assert two[:2] == pytest.approx(LOGITS[0, :2].softmax(dim=-1).tolist())
    assert two[2:] == [0.0, 0.0, 0.0]
    assert one == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_min_p_is_a_share_of_the_likeliest():
    """0.24 and 0.09 of 0.64 are 37 % and 14 %."""
    assert [p > 0 for p in probabilities(temperature=1.0, min_p=0.2)[0]] == [True, True, False, False, False]


def test_sampled_token_that_left_the_top_k_keeps_a_probability():
    sampling = Sampling(4, temperature=1.0, top_k=1)
    log_probs = token_log_probs(LOGITS, sampling, [4], sampled=torch.tensor([3, 2]))
    assert log_probs[0, 3].exp().item() == pytest.approx(LOGITS[0, [0, 3]].softmax(dim=-1)[1].item())
    assert log_probs[1, 2].item() == 0.0
    assert torch.isinf(log_probs[0, [1, 2, 4]]).all()


def test_draws_follow_the_distribution():
    sampling = Sampling(4, temperature=1.2, top_k=3)
    chooser = TokenChooser(sampling, [4], [derive_seed("a"), derive_seed("b")], CPU)
    expected = token_log_probs(LOGITS, sampling, [4]).exp()
    count = 6000
    drawn = torch.stack([chooser.choose(LOGITS, torch.arange(2))[0] for _ in range(count)])
    for row in range(2):
        shares = [Counter(drawn[:, row].tolist())[token] / count for token in range(5)]
        assert shares == pytest.approx(expected[row].tolist(), abs=0.025)  # four standard deviations


def test_draw_depends_on_its_own_seed_alone():
    """Also when the rows before it have left the batch."""
    sampling = Sampling(4, temperature=1.0)
    alone = TokenChooser(sampling, [], [7], CPU)
    among = TokenChooser(sampling, [], [3, 7], CPU)
    for step in range(20):
        [expected], _ = alone.choose(LOGITS[1:], torch.tensor([0]))
        rows = torch.tensor([0, 1]) if step < 10 else torch.tensor([1])
        assert among.choose(LOGITS[rows], rows)[0][-1] == expected


def test_drawn_tokens_come_with_their_log_probs():
    chooser = TokenChooser(Sampling(4, temperature=1.5), [4], [1, 2], CPU)
    tokens, log_probs = chooser.choose(LOGITS, torch.arange(2))
    expected = token_log_probs(LOGITS, chooser.sampling, [4]).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    assert torch.equal(log_probs, expected)


def test_temperature_0_takes_the_likeliest_token_that_is_not_suppressed():
    chooser = TokenChooser(Sampling(4), [int(LOGITS[0].argmax())], [], CPU)
    expected = LOGITS[0].clone().index_fill(-1, chooser.suppressed, -torch.inf).argmax()
    assert chooser.choose(LOGITS, torch.arange(2))[0][0] == expected


def test_seeds_are_the_same_everywhere_and_differ_by_every_part():
    assert derive_seed(0, "x") == 691085905755292016
    assert len({derive_seed(0, "x"), derive_seed(0, "y"), derive_seed(1, "x"), derive_seed("0x")}) == 4


@pytest.mark.parametrize("settings", [{}, {"top_k": 2}, {"top_p": 0.7}, {"min_p": 0.2}])
@pytest.mark.parametrize("parts", [(1.0, 0.0), (0.0, 1.0), (1.0, 0.5)], ids=["log-probs", "entropy bonus", "both"])
def test_gradients_of_scores_equal_plain_autograd(settings, parts):
    sampling, sampled = Sampling(4, temperature=1.3, **settings), torch.tensor([0, 2])
    weights = torch.tensor([0.7, -1.1])
    gradients, values = [], []
    for plain in (True, False):
        logits = LOGITS.clone().requires_grad_()
        if plain:
            log_probs = token_log_probs(logits, sampling, [4], sampled)
            chosen = log_probs.gather(-1, sampled.unsqueeze(-1)).squeeze(-1)
            entropies = -(log_probs.exp() * log_probs.masked_fill(log_probs.isinf(), 0.0)).sum(dim=-1)
        else:
            chosen, entropies = SampledScores.apply(logits, sampling, [4], sampled)
        values.append((chosen.detach(), entropies.detach()))
        wanted = [share * (weights * part).sum() for share, part in zip(parts, (chosen, entropies), strict=True) if share]
        sum(wanted).backward()
        gradients.append(logits.grad)
    for expected, found in zip(*values, strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
    assert gradients[0].abs().max() > 0.01
    assert torch.allclose(gradients[1], gradients[0], atol=1e-6)
