"""What freeze_selected refuses, before it has changed anything."""

import pytest
from torch import nn

from ssn_prune import SSN2d, SwitchNorm2d
from ssn_prune.errors import NoSwitchableLayerError, UnconvergedGatesError, UnsupportedLayerError
from ssn_prune.normalizer import Normalizer
from ssn_prune.surgery.freeze import freeze_selected

IN, LN, BN = Normalizer


def attributes(model):
    return [(n, id(m), *map(id, m._parameters.values())) for n, m in model.named_modules()]


class Doubled(SSN2d):
    def forward(self, input):
        return 2 * super().forward(input)


class Exponential(nn.Module):
    def forward(self, x):
        return x.exp()


def computed():
    layer = SSN2d(4)
    nn.utils.parametrize.register_parametrization(layer, "weight", Exponential())
    return layer


@pytest.mark.parametrize(
    ("last", "error", "message"),
    [
        (SSN2d(4), UnconvergedGatesError, "1 of 3 layers have gates that are not one-hot"),
        (SwitchNorm2d(4), UnconvergedGatesError, "1 of 3 layers have gates that are not one-hot"),
        (
            Doubled(4),
            UnsupportedLayerError,
            "is a subclass of SSN2d with its own forward",
        ),
        (
            computed(),
            UnsupportedLayerError,
            "2 has a weight that is computed from other",
        ),
    ],
    ids=["soft", "SN", "subclass", "parametrized"],
)
def test_what_cannot_be_swapped_leaves_the_network_as_it_was(last, error, message):
    model = nn.Sequential(SSN2d(4), SSN2d(4), last)
    model[0].fix(IN, BN), model[1].fix(IN, IN)
    if error is UnsupportedLayerError:
        last.fix(BN, BN)
    before = attributes(model)
    with pytest.raises(error, match=message):
        freeze_selected(model)
    assert attributes(model) == before


def test_a_network_without_layers_is_refused():
    with pytest.raises(NoSwitchableLayerError):
        freeze_selected(nn.Sequential(nn.BatchNorm2d(3)))
