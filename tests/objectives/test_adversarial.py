"""The losses against the papers' formulas, their gradients, and what the best discriminator would say."""

import math

import pytest
import torch

from lightning_gen.objectives import adversarial
from lightning_gen.objectives.adversarial import jensen_shannon

REAL = torch.tensor([1.3, -0.4, 2.0], dtype=torch.float64, requires_grad=True)
FAKE = torch.tensor([-0.7, 0.2, 0.9], dtype=torch.float64, requires_grad=True)
d_real, d_fake = REAL.detach().sigmoid(), FAKE.detach().sigmoid()
real, fake = REAL.detach(), FAKE.detach()
pair = (real - fake).sigmoid()

FORMULAS = {  # discriminator and generator, as the papers write them
    "NonSaturating": (-d_real.log() - (1 - d_fake).log(), -d_fake.log()),
    "Minimax": (-d_real.log() - (1 - d_fake).log(), (1 - d_fake).log()),
    "LeastSquares": (((real - 1) ** 2 + fake**2) / 2, (fake - 1) ** 2 / 2),
    "Hinge": (-(real - 1).clamp(max=0) - (-fake - 1).clamp(max=0), -fake),
    "Wasserstein": (fake - real, -fake),
    "RelativisticPaired": (-pair.log(), -(1 - pair).log()),
    "RelativisticAverage": (
        -(real - fake.mean()).sigmoid().log() - (1 - (fake - real.mean()).sigmoid()).log(),
        -(fake - real.mean()).sigmoid().log() - (1 - (real - fake.mean()).sigmoid()).log(),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_are_the_formulas_of_the_papers(name):
    loss = getattr(adversarial, name)()
    torch.testing.assert_close(loss.discriminator(real, fake), FORMULAS[name][0])
    torch.testing.assert_close(loss.generator(fake, real), FORMULAS[name][1])


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_agree_with_finite_differences(name):
    loss = getattr(adversarial, name)()
    assert torch.autograd.gradcheck(loss.discriminator, (REAL, FAKE))
    assert torch.autograd.gradcheck(lambda f, r: loss.generator(f, r), (FAKE, REAL))


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_stay_finite_for_any_logit(name):
    loss, far = getattr(adversarial, name)(), torch.tensor([1e4, -1e4, 0.0])
    for one in (far, -far):
        assert loss.discriminator(far, one).isfinite().all()
        assert loss.generator(one, far).isfinite().all()


@pytest.mark.parametrize(
    ("name", "at_chance"),
    [("NonSaturating", (math.log(4), math.log(2))), ("Minimax", (math.log(4), -math.log(2)))],
)
def test_value_at_a_discriminator_that_cannot_tell(name, at_chance):
    loss, zeros = getattr(adversarial, name)(), torch.zeros(2, dtype=torch.float64)
    assert loss.discriminator(zeros, zeros).tolist() == pytest.approx([at_chance[0]] * 2)
    assert loss.generator(zeros).tolist() == pytest.approx([at_chance[1]] * 2)


def test_jensen_shannon_of_the_best_discriminator_is_the_divergence():
    """Two normal distributions: the log odds of the best discriminator are log p - log q (proposition 1)."""
    p, q = (torch.distributions.Normal(torch.tensor(m, dtype=torch.float64), 1.0) for m in (0.0, 1.5))
    x = torch.linspace(-12, 14, 20_001, dtype=torch.float64)
    middle = torch.logaddexp(p.log_prob(x), q.log_prob(x)) - math.log(2)
    kl = [torch.trapezoid(d.log_prob(x).exp() * (d.log_prob(x) - middle), x) for d in (p, q)]
    exact = float(sum(kl) / 2)
    torch.manual_seed(0)
    n = 400_000
    drawn = p.sample((n,)), q.sample((n,))
    best = [p.log_prob(s) - q.log_prob(s) for s in drawn]
    assert float(jensen_shannon(*best)) == pytest.approx(exact, abs=2e-3)  # 4 standard errors
    worse = [0.3 * logits + 0.5 for logits in best]
    assert float(jensen_shannon(*worse)) < exact - 0.01


def test_jensen_shannon_has_its_bounds():
    zeros = torch.zeros(4)
    assert float(jensen_shannon(zeros, zeros)) == pytest.approx(0, abs=1e-6)
    assert float(jensen_shannon(zeros + 50, zeros - 50)) == pytest.approx(math.log(2))


def test_accuracy_is_half_by_each_kind():
    logits = torch.tensor([2.0, -2.0])
    assert float(adversarial.Hinge().accuracy(logits, logits - 9).mean()) == 0.75
    assert (
        float(adversarial.LeastSquares().accuracy(torch.tensor([0.6, 0.4]), torch.tensor([0.4, 0.6])).mean()) == 0.5
    )
    assert float(adversarial.Wasserstein().accuracy(logits, logits - 1).mean()) == 1.0
