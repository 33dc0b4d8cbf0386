"""Sound ONNX files with wrong metadata."""

from __future__ import annotations

import json

import onnx
from hostile_onnx_case import (
    ARGUMENT,
    OK,
    RUNTIME,
    VERIFICATION,
    Edit,
    OnnxCase,
    constant,
    edited,
    weight,
)
from onnx import helper, numpy_helper


def says(**values: str) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        stored = {entry.key: entry.value for entry in model.metadata_props}
        stored |= {f"ssn_prune.{key}": text for key, text in values.items()}
        helper.set_model_props(model, stored)

    return edit


def wrong(model: onnx.ModelProto) -> None:
    """Change the weights, so that the file's metadata on its layers and source matter."""
    bias = weight(model, "fc.bias")
    bias.CopyFrom(constant("fc.bias", numpy_helper.to_array(bias) + 1))


LAYER = {"mean": "IN", "var": "BN", "form": "InstanceCentre2d"}
SELECTIONS = {
    "no JSON": "{",
    "a list": "[1, 2]",
    "a number": "7",
    "nothing": "",
    "NaN": '{"sn1": NaN}',
    "deep nesting": '{"sn1": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "a number without end": '{"sn1": ' + "9" * 100_000 + "}",
    "a layer that is a text": '{"sn1": "IN"}',
    "a layer without a form": json.dumps({"sn1": {"mean": "IN", "var": "BN"}}),
    "a mean that is a list": json.dumps({"sn1": {**LAYER, "mean": ["IN"]}}),
    "a form that is null": json.dumps({"sn1": {**LAYER, "form": None}}),
    "a name without end": json.dumps({"s" * 100_000: LAYER}),
    "17 MB": json.dumps({"sn1": "x" * (17 << 20)}),
}
LAYER_OUTPUTS = {
    "no JSON": "{",
    "a list": "[]",
    "deep nesting": "[" * 100_000,
    "names that are numbers": '{"sn1": 7}',
    "values that are not there": '{"sn1": "nowhere"}',
    "layers that are not there": '{"sn9": "conv1"}',
    "another module": '{"conv1": "input", "": "input"}',
    "the input": '{"sn1": "input", "sn2": "input"}',
}
EMBEDDED = {
    **{"size": [1, 8, 8], "mean": [0.5], "std": [0.5], "resize": None},
    **{"interpolation": "bilinear", "embedded": True},
}
PREPROCESSINGS = {
    "no JSON": "{",
    "deep nesting": "[" * 100_000,
    "a number without end": json.dumps({**EMBEDDED, "std": [10**400]}),
    "NaN": json.dumps({**EMBEDDED, "mean": [float("nan")]}),
    "of a huge size": json.dumps({**EMBEDDED, "size": [1, 10**9, 10**9]}),
    "17 MB": json.dumps({**EMBEDDED, "interpolation": "x" * (17 << 20)}),
}
METADATA = [
    *(
        OnnxCase(f"metadata: a selection that is {name}", edited(says(selection=text)), OK, found="damaged")
        for name, text in SELECTIONS.items()
    ),
    *(
        OnnxCase(f"metadata: outputs of layers that are {name}", edited(wrong, says(layer_outputs=text)), VERIFICATION, OK)
        for name, text in LAYER_OUTPUTS.items()
    ),
    OnnxCase("metadata: a source with control characters", edited(wrong, says(source="\x1b[2J\x07[red]\n" * 99, source_sha256="0" * 64)), VERIFICATION, OK, "was made from"),
    OnnxCase("metadata: a hash that is none", edited(wrong, says(source="a.pth", source_sha256="g" * 64)), VERIFICATION, OK, "does not give"),
    *(
        OnnxCase(f"metadata: a preprocessing that is {name}", edited(says(preprocessing=text)), OK, OK)
        for name, text in PREPROCESSINGS.items()
    ),
    OnnxCase("metadata: a preprocessing in the file that is not there", edited(says(preprocessing=json.dumps(EMBEDDED))), RUNTIME, OK),
    OnnxCase("metadata: a preprocessing for three channels", edited(says(preprocessing=json.dumps({**EMBEDDED, "size": [3, 8, 8], "mean": [0.5, 0.4, 0.3], "std": [0.5] * 3}))), ARGUMENT, OK),
    OnnxCase("metadata: keys twice", edited(lambda m: m.metadata_props.extend([onnx.StringStringEntryProto(key="ssn_prune.selection", value="{}")] * 2)), OK, OK),
]  # fmt: skip
