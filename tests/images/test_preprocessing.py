"""Pictures to inputs: against torchvision and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from small_images import GREY, noise
from torchvision.transforms import v2

from ssn_prune.architectures.registry import find_architecture
from ssn_prune.architectures.usual_preprocessing import UsualPreprocessing
from ssn_prune.errors import ArgumentError, DataError
from ssn_prune.images.pixels import normalized, pixels_behind, pixels_of
from ssn_prune.images.preprocessing import Preprocessing, preprocessing_for

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "size"), [(None, (21, 17)), (32, (24, 20)), (24, (24, 24))])
@pytest.mark.parametrize("picture", [(60, 43, 3), (31, 90, 3), (24, 24, 3)])
def test_an_input_is_what_torchvision_makes_of_the_picture(picture, resize, size, interpolation):
    image = Image.fromarray(noise(0, picture))
    mode = v2.InterpolationMode(interpolation)
    steps = [v2.Resize(size, mode)] if resize is None else [v2.Resize(resize, mode)]
    steps += [v2.CenterCrop(size), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    expected = v2.Compose([*steps, v2.Normalize(MEAN, STD)])(image)
    ours = Preprocessing((3, *size), MEAN, STD, resize, interpolation)
    value = normalized(pixels_of(image, ours)[None], ours)[0]
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)


def test_an_affine_of_bytes_is_the_formula_in_float64():
    ours = Preprocessing((3, 16, 16), MEAN, STD)
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (MEAN, STD))
    exact = (pixels.double() / 255 - mean) / std
    error = (normalized(pixels, ours).double() - exact).abs().max()
    assert torch.equal(pixels_behind(normalized(pixels, ours), ours), pixels)
    assert 0 < error < 5e-7  # values to 2.6: one rounding of scale, shift, product and sum


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(noise(1)), lambda: noise(1)),
        (Image.fromarray(noise(1).astype(np.uint16) * 257), lambda: noise(1)),
        (Image.fromarray(noise(1) > 99), lambda: (noise(1) > 99) * np.uint8(255)),
        (Image.merge("LA", [Image.fromarray(noise(1))] * 2), lambda: noise(1)),
        (Image.fromarray(noise(1)).convert("P"), lambda: noise(1)),
    ],
    ids=["grey", "16 bits", "one bit", "alpha", "palette"],
)
def test_a_grey_picture_of_any_mode_has_equal_channels(image, expected):
    for channels in (1, 3):
        ours = Preprocessing((channels, 8, 8), (0.5,) * channels, (0.5,) * channels)
        pixels = pixels_of(image, ours)
        assert pixels.shape == (channels, 8, 8)
        assert all(np.array_equal(plane, expected()) for plane in pixels)


def test_a_coloured_picture_becomes_grey_for_one_channel():
    colours = noise(2, (8, 8, 3))
    luma = colours @ np.array([0.299, 0.587, 0.114])
    found = pixels_of(Image.fromarray(colours), GREY)[0].numpy()
    assert np.abs(found - luma).max() < 1


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(DataError, match="takes 4"):
        pixels_of(Image.fromarray(noise(0)), Preprocessing((4, 8, 8), (0.5,) * 4, (0.5,) * 4))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mean": (0.5,)}, "one number for each channel"),
        ({"mean": (0.5, 0.5, float("nan"))}, "finite"),
        ({"std": (0.5, 0.0, 0.5)}, "not positive"),
        ({"resize": 7}, "resize=8"),
        ({"interpolation": "cubic"}, "bicubic"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(fields, words):
    known = {"size": (3, 8, 8), "mean": MEAN, "std": STD}
    with pytest.raises(ArgumentError, match=words):
        Preprocessing(**known | fields)


def test_what_is_given_goes_before_what_is_known():
    usual = UsualPreprocessing(MEAN, STD, 0.875, "bicubic")
    found = preprocessing_for((3, 224, 224), usual)
    assert (found.mean, found.std, found.resize, found.interpolation) == (MEAN, STD, 256, "bicubic")
    given = preprocessing_for((3, 64, 64), usual, mean=[0.5], std=[0.25], resize=70)
    assert (given.mean, given.std, given.resize) == ((0.5,) * 3, (0.25,) * 3, 70)
    assert preprocessing_for((3, 8, 8), None) is None
    assert preprocessing_for((1, 8, 8), usual) is None  # a library's network with other channels
    assert preprocessing_for((64,), usual) is None
    with pytest.raises(ArgumentError, match="belong together"):
        preprocessing_for((3, 8, 8), None, mean=[0.5])


@pytest.mark.parametrize(
    ("name", "mean", "resize"),
    [
        ("torchvision:resnet18", MEAN, 256),
        ("torchvision:mobilenet_v2", MEAN, 232),
        ("torchvision:fcn_resnet50", MEAN, None),
        ("timm:resnet26", MEAN, 256),
        ("timm:inception_v3", (0.5, 0.5, 0.5), 341),
        ("timm:volo_d5_512", MEAN, 512),
        ("ssn_prune_digits", (0.5,), None),
    ],
)
def test_libraries_say_how_their_networks_see_images(name, mean, resize):
    network = find_architecture(name, trusted=False)
    found = preprocessing_for(network.input_size, network.preprocessing)
    assert (found.mean, found.resize) == (mean, resize)


@pytest.mark.parametrize("name", ["resnetv1ssn18", "torchvision:raft_small", "torchvision:r3d_18"])
def test_of_other_networks_nothing_is_known(name):
    assert find_architecture(name, trusted=False).preprocessing is None
