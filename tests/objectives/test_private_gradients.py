"""The gradient of DP-SGD, and its accountant, against closed forms and another library."""

import pytest
import torch
from torch import nn

from lightning_gen.objectives.private_gradients import PrivateGradients, clipped_sum, default_delta
from lightning_gen.randomness import StepNoise

NOISE = StepNoise(0)


def linear(inputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 4), nn.Tanh(), nn.Linear(4, 1))


def square(network):
    return lambda noise, x, y: (network(x.unsqueeze(0)).squeeze() - y).square()


def mechanism(noise_multiplier=0.0, max_grad_norm=1.0, batch_size=5, seed=7):
    return PrivateGradients(noise_multiplier, max_grad_norm, batch_size, seed, lambda updates: float(updates))


def test_each_image_is_clipped_alone():
    network, x, y = linear(), torch.randn(5, 3) * 4, torch.randn(5)
    expected = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    clipped = 0
    for image, label in zip(x, y, strict=True):  # one ordinary backward pass for each
        network.zero_grad()
        square(network)(NOISE, image, label).backward()
        norm = nn.utils.get_total_norm([p.grad for p in network.parameters()])
        clipped += norm > 2
        for name, p in network.named_parameters():
            expected[name] += p.grad * (2 / norm).clamp_max(1)
    assert 0 < clipped < 5
    found = clipped_sum(network, square(network), (x, y), NOISE, max_norm=2.0)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_images_are_processed_in_parts_with_the_same_result(monkeypatch):
    network, x, y = linear(), torch.randn(5, 3), torch.randn(5)
    whole = clipped_sum(network, square(network), (x, y), NOISE, max_norm=0.5)
    monkeypatch.setattr("lightning_gen.objectives.private_gradients.AT_ONCE", 50)  # two images of 21 numbers
    parts = clipped_sum(network, square(network), (x, y), NOISE, max_norm=0.5)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient)


def test_one_image_changes_the_sum_by_the_clipping_norm_at_most():
    network, x, y = linear(), torch.randn(5, 3), torch.randn(5)
    x[4], y[4] = 1e3, -1e4
    neighbours = [clipped_sum(network, square(network), (x[:n], y[:n]), NOISE, max_norm=0.1) for n in (4, 5)]
    change = nn.utils.get_total_norm([neighbours[1][name] - neighbours[0][name] for name in neighbours[0]])
    assert float(change) == pytest.approx(0.1, rel=1e-4)


def test_the_surrogate_has_the_private_gradient():
    network, x, y = linear(), torch.randn(5, 3), torch.randn(5)
    total = clipped_sum(network, square(network), (x, y), NOISE, max_norm=1.0)
    loss, norm = mechanism()(network, square(network), (x, y), NOISE, update=0)
    loss.backward()
    for name, p in network.named_parameters():
        torch.testing.assert_close(p.grad, total[name] / 5)  # no noise here
    torch.testing.assert_close(norm, nn.utils.get_total_norm([p.grad for p in network.parameters()]))


def test_the_noise_has_its_deviation_and_is_that_of_the_update():
    network, nothing = nn.Linear(200, 200), (torch.zeros(0, 200),)

    def gradient(update):
        network.zero_grad()
        private = mechanism(noise_multiplier=3.0, max_grad_norm=0.5, batch_size=10)
        private(network, lambda noise, x: network(x).sum(), nothing, NOISE, update)[0].backward()
        return network.weight.grad.clone()

    assert float(gradient(0).std()) == pytest.approx(3.0 * 0.5 / 10, rel=0.02)  # of an empty batch: noise alone
    assert torch.equal(gradient(4), gradient(4))
    correlation = torch.corrcoef(torch.stack([gradient(0).flatten(), gradient(1).flatten()]))[0, 1]
    assert abs(float(correlation)) < 0.02


def test_each_image_has_noise_of_its_own():
    weight = nn.Linear(1, 1, bias=False)
    seen = StepNoise(3)
    loss = lambda noise, x: (weight.weight * noise.normal((1, 1), x.device)).sum()  # noqa: E731
    found = clipped_sum(weight, loss, (torch.zeros(6, 1),), seen, max_norm=1e9)["weight"]
    expected = StepNoise(3).normal((6, 1), torch.device("cpu")).sum()
    torch.testing.assert_close(found.squeeze(), expected)


@pytest.mark.parametrize(
    ("noise", "rate", "updates", "delta", "epsilon"),
    [  # of dp-accounting 0.6.0, RdpAccountant
        (4.0, 0.01, 10_000, 1e-5, 1.0354900660362436),
        (1.3, 250 / 60_000, 3_600, 1e-5, 0.9422002181626765),
        (2.0, 0.1, 500, 1e-4, 5.3219747467451555),
    ],
)
def test_epsilon_equals_that_of_another_accountant(noise, rate, updates, delta, epsilon):
    pytest.importorskip("opacus")
    from lightning_gen.objectives.accountant import epsilon_of

    spent = epsilon_of(noise, rate, delta)
    assert spent(updates) == pytest.approx(epsilon, rel=1e-6)
    assert spent(0) == 0


def test_the_solved_noise_spends_the_budget_and_not_more():
    pytest.importorskip("opacus")
    from lightning_gen.objectives.accountant import epsilon_of, noise_for

    noise = noise_for(2.0, rate=0.05, updates=200, delta=1e-4)
    assert 1.99 < epsilon_of(noise, 0.05, 1e-4)(200) <= 2.0


def test_delta_is_below_one_over_the_number_of_images():
    assert default_delta(1000) == pytest.approx(1000**-1.1)
