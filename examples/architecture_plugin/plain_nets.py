"""A plain convolutional network, conv-norm-ReLU three times, that ssn_prune knows by name.

Once this package is installed, checkpoints may say ``"arch": "plain_net"``, and so may the user:
``ssn-prune convert net.pth --arch plain_net``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssn_prune import Architecture, SSN2d, UsualPreprocessing


class PlainNet(nn.Module):
    """(N, 3, H, W) to logits (N, num_classes).

    Args:
        num_classes: Outputs of the classifier.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False))
            layers += [SSN2d(outputs), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images."""
        logits: Tensor = self.classifier(torch.flatten(self.features(x).mean((2, 3)), 1))
        return logits


PLAIN_NET = Architecture(
    "plain_net",
    PlainNet,
    input_size=(3, 32, 32),
    takes_correction=False,  # PlainNet has no argument of that name
    preprocessing=UsualPreprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
)
