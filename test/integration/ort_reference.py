"""Runs ONNX models with ONNX Runtime as the reference of the integration tests.

A causal language model is driven whatever its signature: with or without a
cache, attention mask and position numbers. Needs onnx, onnxruntime and numpy.
"""

from __future__ import annotations

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

ELEMENT_OF = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
}
STEP_INPUTS = ("input_ids", "attention_mask", "position_ids", "cache_position")


def make_session(path: pathlib.Path, widen: bool = False) -> onnxruntime.InferenceSession:
    """Loads a model on one thread; `widen` computes its bf16 and f16 in f32."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    model = widened(onnx.load(path)).SerializeToString() if widen else str(path)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


# Widening.

NARROW = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
LOWEST = {TensorProto.FLOAT16: -65504.0, TensorProto.BFLOAT16: -3.3895313892515355e38}


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with f32 in place of f16 and bf16.

    ONNX Runtime has few bf16 kernels on the CPU; the weights keep the values
    that the narrow type gave them.
    """
    functions = [(f.node, (), f.value_info) for f in model.functions]
    graph = model.graph
    values = [*graph.value_info, *graph.input, *graph.output]
    for nodes, initializers, infos in [(graph.node, graph.initializer, values), *functions]:
        for tensor in initializers:
            _widen_tensor(tensor)
        for info in infos:
            if info.type.tensor_type.elem_type in NARROW:
                info.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in nodes:
            _widen_node(node)
    return model


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in NARROW:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _widen_node(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            _widen_tensor(attribute.t)
        if node.op_type in ("Cast", "Softmax", "RandomNormal") and attribute.i in NARROW:
            if attribute.name == "to":
                attribute.i = TensorProto.FLOAT
        elif attribute.name in ("dtype", "stash_type") and attribute.i in NARROW:
            attribute.i = TensorProto.FLOAT


# Causal language models.


class LanguageModel:
    """A causal language model: tokens in, logits out, one sequence at a time."""

    def __init__(self, path: pathlib.Path, widen: bool = False,
                 dims: dict[str, int] | None = None) -> None:
        """dims: dynamic dimensions of the cache that are not the number of its tokens."""
        self.session = make_session(path, widen)
        self.dims = dims or {}
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        outputs = [o.name for o in self.session.get_outputs()]
        if "input_ids" not in self.inputs or "logits" not in outputs:
            raise ValueError(f"'{path}' is not a language model: inputs {list(self.inputs)}, "
                             f"outputs {outputs}")
        # Cache inputs and outputs correspond by their order.
        self.past_names = [n for n in self.inputs if n not in STEP_INPUTS]
        self.present_names = [n for n in outputs if n != "logits"]
        self.has_cache = bool(self.past_names)
        if self.has_cache and len(self.past_names) != len(self.present_names):
            raise ValueError(f"'{path}' takes {len(self.past_names)} cache tensors and returns "
                             f"{len(self.present_names)}")

    def empty_cache(self) -> list[np.ndarray]:
        """A cache of no tokens: each dynamic axis but the batch and `dims` has length 0."""
        cache = []
        for name in self.past_names:
            info = self.inputs[name]
            dims = [d if isinstance(d, int) else self.dims.get(d, 0) for d in info.shape]
            dims[0] = 1
            cache.append(np.zeros(dims, ELEMENT_OF[info.type]))
        return cache

    def step(self, tokens: list[int], past: int, cache: list[np.ndarray]):
        """Feeds tokens after `past` others: logits [tokens or 1, vocabulary], new cache."""
        positions = np.arange(past, past + len(tokens))[None]
        values = {
            "input_ids": np.array([tokens]),
            "attention_mask": np.ones((1, past + len(tokens))),
            "position_ids": positions,
            "cache_position": positions[0],
        }
        feeds = {name: value.astype(ELEMENT_OF[self.inputs[name].type])
                 for name, value in values.items() if name in self.inputs}
        feeds |= dict(zip(self.past_names, cache))
        wanted = ["logits", *(self.present_names if self.has_cache else [])]
        logits, *present = self.session.run(wanted, feeds)
        return np.atleast_2d(logits[0]).astype(np.float32), present

    def logits(self, tokens: list[int]) -> np.ndarray:
        """The logits of a whole sequence, [tokens, vocabulary], f32."""
        rows = self.step(tokens, 0, self.empty_cache())[0]
        if len(rows) < len(tokens):  # of the last token only: ask for every prefix
            rows = [self.step(tokens[:end], 0, self.empty_cache())[0]
                    for end in range(1, len(tokens) + 1)]
            rows = np.concatenate(rows)
        return rows

    def greedy(self, tokens: list[int], count: int) -> list[int]:
        """The `count` tokens that greedy decoding adds; ties go to the lower number."""
        return self.greedy_with_margin(tokens, count)[0]

    def greedy_with_margin(self, tokens: list[int], count: int) -> tuple[list[int], float]:
        """Also the smallest distance of the two best logits over the largest |logit|."""
        context, fed, cache = list(tokens), 0, self.empty_cache()
        margin = np.inf
        for _ in range(count):
            if self.has_cache:
                logits, cache = self.step(context[fed:], fed, cache)
                fed = len(context)
            else:
                logits, _ = self.step(context, 0, [])
            last = logits[-1]
            second, best = np.partition(last, -2)[-2:]
            margin = min(margin, float((best - second) / np.abs(last).max()))
            context.append(int(last.argmax()))
        return context[len(tokens):], margin


# Any other graph.


def random_inputs(session: onnxruntime.InferenceSession, dims: dict[str, int],
                  seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of a graph by its signature; `dims` gives the dynamic dimensions.

    Integers are small and not negative (token numbers), masks are ones.
    """
    rng = np.random.default_rng(seed)
    inputs = {}
    for info in session.get_inputs():
        shape = [d if isinstance(d, int) else dims[d] for d in info.shape]
        dtype = ELEMENT_OF[info.type]
        if "mask" in info.name:
            inputs[info.name] = np.ones(shape, dtype)
        elif "token_type" in info.name:
            inputs[info.name] = rng.integers(0, 2, shape).astype(dtype)
        elif np.issubdtype(dtype, np.integer):
            inputs[info.name] = rng.integers(0, 50, shape).astype(dtype)
        else:
            inputs[info.name] = rng.standard_normal(shape).astype(dtype)
    return inputs


def opset_of(model: onnx.ModelProto) -> int:
    return next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))


