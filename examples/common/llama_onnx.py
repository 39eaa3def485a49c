"""Builds ONNX graphs of the Llama architecture with nothing but `onnx` and `numpy`.

The graphs look like what `torch.onnx.export` and Hugging Face optimum write for
`LlamaForCausalLM`: RMSNorm, RoPE, the repetition of the KV heads and SiLU are
spelled out in basic operators, and shapes are computed from `Shape` nodes.

Used by `examples/stories260K/convert.py` (a trained checkpoint, no cache) and
`bench/make-model` (random weights, with `past_key_values`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
INT64_MAX = np.iinfo(np.int64).max

ELEMENT_TYPES = {
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
}

# The most negative finite value of each type, which Hugging Face models add to
# masked attention scores.
LOWEST = {"f32": -3.4028234663852886e38, "f16": -65504.0, "bf16": -3.3895313892515355e38}

# Gives the initializer of a weight: (name, shape) -> TensorProto.
WeightSource = Callable[[str, "tuple[int, ...]"], TensorProto]


@dataclasses.dataclass(frozen=True)
class LlamaShape:
    """The sizes and constants of a Llama model."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    rope_theta: float = 10000.0
    epsilon: float = 1e-5
    tied_embedding: bool = False

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


@dataclasses.dataclass(frozen=True)
class LlamaStyle:
    """How the graph is written.

    interleaved_rope: rotate pairs (0, 1), (2, 3), … as Meta's and llama2.c's
    checkpoints do, instead of (0, d/2), (1, d/2 + 1), … as Hugging Face does.
    with_past: take and return a key/value cache and an attention mask.
    """

    element: str = "f32"
    interleaved_rope: bool = False
    with_past: bool = False


