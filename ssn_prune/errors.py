"""Typed errors: what was expected, what was found, and what to do next.

Every error that a user's input can cause is an :class:`SsnPruneError`. Programs read its fields and
its stable ``code`` instead of parsing the text. Texts name Python arguments in backticks with their
values, such as ```static_batch=4```; the command line translates these into its flags.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from ssn_prune._renamed import renamed
from ssn_prune.text import listed

if TYPE_CHECKING:
    from collections.abc import Sequence


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)


def first_line(error: BaseException) -> str:
    """The first line of a foreign error's message, at most 300 characters; its type if it is empty.

    Terminal colour codes are removed.
    """
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error)).strip()
    return (text or type(error).__name__).splitlines()[0][:300]


def _unpickled(kind: type[SsnPruneError], arguments: tuple[Any, ...]) -> SsnPruneError:
    return kind.__new__(kind, *arguments)


class SsnPruneError(Exception):
    """Base class of all errors that user input can cause; only its subclasses are raised.

    The docstring of a subclass says what the error means and, after ``Cure:``, what usually helps.
    ``docs/errors.md`` is generated from the two. The hint of an instance is for the case at hand.

    Args:
        problem: One sentence that says what is wrong.
        expected: What would have been accepted.
        found: What was there instead.
        hint: What to try next.

    Attributes:
        code: Stable name of the kind of error, for programs.
    """

    code: ClassVar[str] = "failure"

    def __init__(
        self,
        problem: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.found = found
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes, whatever the arguments of the subclass are."""
        return _unpickled, (type(self), self.args), self.__dict__

    def details(self) -> dict[str, str]:
        """The parts of the message that are set, in reading order."""
        parts = {"expected": self.expected, "found": self.found, "try": self.hint}
        return {label: text for label, text in parts.items() if text is not None}

    def __str__(self) -> str:
        lines = [self.problem]
        lines += [f"  {label}: {text}" for label, text in self.details().items()]
        return "\n".join(lines)


class ArgumentError(SsnPruneError):
    """An option or argument has a value that cannot be used.

    Cure: the message says what would be accepted, such as `batch=4`, or which argument to leave
    out.
    """

    code = "bad_argument"


class CheckpointError(SsnPruneError):
    """The file cannot be read as a checkpoint.

    Cure: give the complete file that torch.save or safetensors wrote; copy a damaged one again.
    """

    code = "bad_checkpoint"


class UnsafeCheckpointError(CheckpointError):
    """The pickle asks for a global that could execute code; nothing was executed.

    Cure: save the weights alone, in an environment that you trust:
    torch.save(model.state_dict(), path).

    Args:
        path: The file.
        global_name: The dotted name that it asks for.
        whole_module: Whether it is the class of a network that was saved as a whole object.

    Attributes:
        global_name: The dotted name that the file asked for.
    """

    code = "unsafe_checkpoint"

    def __init__(self, path: str, global_name: str, *, whole_module: bool = False) -> None:
        super().__init__(
            f"{path} is a whole network saved as an object of {global_name!r}, not its weights; "
            "reading it would execute code"
            if whole_module
            else f"{path} was refused: its pickle asks for {global_name!r}, which could execute "
            "code",
            expected="tensors, plain containers and inert metadata only",
            found=f"the global {global_name!r}",
            hint="re-save only the weights in an environment that you trust: "
            "torch.save(model.state_dict(), path), or use safetensors",
        )
        self.global_name = global_name


class KeyMismatchError(CheckpointError):
    """The keys of the checkpoint and of the network differ.

    Cure: name the network that was trained with `arch=`, its options with `arch_args=`, or the
    prefix of its keys with `prefix=`.

    Attributes:
        missing: Keys of the network that the checkpoint lacks.
        unexpected: Keys of the checkpoint that the network lacks.
        misshaped: Lines ``key: checkpoint shape, network shape``.
    """

    code = "key_mismatch"

    def __init__(
        self,
        problem: str,
        *,
        missing: Sequence[str],
        unexpected: Sequence[str],
        misshaped: Sequence[str],
        expected: str,
        found: str,
        hint: str,
    ) -> None:
        super().__init__(problem, expected=expected, found=found, hint=hint)
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.misshaped = tuple(misshaped)


class ArchitectureError(SsnPruneError):
    """The network's architecture cannot be found or built.

    Cure: pass one of the names that the message lists as `arch=`; if its code fails, fix what the
    message names.
    """

    code = "bad_architecture"


class NoSwitchableLayerError(SsnPruneError):
    """The network or the file has no switchable normalization layer.

    Cure: give the checkpoint of a network that was trained with SSN or SN;
    ssn_prune.convert_to_ssn(model).model is such a network, ready to be trained.
    """

    code = "no_switchable_layer"


class UnsupportedLayerError(SsnPruneError):
    """A switchable layer is of a kind that cannot be converted exactly.

    Cure: the message says what differs. For running sums, call ssn_prune.recalibrate(model,
    batches); if they are averages after all, pass `trust_running_statistics=True`.
    """

    code = "unsupported_layer"


_AVERAGED = (
    "the gates are all but one-hot, as an average (EMA) over a network with frozen gates leaves "
    "them: pass `on_unconverged='argmax'` (rounds the gates and reports the error this causes), or "
    "convert the weights that were trained instead of their average"
)


