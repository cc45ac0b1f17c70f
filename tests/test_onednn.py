"""oneDNN's linear layers against torch's own."""

import pytest
import torch

from omni_clst.model.onednn import OneDNNLinear, use_onednn


def pair(bias: bool) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    torch.manual_seed(0)
    plain = torch.nn.Linear(24, 40, bias=bias)
    ours = torch.nn.Linear(24, 40, bias=bias)
    ours.load_state_dict(plain.state_dict())
    use_onednn(ours)
    return plain, ours


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 24), (7, 24), (2, 3, 24), (2, 24, 5)], ids=str)
def test_products_and_gradients_equal_torchs(bias, shape):
    """The last shape is handed over transposed: not contiguous."""
    plain, ours = pair(bias)
    assert type(ours) is OneDNNLinear
    torch.manual_seed(1)
    values = torch.randn(shape)
    found = []
    for layer in (plain, ours):
        rows = values.clone().requires_grad_()
        output = layer(rows.transpose(1, 2) if shape[-1] != 24 else rows)
        output.sin().sum().backward()
        found.append([output.detach(), rows.grad, *(parameter.grad for parameter in layer.parameters())])
    for expected, got in zip(*found, strict=True):
        assert torch.allclose(got, expected, atol=1e-5)


def test_frozen_weight_gets_no_gradient():
    _, ours = pair(True)
    ours.requires_grad_(False)
    rows = torch.randn(3, 24, requires_grad=True)
    ours(rows).sum().backward()
    assert rows.grad is not None and ours.weight.grad is None and ours.bias.grad is None


def test_what_onednn_is_not_for_goes_to_torch(monkeypatch):
    """No rows, another dtype, autocast."""
    plain, ours = pair(True)
    monkeypatch.setattr("omni_clst.model.onednn._multiply", None)
    assert ours(torch.zeros(0, 24)).shape == (0, 40)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(torch.zeros(2, 24)).dtype == torch.bfloat16
    rows = torch.randn(2, 24)
    assert torch.equal(ours.double()(rows.double()), plain.double()(rows.double()))


def test_layers_of_another_kind_stay():
    class Other(torch.nn.Linear):
        pass

    model = torch.nn.Sequential(Other(2, 2), torch.nn.Linear(2, 2))
    use_onednn(model)
    assert [type(layer) for layer in model] == [Other, OneDNNLinear]
