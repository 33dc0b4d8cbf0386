"""The command line of train_classification.py."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from classifiers import norm_of, usual_size

from ssn_prune.nn.single_gate import vertex_radius

# What may differ when a training is resumed.
FREE_ON_RESUME = ("train", "val", "output", "resume", "workers", "costs")


def arguments(argv: Sequence[str] | None, description: str) -> argparse.Namespace:
    """The command line, with defaults that depend on other options filled in."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--train", type=Path, required=True, help="class folders, or a zip of them")
    add("--val", type=Path, required=True, help="the same classes for validation")
    add("--output", type=Path, default=Path("runs/classification"), help="folder for the files")
    add("--arch", help="network (default: torchvision:resnet18, with --cifar cifar-resnet)")
    add("--norm", choices=("ssn", "sn", "bn"), help="default: ssn, or what the network is named")
    add("--cifar", action="store_true", help="small images: shifts and flips only, size 32")
    add("--size", type=int, help="pixels a side (default: the network's usual)")
    add("--epochs", type=int, default=100)
    add("--batch", type=int, default=32, help="images per process and step")
    add("--lr", type=float, default=0.1, help="for 256 images in all; scaled with their number")
    add("--weight-decay", type=float, default=1e-4)
    add("--radius-end", type=float, default=1.0, help="0.8165: the last gates decide at the end")
    add("--sync-statistics", action="store_true", help="BN over the images of all processes")
    add(
        "--freeze-selected",
        action="store_true",
        help="train on with lean layers",
    )
    add(
        "--latency-weight",
        type=float,
        help="add this times the latency of normalization, as a share of the network's, to the "
        "loss; measured here unless --costs is given",
    )
    add("--costs", type=Path, help="costs.json of `ssn-prune costs`, such as of another device")
    add("--amp", nargs="?", const="bf16", choices=("bf16", "fp16"), help="mixed precision")
    add("--resume", type=Path, help="checkpoint.pth of a training to resume")
    add("--seed", type=int, default=0)
    add("--limit", type=int, help="number of images to use of each set")
    add("--workers", type=int, default=2, help="processes that read images")
    args = parser.parse_args(argv)
    args.arch = args.arch or ("cifar-resnet" if args.cifar else "torchvision:resnet18")
    args.norm = norm_of(args.arch, args.norm)
    args.size = args.size or (32 if args.cifar else usual_size(args.arch))
    if args.radius_end < vertex_radius(3) * (1 - 1e-4):
        parser.error(f"a radius below {vertex_radius(3):.4f} leaves gates that are not one-hot")
    if args.freeze_selected and (args.norm != "ssn" or os.environ.get("WORLD_SIZE", "1") != "1"):
        parser.error(
            "--freeze-selected is for SSN layers in a single process: DistributedDataParallel "
            "would wait for the gradients of gates that are gone"
        )
    for option in ("sync_statistics", "latency_weight"):
        if getattr(args, option) and args.norm == "bn":
            parser.error(f"--{option.replace('_', '-')} is for SSN and SN layers")
    if args.costs is not None and args.latency_weight is None:
        parser.error("--costs is for --latency-weight")
    return args
