"""The matrices of an ONNX model, and the second moments of what they are multiplied with."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class OnnxWeights:
    """The weights of MatMul nodes whose names match a pattern, as [outputs, inputs]."""

    def __init__(self, path: pathlib.Path, pattern: str) -> None:
        self.model = onnx.load(path)
        self._tensors = {i.name: i for i in self.model.graph.initializer}
        # Name of a weight -> name of the value that it is multiplied with.
        self.inputs = {node.input[1]: node.input[0] for node in self.model.graph.node
                       if node.op_type == "MatMul" and node.input[1] in self._tensors
                       and re.search(pattern, node.input[1])}
        if not self.inputs:
            raise ValueError(f"'{path}' has no matrix whose name matches '{pattern}'")

    def __getitem__(self, name: str) -> np.ndarray:
        return np.ascontiguousarray(numpy_helper.to_array(self._tensors[name]).T)

    def __setitem__(self, name: str, weight: np.ndarray) -> None:
        weight = np.ascontiguousarray(weight.T.astype(np.float32))
        self._tensors[name].CopyFrom(numpy_helper.from_array(weight, name))

    def save(self, path: pathlib.Path) -> None:
        onnx.save(self.model, path)

    def second_moments(self, feeds) -> dict[str, np.ndarray]:
        """The mean of x x' for each weight, over all tokens of the feeds."""
        model, values = onnx.ModelProto(), sorted(set(self.inputs.values()))
        model.CopyFrom(self.model)
        model.graph.output.extend(helper.make_tensor_value_info(v, TensorProto.FLOAT, None)
                                  for v in values)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        sums, tokens = dict.fromkeys(values, 0.0), 0
        for feed in feeds:
            for name, x in zip(values, session.run(values, feed)):
                x = x.reshape(-1, x.shape[-1])
                sums[name] = sums[name] + (x.T @ x).astype(np.float64)
            tokens += len(x)
        return {weight: sums[value] / tokens for weight, value in self.inputs.items()}
