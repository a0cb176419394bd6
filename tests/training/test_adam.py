"""Updates with collected lists are those of `Optimizer.step`, to the bit."""

import copy

import pytest
import torch
from torch import nn

from lightning_gen.training.adam import MOST_PIECES, PIECE, Updates, collected, in_pieces
from tests.helpers import assert_same

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OPTIMIZERS = {
    "adam": lambda groups: torch.optim.Adam(groups, lr=1e-2, betas=(0.5, 0.9), weight_decay=0.1, fused=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-2, eps=1e-4, fused=True),
    "maximize": lambda groups: torch.optim.Adam(groups, lr=1e-2, maximize=True, fused=True),
    "amsgrad": lambda groups: torch.optim.Adam(groups, lr=1e-2, amsgrad=True, fused=True),
    "not fused": lambda groups: torch.optim.Adam(groups, lr=1e-2, foreach=True),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9),
}
DIRECT = ("adam", "adamw", "maximize")


def networks(name):
    """Two equal networks, each with an optimizer of two groups."""
    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(DEVICE)
    both = (one, copy.deepcopy(one))
    groups = [[{"params": net[0].parameters()}, {"params": net[1].parameters(), "lr": 1e-3}] for net in both]
    return both, [OPTIMIZERS[name](of) for of in groups]


def give_gradients(both, leave_out=None):
    torch.manual_seed(1)
    for places in zip(*(net.parameters() for net in both), strict=True):
        gradient = torch.randn_like(places[0])
        for parameter in places:
            parameter.grad = gradient.clone()
    if leave_out is not None:
        for net in both:
            net[leave_out].bias.grad = None


def assert_equal(both, optimizers):
    assert_same(both[0].state_dict(), both[1].state_dict())
    assert_same(*(optimizer.state_dict()["state"] for optimizer in optimizers))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_bits_as_step(name):
    both, (one, other) = networks(name)
    updates = Updates(other)
    for number in range(12):
        give_gradients(both, leave_out=1 if number == 5 else None)
        if number == 3:
            one.param_groups[0]["lr"] = other.param_groups[0]["lr"] = 0.5  # as a schedule does
        if number == 7:
            other.load_state_dict(copy.deepcopy(one.state_dict()))  # as a resumed run does
        one.step()
        updates()
        assert_equal(both, (one, other))
    assert bool(updates.groups) == (name in DIRECT)


def test_a_parameter_without_gradients_at_first():
    both, (one, other) = networks("adam")
    updates = Updates(other)
    for number in range(4):
        give_gradients(both, leave_out=0 if number < 2 else None)
        one.step()
        updates()
        assert_equal(both, (one, other))


def test_a_group_that_is_added_later_is_updated():
    both, (one, other) = networks("adam")
    more = [nn.Linear(2, 2, device=DEVICE) for _ in both]
    more[1].load_state_dict(more[0].state_dict())
    updates = Updates(other)
    for number in range(3):
        if number == 1:
            for optimizer, layer in zip((one, other), more, strict=True):
                optimizer.add_param_group({"params": layer.parameters()})
        give_gradients([nn.Sequential(*net, layer) for net, layer in zip(both, more, strict=True)])
        one.step()
        updates()
        assert_equal(both, (one, other))
        assert_same(more[0].state_dict(), more[1].state_dict())


def test_step_is_called_once_and_again_while_there_are_hooks(monkeypatch):
    both, (_, optimizer) = networks("adam")
    called = []
    step = optimizer.step
    monkeypatch.setattr(optimizer, "step", lambda: (called.append(1), step()))
    updates = Updates(optimizer)
    for _ in range(3):
        give_gradients(both)
        updates()
    assert len(called) == 1
    hook = optimizer.register_step_post_hook(lambda *_: None)
    updates()
    hook.remove()
    updates()
    assert len(called) == 2


def test_parameters_of_two_kinds_are_left_to_step():
    weights = [nn.Parameter(torch.ones(2, dtype=dtype)) for dtype in (torch.float32, torch.float64)]
    optimizer = torch.optim.Adam(weights, fused=True)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert collected(optimizer) == []


def test_pieces_are_updated_to_the_same_bits():
    torch.manual_seed(0)
    one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(0), nn.Linear(2 * PIECE // 100, 101)).to(DEVICE)
    one.to(memory_format=torch.channels_last)
    both = (one, copy.deepcopy(one))
    ours, theirs = (torch.optim.Adam(net.parameters(), fused=True) for net in both)
    updates = Updates(ours)
    for number in range(4):
        give_gradients(both)
        if number:
            ours.param_groups[0]["capturable"] = True  # as while a step is recorded
        updates()
        theirs.step()
        assert_equal(both, [ours, theirs])


def test_a_tensor_is_divided_in_order():
    tensors = [[torch.arange(2.0 * PIECE + 5), torch.tensor(3.0)]] * 4
    counts = [torch.tensor(1.0), torch.tensor(2.0)]
    divided, repeated = in_pieces(tensors, counts)
    assert [[len(piece) for piece in some] for some in divided] == [[PIECE, PIECE, 5, 1]] * 4
    assert all(a is b for a, b in zip(repeated, [counts[0]] * 3 + [counts[1]], strict=True))
    torch.testing.assert_close(torch.cat(divided[1][:3]), tensors[1][0], rtol=0, atol=0)
    large = [[torch.zeros(PIECE * MOST_PIECES + 1)]] * 4
    assert in_pieces(large, counts[:1])[0] is large
