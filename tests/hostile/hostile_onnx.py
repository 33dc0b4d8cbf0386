"""All ONNX files that no conversion writes.

Most are a sound file with one thing changed; ``verify`` compares them with the network of the sound
one. External weights are the right ones, so that reading them would pass.
"""

from __future__ import annotations

from hostile_onnx_files import EXTERNAL, FILES
from hostile_onnx_graphs import ENDLESS, GRAPHS
from hostile_onnx_metadata import METADATA
from hostile_onnx_values import SIZES, TYPES

CASES = [*METADATA, *SIZES, *TYPES, *EXTERNAL, *FILES, *GRAPHS, *ENDLESS]
