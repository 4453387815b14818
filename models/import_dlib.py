"""dlib's face ResNet (.dat) to ONNX.

The architecture is fixed (dlib examples/dnn_face_recognition_ex.cpp): this importer walks exactly
that network and refuses any other file. Affine layers are folded into the convolution before
them, so the result equals dlib up to float rounding. The output bytes are the same on every
machine: models/manifest.toml pins their hash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.dlib_dat import DatReader
from models.errors import ModelFault

SIDE = 150
"""Rows and columns of the network's input."""
DIM = 128
"""Length of the network's output."""

_OPSET = 17
_IR_VERSION = 8
_MEAN_RGB = (122.782, 117.001, 104.298)
_FILE_MAX = 32 * 1024 * 1024

Float = NDArray[np.float32]


@dataclass(frozen=True)
class _Layer:
    """One step of the network in forward order. `kind` is dlib's name or a tag."""

    kind: str
    filters: int = 0
    window: int = 0
    stride: int = 1
    tag: int = 0


def _block(filters: int, stride: int) -> list[_Layer]:
    return [
        _Layer("con_4", filters, 3, stride),
        _Layer("affine_"),
        _Layer("relu_"),
        _Layer("con_4", filters, 3, 1),
        _Layer("affine_"),
    ]


def _residual(filters: int) -> list[_Layer]:
    return [
        _Layer("tag", tag=1),
        *_block(filters, 1),
        _Layer("add_prev_", tag=1),
        _Layer("relu_"),
    ]


def _residual_down(filters: int) -> list[_Layer]:
    return [
        _Layer("tag", tag=1),
        *_block(filters, 2),
        _Layer("tag", tag=2),
        _Layer("skip", tag=1),
        _Layer("avg_pool_2", window=2, stride=2),
        _Layer("add_prev_", tag=2),
        _Layer("relu_"),
    ]


def _network() -> list[_Layer]:
    layers = [
        _Layer("con_4", 32, 7, 2),
        _Layer("affine_"),
        _Layer("relu_"),
        _Layer("max_pool_2", window=3, stride=2),
    ]
    layers += _residual(32) * 3
    for filters, repeats in ((64, 3), (128, 2), (256, 2), (256, 0)):
        layers += _residual_down(filters) + _residual(filters) * repeats
    return [*layers, _Layer("avg_pool_2"), _Layer("fc_2", DIM)]


@dataclass(frozen=True, eq=False)
class DlibResnet:
    """The parameters of the network, in forward order.

    `convolutions`: weight (out, in, rows, columns) and bias (out,), affine already folded in.
    `dense`: shape (256, 128).
    """

    convolutions: list[tuple[Float, Float]]
    dense: Float


def _read_con(reader: DatReader, layer: _Layer, channels: int) -> tuple[Float, Float]:
    params = reader.tensor().reshape(-1)
    reader.expect(layer.filters, "number of filters")
    pad = 0 if layer.stride == 2 else 1
    for value, meaning in (
        (layer.window, "filter rows"),
        (layer.window, "filter columns"),
        (layer.stride, "stride y"),
        (layer.stride, "stride x"),
        (pad, "padding y"),
        (pad, "padding x"),
    ):
        reader.expect(value, meaning)
    shape = (layer.filters, channels, layer.window, layer.window)
    if reader.alias() != shape or reader.alias() != (1, layer.filters, 1, 1):
        raise ModelFault(f"dlib model file: a convolution is not of shape {shape}")
    for _ in range(4):
        reader.real()  # learning rate and weight decay multipliers: training only
    count = int(np.prod(shape))
    if params.size != count + layer.filters:
        raise ModelFault(f"dlib model file: a convolution has {params.size} parameters")
    return params[:count].reshape(shape), params[count:]


def _read_affine(reader: DatReader, channels: int) -> tuple[Float, Float]:
    params = reader.tensor().reshape(-1)
    shape = (1, channels, 1, 1)
    if reader.alias() != shape or reader.alias() != shape or params.size != 2 * channels:
        raise ModelFault(f"dlib model file: an affine layer is not of shape {shape}")
    reader.expect(0, "affine mode")
    return params[:channels], params[channels:]


def _read_pool(reader: DatReader, layer: _Layer) -> None:
    for value in (layer.window, layer.window, layer.stride, layer.stride, 0, 0):
        reader.expect(value, "pooling parameter")


def _read_dense(reader: DatReader, channels: int) -> Float:
    reader.expect(DIM, "number of outputs")
    reader.expect(channels, "number of inputs")
    params = reader.tensor()
    weights, bias = reader.alias(), reader.alias()
    if params.shape != (channels, DIM, 1, 1) or weights != params.shape or any(bias):
        raise ModelFault("dlib model file: the last layer is not 256 to 128 without bias")
    reader.expect(1, "bias mode")
    for _ in range(4):
        reader.real()
    return params.reshape(channels, DIM)


def _read_state(reader: DatReader, first: bool) -> None:
    """Skip what training left behind a layer: three flags and three (empty) tensors."""
    reader.flags(3)
    for _ in range(3):
        reader.tensor()
    if first:
        reader.expect(1, "sample expansion factor")


