"""ONNX Runtime behind one small class. The only file that imports onnxruntime."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Before the import: newer releases report usage over the network unless told not to. The lock
# file holds an older one; this line keeps the promise if somebody lifts the pin.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from models.errors import ModelFault
from models.manifest import FileSpec, InputSpec

Float = NDArray[np.float32]
_ADVICE = "run 'gate models verify'; if it agrees, this pack needs another program version"


def _fits(actual: list[Any], wanted: tuple[int, ...]) -> bool:
    """Whether a graph's shape is the manifest's; 0 means free, free dimensions are not numbers."""
    return len(actual) == len(wanted) and all(
        (have == want) if want else not isinstance(have, int)
        for have, want in zip(actual, wanted, strict=True)
    )


class Runtime:
    """One loaded network with one input.

    Args:
        data: ONNX bytes whose hash was already checked.
        spec: the file's entry in models/manifest.toml; input shape and, when set, output shape
            must be those of the graph.
        threads: intra-op threads. A verifier uses 1 and asserts it.

    Raises:
        ModelFault: the bytes do not load, or the graph is not what the manifest says.
    """

    def __init__(self, data: bytes, spec: FileSpec, threads: int = 1) -> None:
        if spec.input is None:
            raise ModelFault(f"{spec.name}: the manifest describes no input", _ADVICE)
        self.name = spec.name
        self.input: InputSpec = spec.input
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4
        onnxruntime.disable_telemetry_events()
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library raises its own unrelated classes
            raise ModelFault(
                f"{spec.name} does not load: {type(error).__name__}", _ADVICE
            ) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or not _fits(inputs[0].shape, self.input.shape):
            raise ModelFault(f"{spec.name}: input is not {self.input.shape}", _ADVICE)
        if spec.output is not None and (
            len(outputs) != 1 or not _fits(outputs[0].shape, spec.output)
        ):
            raise ModelFault(f"{spec.name}: output is not {spec.output}", _ADVICE)
        if any(value.type != "tensor(float)" for value in (*inputs, *outputs)):
            raise ModelFault(f"{spec.name}: inputs and outputs are not float32", _ADVICE)
        self._input_name = inputs[0].name
        self._output_names = [value.name for value in outputs]

    def prepare(self, images: list[NDArray[np.uint8]]) -> Float:
        """Return images as the network's input batch.

        Args:
            images: uint8 (rows, columns, 3), all of one size, channels in the manifest's order.

        Returns:
            float32, shape (batch, 3, rows, columns).
        """
        batch = np.stack(images).astype(np.float32)
        batch -= np.array(self.input.mean, np.float32)
        batch /= np.float32(self.input.divisor)
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))

    def run(self, batch: Float) -> dict[str, Float]:
        """Return every output by name, each finite.

        Raises:
            ModelFault: the network fails, or an output holds a NaN or an infinity.
        """
        try:
            values = self._session.run(self._output_names, {self._input_name: batch})
        except Exception as error:
            raise ModelFault(f"{self.name} failed: {type(error).__name__}", _ADVICE) from error
        for value in values:
            if not np.isfinite(value).all():
                raise ModelFault(f"{self.name} answered a number that is not finite", _ADVICE)
        return dict(zip(self._output_names, values, strict=True))

    def run_images(self, images: list[NDArray[np.uint8]]) -> Float:
        """Return the single output for each image, shape (len(images), ...).

        Raises:
            ModelFault: as run.
        """
        groups = [images] if self.input.shape[0] == 0 else [[image] for image in images]
        answers = [self.run(self.prepare(group))[self._output_names[0]] for group in groups]
        return np.concatenate(answers)

    def check_alive(self) -> None:
        """Run two different images; a network that answers the same to both is broken.

        Raises:
            ModelFault: it is, or it fails.
        """
        _, _, rows, columns = self.input.shape
        ramp = np.linspace(0, 255, rows * columns * 3).astype(np.uint8).reshape(rows, columns, 3)
        answers = self.run_images([np.zeros_like(ramp), ramp])
        if np.allclose(answers[0], answers[1], rtol=0, atol=1e-6):
            raise ModelFault(f"{self.name} answers the same to different images", _ADVICE)