class UnconvergedGatesError(SsnPruneError):
    """Some gates are not one-hot, so no single normalizer is selected.

    Cure: train on; or pass `on_unconverged='exact'`, which keeps the weighted form, or
    `on_unconverged='argmax'`, which rounds the gates and reports the error.

    Attributes:
        layers: The selections of the layers concerned.
    """

    code = "unconverged_gates"

    def __init__(self, layers: Sequence[Any], total: int) -> None:
        names = listed([layer.name for layer in layers], 4)
        super().__init__(
            f"{len(layers)} of {total} layers have gates that are not one-hot: {names}",
            expected="every mean gate and variance gate one-hot",
            found="layers that still mix several normalizers",
            hint=_AVERAGED
            if all(layer.averaged for layer in layers)
            else f"{_cure_of_gates(layers)}, or pass `on_unconverged='exact'` (keeps the weighted "
            "form: same outputs, slower) or `on_unconverged='argmax'` (rounds the gates and "
            "reports the error this causes)",
        )
        self.layers = tuple(layers)


def _cure_of_gates(layers: Sequence[Any]) -> str:
    """What to do in training, depending on the radius that the layers have reached."""
    radii = [layer.radius for layer in layers if layer.kind == "SSN" and layer.radius is not None]
    if not any(layer.kind == "SSN" for layer in layers):
        return "softmax gates are never one-hot: train with SSN layers"
    if radii and max(radii) == 0:
        return (
            "the radius is 0 in all of them, so the schedule was never stepped: call "
            "RadiusSchedule.step() after every step of the optimizer"
        )
    if radii and min(radii) < 0.7:  # the last radius is 0.7071 for two normalizers
        missing = 1 - min(radii) / 0.8165
        return (
            f"the radius has come to {min(radii):.4g}, and its final value is 0.8165 (0.7071 with "
            f"two normalizers), so about {missing:.0%} of the training is missing: go on and call "
            "RadiusSchedule.step() once after every step of the optimizer"
        )
    return "train until the radius reaches sqrt((K-1)/K)"


class UndefinedVarianceError(SsnPruneError):
    """A Bessel-corrected variance over a single position is selected: it is 0/0.

    Cure: pass a larger `input_size=`, or train the layer without the correction.

    Attributes:
        layers: Names of the layers concerned.
    """

    code = "undefined_variance"

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__(
            f"{', '.join(layers)}: the selected variance is undefined on a 1x1 feature map",
            expected="at least 2 spatial positions for a Bessel-corrected IN or LN variance "
            "(it divides by n - 1)",
            found="1 spatial position",
            hint="pass a larger `input_size=`, or train this layer without the correction: "
            "SSN2d(C, correction=0)",
        )
        self.layers = tuple(layers)


class DataError(SsnPruneError):
    """Images or labels cannot be read, or do not fit the network.

    Cure: give what the message names, such as a folder inside a zip file, and say with `mean=` and
    `std=` how images become inputs.
    """

    code = "bad_data"


class SearchError(SsnPruneError):
    """A search has nothing to choose, or no network is within its bounds.

    Cure: pass the bound that the message names, such as `budget=1.02`.
    """

    code = "search_failed"


class CaptureError(SsnPruneError):
    """The network cannot be run, copied or captured as the conversion needs it.

    Cure: remove what the message names from the network's code.
    """

    code = "capture_failed"


class ExportError(SsnPruneError):
    """The pruned network cannot be exported.

    Cure: pass what the message names, such as `dynamic='batch'` or `static_batch=1`: it was
    tried. For a network that is not pruned yet, export prune(model, inputs).model.
    """

    code = "export_failed"


class InferenceRuntimeError(SsnPruneError):
    """The runtime cannot load or run the exported file, or is not installed.

    Cure: convert the checkpoint again; pass a larger `timeout=` for a slow network; pass
    `profile=False` to measure a file whose metadata are damaged; install a missing runtime with
    the command that the message gives.
    """

    code = "runtime_failed"


class UntrustedFileError(SsnPruneError):
    """Reading the file would execute what is in it, and nothing vouches for it; it was not opened.

    Cure: pass `from_report='run.json'`, the report of the conversion that wrote it, or
    `trust_pt2=True` if you know where the file comes from.
    """

    code = "untrusted_file"


class OutputError(SsnPruneError):
    """The output file cannot be written.

    Cure: choose another path, create its folder, or pass `force=True` to replace a file.
    """

    code = "output_not_written"


class ReportError(SsnPruneError):
    """The file cannot be read as the report of a run, or it cannot be shown in the wanted form.

    Cure: give a complete, unchanged report that a conversion wrote, as JSON or as a page.
    """

    code = "bad_report"


class CostsError(SsnPruneError):
    """The file cannot be read as normalizer costs, or its costs are those of another network.

    Cure: measure the costs of this network; leave `costs=` out to do so on this machine.
    """

    code = "bad_costs"


class VerificationError(SsnPruneError):
    """The outputs of the converted network differ from those of the original.

    Cure: verify with the checkpoint and the options of the conversion, or convert again. If only
    another runtime differs, run the file in ONNX Runtime.

    Attributes:
        layer: The first switchable layer whose output differs, if it could be located.
        report: The :class:`ssn_prune.ConversionReport` of the conversion that failed; None if the
            checks did not finish.
    """

    code = "verification_failed"

    def __init__(
        self,
        problem: str,
        *,
        layer: str | None,
        expected: str,
        found: str,
        hint: str | None = None,
    ) -> None:
        super().__init__(problem, expected=expected, found=found, hint=hint)
        self.layer = layer
        self.report: Any = None  # its class belongs to a later stage, which imports this one