def read_resnet(data: bytes) -> DlibResnet:
    """Return the parameters in dlib_face_recognition_resnet_model_v1.dat.

    Args:
        data: the whole file, at most 32 MiB.

    Raises:
        ModelFault: any byte is not what this network's file holds.
    """
    if len(data) > _FILE_MAX:
        raise ModelFault(f"dlib model file: {len(data)} bytes, at most {_FILE_MAX} are allowed")
    reader = DatReader(data)
    layers = _network()
    reader.expect(1, "loss layer version")
    reader.name("loss_metric_2")
    reader.real()
    reader.real()
    for index in range(len(layers) - 1, -1, -1):  # dlib writes the outermost layer first
        version = 1 if layers[index].kind in ("tag", "skip") else 2 if index else 3
        reader.expect(version, f"version of layer {index}")
    reader.name("input_rgb_image_sized")
    for mean in _MEAN_RGB:
        if abs(reader.real() - mean) > 1e-4:
            raise ModelFault("dlib model file: the input means are not those of this model")
    reader.expect(SIDE, "input rows")
    reader.expect(SIDE, "input columns")

    convolutions: list[tuple[Float, Float]] = []
    dense: Float | None = None
    channels = 3
    for index, layer in enumerate(layers):
        if layer.kind in ("tag", "skip"):
            continue
        reader.name(layer.kind)
        if layer.kind == "con_4":
            convolutions.append(_read_con(reader, layer, channels))
            channels = layer.filters
        elif layer.kind == "affine_":
            gamma, beta = _read_affine(reader, channels)
            weight, bias = convolutions[-1]
            convolutions[-1] = (weight * gamma[:, None, None, None], bias * gamma + beta)
        elif layer.kind in ("max_pool_2", "avg_pool_2"):
            _read_pool(reader, layer)
        elif layer.kind == "fc_2":
            dense = _read_dense(reader, channels)
        _read_state(reader, first=index == 0)
    reader.end()
    assert dense is not None
    return DlibResnet(convolutions, dense)


@dataclass
class _Graph:
    """ONNX nodes under construction. A value is its name and its shape without the batch."""

    helper: Any
    numpy_helper: Any
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def constant(self, values: NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(self.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(op, inputs, [name], name=name, **attributes))
        return name


_Value = tuple[str, tuple[int, int, int]]


def _add_padded(graph: _Graph, a: _Value, b: _Value) -> _Value:
    """Add as dlib's add_prev: the smaller operand gets zeros in channels, at right and below."""
    shape = tuple(max(m, n) for m, n in zip(a[1], b[1], strict=True))
    names = []
    for name, own in (a, b):
        grow = [m - n for m, n in zip(shape, own, strict=True)]
        if any(grow):
            pads = np.array([0, 0, 0, 0, 0, *grow], np.int64)
            name = graph.add("Pad", [name, graph.constant(pads)], mode="constant")
        names.append(name)
    return graph.add("Add", names), (shape[0], shape[1], shape[2])


def _build(graph: _Graph, net: DlibResnet) -> str:
    value: _Value = ("face", (3, SIDE, SIDE))
    tags: dict[int, _Value] = {}
    remaining = iter(net.convolutions)
    for layer in _network():
        name, (channels, rows, columns) = value
        stride, window = layer.stride, layer.window
        pad = 1 if layer.kind == "con_4" and stride == 1 else 0
        if window:
            rows = (rows + 2 * pad - window) // stride + 1
            columns = (columns + 2 * pad - window) // stride + 1
        sizes = {"kernel_shape": [window] * 2, "strides": [stride] * 2}
        match layer.kind:
            case "tag":
                tags[layer.tag] = value
            case "skip":
                value = tags[layer.tag]
            case "con_4":
                weight, bias = next(remaining)
                inputs = [name, graph.constant(weight), graph.constant(bias)]
                name = graph.add("Conv", inputs, pads=[pad] * 4, **sizes)
                value = name, (layer.filters, rows, columns)
            case "relu_":
                value = graph.add("Relu", [name]), value[1]
            case "max_pool_2":
                value = graph.add("MaxPool", [name], **sizes), (channels, rows, columns)
            case "avg_pool_2" if window:
                value = graph.add("AveragePool", [name], **sizes), (channels, rows, columns)
            case "avg_pool_2":
                value = graph.add("GlobalAveragePool", [name]), (channels, 1, 1)
            case "add_prev_":
                value = _add_padded(graph, tags[layer.tag], value)
            case "fc_2":
                flat = graph.add("Flatten", [name], axis=1)
                return graph.add("MatMul", [flat, graph.constant(net.dense)])
    raise AssertionError("the network ends with fc_2")


def to_onnx(net: DlibResnet) -> bytes:
    """Return the network as ONNX.

    Input `face`: float32 (batch, 3, 150, 150), RGB, (x - [122.782, 117.001, 104.298]) / 256.
    Output: float32 (batch, 128), not normalised, equal to dlib's descriptor.

    Raises:
        ModelFault: the `onnx` package is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise ModelFault(
            "the bootstrap pack needs the package 'onnx'",
            "pip install 'consentgate[bootstrap]'",
        ) from error
    graph = _Graph(helper, numpy_helper)
    output = _build(graph, net)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "dlib_face_recognition_resnet_model_v1",
            [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", DIM])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="consentgate",
        producer_version="1",
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def convert(data: bytes) -> bytes:
    """Return the ONNX bytes for the bytes of the .dat file.

    Raises:
        ModelFault: see read_resnet and to_onnx.
    """
    return to_onnx(read_resnet(data))
