"""Train a ResNet or a MobileNetV2 with SSN on CIFAR-10: networks for results/search.md.

    python benchmarks/research/cifar_networks.py TRAIN.zip TEST.zip --network resnet
        --out resnet.pth [--epochs 12] [--images 50000] [--latency-weight 0.5]

The recipe and the ResNet are those of cifar_accuracy.py, with 128 images a step and no emulated
workers. The MobileNetV2 is torchvision's at width 0.35 with two strides removed, so that its last
maps have 4x4 pixels for images of 32x32. ``--latency-weight`` is the weight of
``ssn_prune.LatencyPenalty`` in the loss, with costs that are first measured here.

``ssn-prune search resnet.pth --arch cifar_networks:resnet`` takes the file, with this folder on
PYTHONPATH.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from cifar_accuracy import BASE_BATCH, BASE_LR, SmallResNet, predict, train
from cifar_data import Normalization, TrainingBatches, read_images
from torch import nn
from torchvision.models import MobileNetV2

from ssn_prune import SSN2d, convert_to_ssn, load_checkpoint, measure_costs
from ssn_prune.training.latency import LatencyPenalty

INPUT = (3, 32, 32)
# Expansion, channels, blocks, stride: torchvision's, without the strides of the second and sixth.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 1),
    (6, 320, 1, 1),
)


def resnet() -> nn.Module:
    """The network of cifar_accuracy.py with SSN."""
    return SmallResNet(SSN2d)


def mobilenet() -> nn.Module:
    """MobileNetV2 for images of 32x32 with SSN."""
    stages = [list(stage) for stage in _STAGES]
    plain = MobileNetV2(num_classes=10, width_mult=0.35, inverted_residual_setting=stages)
    plain.input_size = INPUT
    return convert_to_ssn(plain, inplace=True).model


NETWORKS = {"resnet": resnet, "mobilenet": mobilenet}


def penalty_of(network: str, model: nn.Module, weight: float, out: Path) -> LatencyPenalty:
    """The penalty, with costs that are measured on this machine."""
    torch.save({"state_dict": model.state_dict()}, out)
    untrained = load_checkpoint(out, arch=f"cifar_networks:{network}", input_size=INPUT)
    return LatencyPenalty(model, measure_costs(untrained), weight=weight)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--test-images", type=int, default=10_000)
    parser.add_argument("--latency-weight", type=float)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    training = read_images(arguments.train, arguments.images)
    test = read_images(arguments.test, arguments.test_images)
    normalize = Normalization(training)
    torch.manual_seed(arguments.seed)
    model = NETWORKS[arguments.network]()
    penalty = None
    if arguments.latency_weight is not None:
        penalty = penalty_of(arguments.network, model, arguments.latency_weight, arguments.out)
    start = time.perf_counter()
    batches = TrainingBatches(training, BASE_BATCH, normalize, arguments.seed)
    loss = train(model, "SSN", batches, BASE_LR, arguments.epochs, penalty)
    seconds = time.perf_counter() - start
    labels = predict(model, normalize(test.pixels))
    accuracy = float((labels == test.labels).double().mean())
    torch.save({"state_dict": model.state_dict()}, arguments.out)
    print(
        f"{arguments.network}, latency weight {arguments.latency_weight}: {accuracy:.1%} of "
        f"{len(test)} test images, loss {loss:.3f}, {seconds:.0f} s; "
        f"mean {normalize.mean.flatten().tolist()}, std {normalize.std.flatten().tolist()}",
        flush=True,
    )


if __name__ == "__main__":
    main()
