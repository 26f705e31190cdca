"""Networks: their size, where their weights come from, the device."""

import numpy as np
import pytest
import torch
from torch import nn

from adamtut import nets


def test_the_default_network_has_535818_parameters():
    net = nets.mlp()
    assert nets.count(net) == 535_818 == 785 * 512 + 513 * 256 + 257 * 10
    kinds = [type(layer).__name__ for layer in net]
    assert kinds == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert net(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    net.linear1.weight.requires_grad_(False)
    assert nets.count(net) == 535_818 - 784 * 512


def test_weights_come_from_numpy_layer_by_layer():
    state = torch.get_rng_state()
    net = nets.mlp((20, 30, 5), seed=7)
    assert torch.equal(state, torch.get_rng_state())
    rng = np.random.default_rng(7)
    for layer, n_in, n_out in ((net.linear1, 20, 30), (net.linear2, 30, 5)):
        expected = rng.standard_normal((n_out, n_in)) * np.sqrt(2 / n_in)
        assert layer.weight.dtype == torch.float32
        assert np.array_equal(layer.weight.detach(), expected.astype(np.float32))
        assert not layer.bias.any()
        assert layer.weight.requires_grad and layer.bias.requires_grad
    assert not torch.equal(
        net.linear1.weight, nets.mlp((20, 30, 5), seed=8).linear1.weight
    )


def test_the_signal_keeps_its_scale_through_many_layers():
    net = nets.mlp((500,) * 12, seed=0)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((200, 500))).float()
    with torch.no_grad():
        ratio = (net[:-1](x).square().mean() / x.square().mean()).item()
    assert 0.3 < ratio < 3  # with a variance of 1 / fan_in it would be 2**-10


def test_initialise_counts_the_inputs_of_a_convolution():
    net = nn.Sequential(nn.Conv2d(8, 400, 3, bias=False), nn.BatchNorm2d(400))
    assert nets.initialise(net, 1) is net
    assert net[0].weight.std().item() == pytest.approx(np.sqrt(2 / 72), rel=0.02)
    assert (net[1].weight == 1).all()


@pytest.mark.parametrize(
    "sizes", [(), (10,), (10, 0), (10, -3, 2), (10, 2.5), ("a", "b"), 10, None]
)
def test_bad_sizes_are_named(sizes):
    with pytest.raises(ValueError, match="sizes=.*whole numbers") as caught:
        nets.mlp(sizes)
    assert repr(sizes) in str(caught.value)


def test_a_bad_seed_is_named():
    with pytest.raises(ValueError, match="seed=-1"):
        nets.mlp((2, 1), seed=-1)


def test_device_is_automatic_and_repeats_itself():
    chosen = nets.device()
    assert chosen.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert nets.device("cpu") == torch.device("cpu")
    assert nets.device(torch.device("cpu")) == torch.device("cpu")
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", ["abacus", "cuda:99", 1.5])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match="device=.*not available"):
        nets.device(name)