class GraphBuilder:
    """Collects nodes and initializers; every value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._scope: list[str] = []
        self._used: dict[str, int] = {}

    @contextlib.contextmanager
    def scope(self, name: str):
        """Prefixes the names of the nodes made inside, as the exporters do."""
        self._scope.append(name)
        yield
        self._scope.pop()

    def op(self, op_type: str, *inputs: str, outputs: int = 1, **attributes):
        """Adds a node; returns the name of its output, or a tuple of them."""
        name = self._unique("/" + "/".join([*self._scope, op_type]))
        names = [f"{name}_output_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=name, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def constant(self, value, dtype=np.int64) -> str:
        return self.op("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def scalar(self, value: float, element: str) -> str:
        """A rank-0 floating-point constant of an element type."""
        tensor = helper.make_tensor("", ELEMENT_TYPES[element], [], [value])
        return self.op("Constant", value=tensor)

    def cast(self, value: str, from_element: str, to_element: str) -> str:
        if from_element == to_element:
            return value
        return self.op("Cast", value, to=ELEMENT_TYPES[to_element])

    def dim(self, value: str, axis: int) -> str:
        """One dimension of a value, as a tensor of rank 1."""
        extent = self.op("Gather", self.op("Shape", value), self.constant(axis), axis=0)
        return self.op("Unsqueeze", extent, self.constant([0]))

    def reshape(self, value: str, *dims) -> str:
        """Reshapes; each dimension is a number or the name of a rank-1 value."""
        return self.op("Reshape", value, self.shape(*dims))

    def shape(self, *dims) -> str:
        parts = [d if isinstance(d, str) else self.constant([d]) for d in dims]
        return self.op("Concat", *parts, axis=0)

    def slice(self, value: str, start: int, end: int, axis: int) -> str:
        bounds = [self.constant([n]) for n in (start, end, axis, 1)]
        return self.op("Slice", value, *bounds)

    def _unique(self, name: str) -> str:
        count = self._used.get(name, 0)
        self._used[name] = count + 1
        return f"{name}_{count}" if count else name


class LlamaGraph:
    """Writes one Llama model; `build` is the way in."""

    def __init__(self, shape: LlamaShape, style: LlamaStyle, weights: WeightSource) -> None:
        self.shape = shape
        self.style = style
        self.weights = weights
        self.b = GraphBuilder()
        self.presents: list[str] = []

    def build(self) -> onnx.ModelProto:
        b = self.b
        with b.scope("model"):
            embedding = self._weight("model.embed_tokens.weight",
                                     (self.shape.vocabulary, self.shape.hidden))
            hidden = b.op("Gather", embedding, "input_ids")
            self.batch, self.sequence = b.dim("input_ids", 0), b.dim("input_ids", 1)
            self._positions()
            self._rotary_tables()
            self._mask()
            for layer in range(self.shape.layers):
                with b.scope(f"layers.{layer}"):
                    hidden = self._layer(layer, hidden)
            with b.scope("norm"):
                hidden = self._rms_norm("model.norm.weight", hidden)
        logits = self._classifier(embedding, hidden)
        b.nodes.append(helper.make_node("Identity", [logits], ["logits"], name="/Identity"))
        return self._model()

    # Pieces, in the order of the graph.

    def _weight(self, name: str, shape: tuple[int, ...]) -> str:
        self.b.initializers.append(self.weights(name, shape))
        return name

    def _linear(self, name: str, value: str, inputs: int, outputs: int) -> str:
        return self.b.op("MatMul", value, self._weight(name, (inputs, outputs)))

    def _positions(self) -> None:
        """The positions of the new tokens in the sequence, and the total length."""
        b = self.b
        zero = b.constant([0])
        past = b.dim("past_key_values.0.key", 2) if self.style.with_past else zero
        self.total = b.op("Add", past, self.sequence)
        first, last, one = (b.op("Squeeze", v, zero) for v in (past, self.total, b.constant([1])))
        self.cache_position = b.op("Range", first, last, one)
        self.key_position = b.op("Range", b.constant(0), last, one)

    def _rotary_tables(self) -> None:
        """cos and sin of position * theta^(-2i/d), broadcast over the heads."""
        b, d = self.b, self.shape.head_dim
        exponents = np.arange(0, d, 2, dtype=np.float32) / d
        frequencies = (1.0 / self.shape.rope_theta**exponents).astype(np.float32)
        with b.scope("rotary_emb"):
            if self.style.with_past:
                positions = b.op("Unsqueeze", "position_ids", b.constant([2]))
            else:
                positions = b.op("Unsqueeze", self.cache_position, b.constant([0, 2]))
            positions = b.op("Cast", positions, to=TensorProto.FLOAT)
            angles = b.op("Mul", positions, b.constant(frequencies[None, None], np.float32))
            if not self.style.interleaved_rope:
                angles = b.op("Concat", angles, angles, axis=-1)
            # [batch, sequence, 1, d/2] for pairs, [batch, 1, sequence, d] for halves.
            heads_axis = b.constant([2 if self.style.interleaved_rope else 1])
            self.cos, self.sin = (
                b.op("Unsqueeze", b.cast(b.op(f, angles), "f32", self.style.element), heads_axis)
                for f in ("Cos", "Sin"))

    def _mask(self) -> None:
        """Adds the lowest value where a key is later than its query, or is padding."""
        b = self.b
        with b.scope("mask"):
            query = b.op("Unsqueeze", self.cache_position, b.constant([1]))
            later = b.op("Greater", self.key_position, query)
            hidden = b.op("Unsqueeze", later, b.constant([0, 1]))
            if self.style.with_past:
                padding = b.op("Equal", "attention_mask", b.constant(0))
                padding = b.op("Unsqueeze", padding, b.constant([1, 2]))
                hidden = b.op("Or", hidden, padding)
            element = self.style.element
            self.mask = b.op("Where", hidden, b.scalar(LOWEST[element], element),
                             b.scalar(0.0, element))

    def _layer(self, layer: int, hidden: str) -> str:
        b, prefix = self.b, f"model.layers.{layer}"
        with b.scope("input_layernorm"):
            normed = self._rms_norm(f"{prefix}.input_layernorm.weight", hidden)
        with b.scope("self_attn"):
            attended = self._attention(layer, normed)
        hidden = b.op("Add", hidden, attended)
        with b.scope("post_attention_layernorm"):
            normed = self._rms_norm(f"{prefix}.post_attention_layernorm.weight", hidden)
        with b.scope("mlp"):
            activated = self._gated_mlp(f"{prefix}.mlp", normed)
        return b.op("Add", hidden, activated)

    def _rms_norm(self, name: str, value: str) -> str:
        b, element = self.b, self.style.element
        wide = b.cast(value, element, "f32")
        square = b.op("Pow", wide, b.scalar(2.0, "f32"))
        mean = b.op("ReduceMean", square, axes=[-1], keepdims=1)
        root = b.op("Sqrt", b.op("Add", mean, b.scalar(self.shape.epsilon, "f32")))
        inverse = b.op("Div", b.scalar(1.0, "f32"), root)
        normed = b.cast(b.op("Mul", wide, inverse), "f32", element)
        return b.op("Mul", self._weight(name, (self.shape.hidden,)), normed)

    def _attention(self, layer: int, value: str) -> str:
        b, s = self.b, self.shape
        prefix = f"model.layers.{layer}.self_attn"
        kv_width = s.kv_heads * s.head_dim
        query = self._linear(f"{prefix}.q_proj.weight", value, s.hidden, s.hidden)
        key = self._linear(f"{prefix}.k_proj.weight", value, s.hidden, kv_width)
        values = self._linear(f"{prefix}.v_proj.weight", value, s.hidden, kv_width)
        query = self._rotated_heads(query, s.heads)
        key = self._rotated_heads(key, s.kv_heads)
        values = self._heads(values, s.kv_heads)
        if self.style.with_past:
            key = self._append(layer, "key", key)
            values = self._append(layer, "value", values)
        key, values = self._repeat_kv(key), self._repeat_kv(values)

        scores = b.op("MatMul", query, b.op("Transpose", key, perm=[0, 1, 3, 2]))
        scale = b.scalar(s.head_dim**-0.5, self.style.element)
        scores = b.op("Add", b.op("Mul", scores, scale), self.mask)
        scores = b.cast(scores, self.style.element, "f32")
        probabilities = b.cast(b.op("Softmax", scores, axis=-1), "f32", self.style.element)
        mixed = b.op("Transpose", b.op("MatMul", probabilities, values), perm=[0, 2, 1, 3])
        mixed = b.reshape(mixed, self.batch, self.sequence, s.hidden)
        return self._linear(f"{prefix}.o_proj.weight", mixed, s.hidden, s.hidden)

    def _heads(self, value: str, heads: int) -> str:
        """[batch, sequence, heads * d] -> [batch, heads, sequence, d]."""
        split = self.b.reshape(value, self.batch, self.sequence, heads, self.shape.head_dim)
        return self.b.op("Transpose", split, perm=[0, 2, 1, 3])

    def _rotated_heads(self, value: str, heads: int) -> str:
        if self.style.interleaved_rope:
            return self._rotate_pairs(value, heads)
        return self._rotate_half(self._heads(value, heads))

    def _rotate_half(self, value: str) -> str:
        b, half = self.b, self.shape.head_dim // 2
        low, high = b.slice(value, 0, half, 3), b.slice(value, half, INT64_MAX, 3)
        turned = b.op("Concat", b.op("Neg", high), low, axis=-1)
        return b.op("Add", b.op("Mul", value, self.cos), b.op("Mul", turned, self.sin))

    def _rotate_pairs(self, value: str, heads: int) -> str:
        b, half, last = self.b, self.shape.head_dim // 2, self.b.constant([-1])
        pairs = b.reshape(value, self.batch, self.sequence, heads, half, 2)
        even, odd = b.op("Split", pairs, b.constant([1, 1]), outputs=2, axis=-1)
        even, odd = b.op("Squeeze", even, last), b.op("Squeeze", odd, last)
        real = b.op("Sub", b.op("Mul", even, self.cos), b.op("Mul", odd, self.sin))
        imaginary = b.op("Add", b.op("Mul", even, self.sin), b.op("Mul", odd, self.cos))
        joined = b.op("Concat", b.op("Unsqueeze", real, last), b.op("Unsqueeze", imaginary, last),
                      axis=-1)
        rotated = b.reshape(joined, self.batch, self.sequence, heads, self.shape.head_dim)
        return b.op("Transpose", rotated, perm=[0, 2, 1, 3])

    def _append(self, layer: int, kind: str, value: str) -> str:
        present = f"present.{layer}.{kind}"
        past = f"past_key_values.{layer}.{kind}"
        node = helper.make_node("Concat", [past, value], [present], name=f"/{present}/Concat",
                                axis=2)
        self.b.nodes.append(node)
        self.presents.append(present)
        return present

    def _repeat_kv(self, value: str) -> str:
        """Every KV head serves heads / kv_heads query heads."""
        b, s = self.b, self.shape
        groups = s.heads // s.kv_heads
        if groups == 1:
            return value
        wide = b.op("Unsqueeze", value, b.constant([2]))
        target = b.shape(self.batch, s.kv_heads, groups, self.total, s.head_dim)
        wide = b.op("Expand", wide, target)
        return b.reshape(wide, self.batch, s.heads, self.total, s.head_dim)

    def _gated_mlp(self, prefix: str, value: str) -> str:
        b, s = self.b, self.shape
        gate = self._linear(f"{prefix}.gate_proj.weight", value, s.hidden, s.ffn)
        silu = b.op("Mul", gate, b.op("Sigmoid", gate))
        up = self._linear(f"{prefix}.up_proj.weight", value, s.hidden, s.ffn)
        return self._linear(f"{prefix}.down_proj.weight", b.op("Mul", silu, up), s.ffn, s.hidden)

    def _classifier(self, embedding: str, hidden: str) -> str:
        with self.b.scope("lm_head"):
            if self.shape.tied_embedding:
                transposed = self.b.op("Transpose", embedding, perm=[1, 0])
                return self.b.op("MatMul", hidden, transposed)
            return self._linear("lm_head.weight", hidden, self.shape.hidden,
                                self.shape.vocabulary)

    def _model(self) -> onnx.ModelProto:
        element = ELEMENT_TYPES[self.style.element]
        kv = [self.shape.kv_heads, self.shape.head_dim]
        info = helper.make_tensor_value_info
        inputs = [info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
        outputs = [info("logits", element, ["batch", "sequence", self.shape.vocabulary])]
        if self.style.with_past:
            total = "past_sequence + sequence"
            inputs += [info("attention_mask", TensorProto.INT64, ["batch", total]),
                       info("position_ids", TensorProto.INT64, ["batch", "sequence"])]
            for present in self.presents:
                past = present.replace("present", "past_key_values")
                inputs.append(info(past, element, ["batch", kv[0], "past_sequence", kv[1]]))
                outputs.append(info(present, element, ["batch", kv[0], total, kv[1]]))
        graph = helper.make_graph(self.b.nodes, "llama", inputs, outputs, self.b.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                                 ir_version=IR_VERSION, producer_name="nju")


def build_llama(shape: LlamaShape, style: LlamaStyle, weights: WeightSource) -> onnx.ModelProto:
    """Returns the ONNX model of a Llama.

    Linear weights are asked for as [inputs, outputs], the order of MatMul.
    """
    if shape.hidden % shape.heads or shape.heads % shape.kv_heads:
        raise ValueError(f"{shape.hidden} hidden values, {shape.heads} heads and "
                         f"{shape.kv_heads} KV heads do not divide")
    return LlamaGraph(shape, style, weights).build()
