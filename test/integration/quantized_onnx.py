"""ONNX models with quantized weights, and what their weights are.

Written by the documentation of the operators, without ONNX Runtime's own tools.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def unpack(data: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first `count` integers of each row of bytes, the first in the lowest bits."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    wide = data[..., None] >> shifts & np.uint8((1 << bits) - 1)
    return wide.reshape(*data.shape[:-1], -1)[..., :count]


@dataclasses.dataclass
class Blocks:
    """A random matrix [rows, columns] in the form of MatMulNBits."""

    rows: int
    columns: int
    bits: int = 4
    block: int = 32
    zeros: str = "none"  # packed, float, whole (floats that are integers)
    dtype: type = np.float32
    exact_scales: bool = False  # f32 that f16 holds
    seed: int = 0
    weights: np.ndarray | None = None  # to round to the nearest, instead of random ones

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.blocks = -(-self.columns // self.block)
        self.blob = self.block * self.bits // 8
        self.codes = rng.integers(0, 256, (self.rows, self.blocks, self.blob), dtype=np.uint8)
        scales = rng.uniform(0.5, 1.5, (self.rows, self.blocks)) / (1 << self.bits)
        if self.exact_scales:
            scales = scales.astype(np.float16)
        self.scales = (scales * rng.choice([-1, 1], scales.shape)).astype(self.dtype)
        width = -(-self.blocks * self.bits // 8)
        self.zero_points = {
            "none": None,
            "packed": rng.integers(0, 256, (self.rows, width), dtype=np.uint8),
            "float": rng.uniform(0, 1 << self.bits, scales.shape).astype(self.dtype),
            "whole": rng.integers(0, 1 << self.bits, scales.shape).astype(self.dtype),
        }[self.zeros]
        if self.weights is not None:
            self.round()

    def round(self) -> None:
        """Codes of the weights, which count from the middle."""
        middle = 1 << self.bits - 1
        padded = np.zeros((self.rows, self.blocks * self.block), np.float32)
        padded[:, :self.columns] = self.weights
        padded = padded.reshape(self.rows, self.blocks, self.block)
        self.scales = np.maximum(np.abs(padded).max(axis=2) / (middle - 1), 1e-9).astype(self.dtype)
        codes = np.clip(np.rint(padded / self.scales[..., None]) + middle, 0, 2 * middle - 1)
        codes = codes.astype(np.uint8).reshape(self.rows, self.blocks, -1, 8 // self.bits)
        shifts = np.arange(0, 8, self.bits, dtype=np.uint8)
        self.codes = np.bitwise_or.reduce(codes << shifts, axis=3)

    def dense(self, groups: np.ndarray | None = None) -> np.ndarray:
        """The matrix in f32, each step rounded to it."""
        codes = unpack(self.codes.reshape(self.rows, -1), self.bits, self.columns)
        zeros = np.full(self.scales.shape, 1 << self.bits - 1)
        if self.zeros == "packed":
            zeros = unpack(self.zero_points, self.bits, self.blocks)
        elif self.zero_points is not None:
            zeros = self.zero_points
        groups = np.arange(self.columns) // self.block if groups is None else groups
        scales = self.scales.astype(np.float32)[:, groups]
        return scales * (codes.astype(np.float32) - zeros.astype(np.float32)[:, groups])


def tensor(name: str, array: np.ndarray) -> TensorProto:
    # ascontiguousarray would make vectors of scalars.
    return numpy_helper.from_array(np.array(array, order="C"), name)


def packed_tensor(name: str, kind: int, values: np.ndarray) -> TensorProto:
    """Integers of 4 or 2 bits, the first in the lowest bits of a byte."""
    bits = 4 if kind in (TensorProto.INT4, TensorProto.UINT4) else 2
    flat = values.astype(np.int64).reshape(-1) & ((1 << bits) - 1)
    flat = np.concatenate([flat, np.zeros(-len(flat) % (8 // bits), np.int64)])
    data = sum(flat[i::8 // bits] << bits * i for i in range(8 // bits))
    return TensorProto(name=name, data_type=kind, dims=values.shape,
                       raw_data=data.astype(np.uint8).tobytes())


def quantize(model: onnx.ModelProto, bits: int = 4, block: int = 16) -> onnx.ModelProto:
    """Products with weights become MatMulNBits, embeddings a DequantizeLinear in INT4."""
    weights = {t.name: t for t in model.graph.initializer if len(t.dims) == 2}
    nodes = []
    for number, node in enumerate(model.graph.node):
        if node.op_type == "MatMul" and node.input[1] in weights:
            w = numpy_helper.to_array(weights[node.input[1]])
            matrix = Blocks(w.shape[1], w.shape[0], bits, block, weights=w.T)
            names = [f"{node.input[1]}.{part}.{number}" for part in ("codes", "scales")]
            model.graph.initializer.extend([tensor(names[0], matrix.codes), tensor(names[1], matrix.scales)])
            nodes.append(helper.make_node(
                "MatMulNBits", [node.input[0], *names], node.output, node.name,
                domain="com.microsoft", K=w.shape[0], N=w.shape[1], bits=bits, block_size=block))
        elif node.op_type == "Gather" and node.input[0] in weights:
            w = numpy_helper.to_array(weights[node.input[0]])
            scales = np.abs(w).max(axis=1) / 7
            codes = np.rint(w / scales[:, None])
            name = f"{node.input[0]}.{number}"
            model.graph.initializer.extend([packed_tensor(f"{name}.codes", TensorProto.INT4, codes),
                                            tensor(f"{name}.scales", scales.astype(np.float32))])
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}.codes", f"{name}.scales"],
                                          [name], axis=0))
            nodes.append(helper.make_node("Gather", [name, *node.input[1:]], node.output, node.name))
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in model.graph.initializer if t.name in used]
    for field, values in (("node", nodes), ("initializer", kept)):
        values = [type(v).FromString(v.SerializeToString()) for v in values]
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values)
    opsets = {o.domain: o.version for o in model.opset_import} | {"com.microsoft": 1}
    opsets[""] = max(opsets[""], 21)
    model.ClearField("opset_import")
    model.opset_import.extend(helper.make_opsetid(*item) for item in opsets.items())
    model.ir_version = max(model.ir_version, 10)
    return model
