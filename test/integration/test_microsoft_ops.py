#!/usr/bin/env python3
"""Ops of ONNX Runtime's own domain, one node a model, compared with ONNX Runtime.

All nodes of a class are compiled as one model, so that the compiler runs once.
"""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from test_ragged_batch import BIN, TARGET

# Relative to the largest value of an output.
TOLERANCE = 2e-5
ONNX_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32,
              np.dtype(np.int64): TensorProto.INT64, np.dtype(np.uint8): TensorProto.UINT8}


@dataclasses.dataclass
class Case:
    """A node: arrays are its inputs, None one that is left out."""
    kind: str
    inputs: list
    attributes: dict
    outputs: int = 1
    # Inputs that the model stores.
    stored: tuple[int, ...] = ()
    # The same in a form that ONNX Runtime has a kernel for.
    reference: Case | None = None
    # Of an output, what is defined: where keys of a sequence end.
    compared: dict = dataclasses.field(default_factory=dict)


def make_model(cases: dict[str, Case]) -> tuple[onnx.ModelProto, dict]:
    nodes, initializers, values, outputs, feeds = [], [], [], [], {}
    for name, case in cases.items():
        names = []
        for i, array in enumerate(case.inputs):
            names.append("" if array is None else f"{name}.{i}")
            if array is None:
                continue
            if i in case.stored:
                initializers.append(numpy_helper.from_array(array, names[-1]))
                continue
            values.append(helper.make_tensor_value_info(names[-1], ONNX_TYPES[array.dtype],
                                                        array.shape))
            feeds[names[-1]] = array
        while names and not names[-1]:
            names.pop()
        results = [f"{name}.out{i}" for i in range(case.outputs)]
        nodes.append(helper.make_node(case.kind, names, results, name, domain="com.microsoft",
                                      **case.attributes))
        outputs += [onnx.ValueInfoProto(name=result) for result in results]
    graph = helper.make_graph(nodes, "graph", values, outputs, initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), feeds


def compile_and_run(model: onnx.ModelProto, feeds: dict, outputs: list[str],
                    *options: str) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory(prefix="nju-ops-") as folder:
        folder = pathlib.Path(folder)
        onnx.save(model, folder / "model.onnx")
        subprocess.run([BIN / "nju-compile", folder / "model.onnx", "-o", folder / "model",
                        f"--target={TARGET}", "--quiet", *options], check=True)
        inputs = []
        for i, (name, array) in enumerate(feeds.items()):
            np.save(folder / f"{i}.npy", array)
            inputs += ["--input", f"{name}={folder}/{i}.npy"]
        (folder / "out").mkdir()
        subprocess.run([BIN / "nju-run", "run", folder / "model.so", *inputs, "--output-dir",
                        folder / "out"], check=True)
        return [np.load(folder / "out" / f"{name}.npy") for name in outputs]


class OpsTest(unittest.TestCase):
    def compare(self, cases: dict[str, Case], *options: str) -> None:
        model, feeds = make_model(cases)
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        reference, reference_feeds = make_model(
            {name: case.reference or case for name, case in cases.items()})
        session = onnxruntime.InferenceSession(reference.SerializeToString(), settings,
                                               providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        expected = dict(zip(names, session.run(names, reference_feeds)))
        actual = dict(zip(names, compile_and_run(model, feeds, names, *options)))
        for name in names:
            case, _, output = name.rpartition(".out")
            with self.subTest(name):
                pick = cases[case].compared.get(int(output), lambda array: array)
                ours, theirs = pick(actual[name]), pick(expected[name])
                self.assertEqual(ours.shape, theirs.shape)
                self.assertGreater(np.abs(theirs).max(), 0.01)
                error = np.abs(ours - theirs).max() / np.abs(theirs).max()
                self.assertLess(error, TOLERANCE)


def rows(random, *shape) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def group_query(random, *, batch=1, fresh=3, past=0, heads=4, groups=2, size=16, packed=False,
                lengths=None, table=None, positions=False, bias=False, **attributes) -> Case:
    """`lengths`: of each sequence, with the new tokens; else all are as long."""
    total = past + fresh
    query = rows(random, batch, fresh, (heads + 2 * groups if packed else heads) * size)
    key, value = (None if packed else rows(random, batch, fresh, groups * size) for _ in range(2))
    pasts = [rows(random, batch, groups, past, size) for _ in range(2)]
    lengths = np.array(lengths or [total] * batch, np.int32)
    cos = sin = None
    if table:
        angle = random.uniform(-3, 3, (64, table // 2))
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        attributes["do_rotary"] = 1
    numbers = random.integers(0, 64, (batch, fresh)) if positions else None
    addend = rows(random, batch, heads, fresh, total) if bias else None
    # What lies behind a shorter sequence is nobody's.
    used = [(b, slice(None), slice(0, length)) for b, length in enumerate(lengths)]
    cut = {i: lambda array: np.concatenate([array[u].ravel() for u in used]) for i in (1, 2)}
    if fresh > 1:
        cut[0] = lambda array: np.concatenate(
            [array[b, :max(0, min(fresh, length))].ravel() for b, length in enumerate(lengths)])
    return Case("GroupQueryAttention",
                [query, key, value, *pasts, lengths - 1, np.array(total, np.int32), cos, sin,
                 numbers, addend],
                {"num_heads": heads, "kv_num_heads": groups, **attributes}, 3,
                stored=(7, 8), compared=cut)


class GroupQueryAttentionTest(OpsTest):
    def test_forms(self):
        random = np.random.default_rng(1)
        self.compare({
            "prompt": group_query(random),
            "decode": group_query(random, fresh=1, past=6, table=16),
            "packed": group_query(random, packed=True, table=16, fresh=5),
            "packed_decode": group_query(random, packed=True, table=16, size=32, fresh=1, past=9),
            "interleaved": group_query(random, table=16, rotary_interleaved=1),
            "one_group": group_query(random, groups=1, heads=3, size=8, past=4, fresh=1),
            "scale": group_query(random, scale=0.3, past=2, fresh=1),
            "chunk": group_query(random, past=4, fresh=3, table=16),
            "softcap": group_query(random, softcap=0.7, past=3, fresh=1),
            "positions": group_query(random, table=16, positions=True),
            "positions_decode": group_query(random, table=16, positions=True, fresh=1, past=3,
                                            batch=2),
            "bias": group_query(random, bias=True, past=5, fresh=1),
            "capped_bias": group_query(random, bias=True, softcap=1.5),
            "batch": group_query(random, batch=3, fresh=4, table=16),
        })

    def test_windows(self):
        random = np.random.default_rng(2)
        self.compare({
            f"window{window}_{fresh}_{past}": group_query(random, local_window_size=window,
                                                          fresh=fresh, past=past, table=16)
            for window in (1, 3, 5, 20) for fresh, past in ((7, 0), (1, 6), (1, 4))})

    def test_sequences_of_different_lengths(self):
        random = np.random.default_rng(3)
        self.compare({
            "prompt": group_query(random, batch=3, fresh=5, lengths=[5, 2, 4], table=16),
            "decode": group_query(random, batch=3, fresh=1, past=6, lengths=[7, 3, 5], table=16),
            "part": group_query(random, fresh=1, past=6, lengths=[4], table=16),
            "window": group_query(random, batch=2, fresh=1, past=6, lengths=[7, 4],
                                  local_window_size=3),
        })


def make_masks(random, batch: int, fresh: int, total: int) -> dict:
    """By their names: what hides keys of `total`."""
    return {None: None,
            "lengths": np.array([total, total - 2][:batch], np.int32),
            "keys": (random.random((batch, total)) < 0.7).astype(np.int32),
            "pairs": (random.random((batch, fresh, total)) < 0.7).astype(np.int32)}


def multi_head(random, *, batch=2, fresh=4, keys=None, past=0, heads=3, size=8, value_size=None,
               form="flat", bias=False, mask=None, addend=False, **attributes) -> Case:
    keys, value_size = keys or fresh, value_size or size
    query = rows(random, batch, fresh, heads * size)
    key, value = (rows(random, batch, keys, heads * s) for s in (size, value_size))
    if form == "heads":
        key, value = (rows(random, batch, heads, keys, s) for s in (size, value_size))
    pasts = [rows(random, batch, heads, past, s) if past else None for s in (size, value_size)]
    total = keys + past
    masks = make_masks(random, batch, fresh, total)
    case = Case("MultiHeadAttention",
                [query, key, value,
                 rows(random, heads * (2 * size + value_size)) if bias else None, masks[mask],
                 rows(random, batch, heads, fresh, total) if addend else None, *pasts],
                {"num_heads": heads, **attributes}, 3 if past else 1)
    if form in ("qkv", "kv"):
        packed = [array.reshape(batch, -1, heads, size) for array in (query, key, value)]
        inputs = ([np.stack(packed, 3), None, None] if form == "qkv"
                  else [query, np.stack(packed[1:], 3), None])
        return dataclasses.replace(case, inputs=inputs + case.inputs[3:], reference=case)
    return case


class MultiHeadAttentionTest(OpsTest):
    def test_forms(self):
        random = np.random.default_rng(4)
        self.compare({
            "flat": multi_head(random),
            "cross": multi_head(random, keys=7),
            "bias": multi_head(random, bias=True),
            "kv": multi_head(random, form="kv", keys=6),
            "qkv": multi_head(random, form="qkv", past=3),
            "heads": multi_head(random, form="heads", keys=6),
            "wide_values": multi_head(random, value_size=16),
            "past": multi_head(random, past=5, fresh=1),
            "past_bias": multi_head(random, past=5, fresh=2, bias=True),
            "causal": multi_head(random, unidirectional=1),
            "causal_past": multi_head(random, unidirectional=1, past=3),
            "scale": multi_head(random, scale=0.2),
            "addend": multi_head(random, addend=True),
        })

    def test_masks(self):
        random = np.random.default_rng(5)
        self.compare({
            "lengths": multi_head(random, mask="lengths"),
            "keys": multi_head(random, mask="keys"),
            "keys_filter": multi_head(random, mask="keys", mask_filter_value=-3.0),
            "pairs": multi_head(random, mask="pairs"),
            "keys_past": multi_head(random, mask="keys", past=4, fresh=2),
            "keys_causal": multi_head(random, mask="keys", unidirectional=1, addend=True),
        })


def self_attention(random, *, batch=2, fresh=4, past=0, heads=3, size=8, inputs=20, sizes=None,
                   mask=None, addend=False, bias=True, **attributes) -> Case:
    widths = sizes or [heads * size] * 3
    if sizes:
        attributes["qkv_hidden_sizes"] = sizes
    total = fresh + past
    masks = make_masks(random, batch, fresh, total)
    return Case("Attention",
                [rows(random, batch, fresh, inputs), rows(random, inputs, sum(widths)) / 4,
                 rows(random, sum(widths)) if bias else None, masks[mask],
                 rows(random, 2, batch, heads, past, size) if past else None,
                 rows(random, batch, heads, fresh, total) if addend else None],
                {"num_heads": heads, **attributes}, 2, stored=(1, 2))


class AttentionTest(OpsTest):
    def test_forms(self):
        random = np.random.default_rng(6)
        self.compare({
            "plain": self_attention(random),
            "no_bias": self_attention(random, bias=False),
            "causal": self_attention(random, unidirectional=1),
            "past": self_attention(random, past=3, unidirectional=1),
            "scale": self_attention(random, scale=0.1),
            "lengths": self_attention(random, mask="lengths"),
            "keys": self_attention(random, mask="keys"),
            "pairs": self_attention(random, mask="pairs"),
            "keys_past": self_attention(random, mask="keys", past=3),
            "addend": self_attention(random, addend=True),
        })


def embedding(random, *, segments=True, mask=False, positions=False, outputs=3,
              **attributes) -> Case:
    def numbers(limit):
        return random.integers(0, limit, (2, 5)).astype(np.int32)

    return Case("EmbedLayerNormalization",
                [numbers(30), numbers(2) if segments else None, rows(random, 30, 12),
                 rows(random, 9, 12), rows(random, 2, 12) if segments else None,
                 rows(random, 12), rows(random, 12), numbers(2) if mask else None,
                 numbers(9) if positions else None],
                attributes, outputs, stored=(2, 3, 4, 5, 6),
                compared={} if mask else {1: lambda array: array + 1})


class EmbeddingTest(OpsTest):
    def test_forms(self):
        random = np.random.default_rng(8)
        self.compare({
            "plain": embedding(random),
            "no_segments": embedding(random, segments=False),
            "mask": embedding(random, mask=True, epsilon=0.1),
            "positions": embedding(random, positions=True),
        })


def experts(random, *, shape=(5, 8), count=4, hidden=6, third=False, biases=True,
            **attributes) -> Case:
    """A mixture of experts; `third` multiplies what is activated."""
    depth, tokens = shape[-1], int(np.prod(shape[:-1]))
    wide = hidden * (2 if attributes["activation_type"] == "swiglu" else 1)
    inputs = [rows(random, *shape), rows(random, tokens, count),
              rows(random, count, wide, depth), rows(random, count, wide),
              rows(random, count, depth, hidden), rows(random, count, depth)]
    if third:
        inputs += [rows(random, count, hidden, depth), rows(random, count, hidden)]
    if not biases:
        inputs[3::2] = [None] * len(inputs[3::2])
    return Case("MoE", inputs, {"k": 2} | attributes, stored=tuple(range(2, 8)))


def quantized_experts(random, *, bits=4, block=0, depth=64, hidden=32, count=4, tokens=5,
                      **attributes) -> Case:
    wide = hidden * (2 if attributes["activation_type"] == "swiglu" else 1)

    def matrices(height, width):
        codes = random.integers(0, 256, (count, height, width * bits // 8), dtype=np.uint8)
        shape = (count, height, width // block) if block else (count, height)
        return [codes, random.uniform(0.01, 0.05, shape).astype(np.float32),
                rows(random, count, height)]
    inputs = [rows(random, tokens, depth), rows(random, tokens, count),
              *matrices(wide, depth), *matrices(depth, hidden)]
    if block:
        attributes["block_size"] = block
    return Case("QMoE", inputs, {"k": 2, "expert_weight_bits": bits} | attributes,
                stored=tuple(range(2, 8)))


class ExpertsTest(OpsTest):
    def test_forms(self):
        random = np.random.default_rng(11)
        cases = {
            name: experts(random, activation_type=name) for name in ("relu", "gelu", "silu", "identity")}
        cases |= {
            "normalized": experts(random, activation_type="silu", normalize_routing_weights=1),
            "one": experts(random, activation_type="relu", k=1),
            "all": experts(random, activation_type="relu", k=4, biases=False),
            "batch": experts(random, shape=(2, 3, 8), activation_type="silu"),
            "many": experts(random, shape=(70, 33), count=9, hidden=40, activation_type="relu"),
            "alternating": experts(random, activation_type="swiglu", swiglu_fusion=1,
                                   activation_alpha=1.702, activation_beta=1.0, swiglu_limit=1.0),
        }
        # ONNX Runtime has no kernel for a third matrix on the CPU: rows of the first and of
        # the third in turn are the same.
        gated = experts(random, activation_type="silu", third=True)
        first, third = gated.inputs[2:4], gated.inputs[6:8]
        joined = [np.stack(pair, 2).reshape(pair[0].shape[0], -1, *pair[0].shape[2:])
                  for pair in zip(first, third)]
        gated.reference = Case(
            "MoE", [*gated.inputs[:2], *joined, *gated.inputs[4:6]],
            {"k": 2, "activation_type": "swiglu", "swiglu_fusion": 1, "activation_alpha": 1.0,
             "activation_beta": 0.0}, stored=tuple(range(2, 6)))
        cases["gated"] = gated
        self.compare(cases)

    def test_quantized(self):
        random = np.random.default_rng(13)
        pairs = {"activation_type": "swiglu", "swiglu_fusion": 1, "activation_alpha": 1.702,
                 "activation_beta": 1.0, "swiglu_limit": 7.0}
        # ONNX Runtime rounds the rows to int8 here.
        blocks8 = quantized_experts(random, bits=8, block=16, activation_type="identity")
        x, scores, w1, s1, b1, w2, s2, b2 = blocks8.inputs
        dense = [(w - np.float32(128)) * np.repeat(s, 16, -1) for w, s in ((w1, s1), (w2, s2))]
        blocks8.reference = Case(
            "MoE", [x, scores, dense[0], b1, dense[1], b2],
            {"k": 2, "activation_type": "identity", "normalize_routing_weights": 1},
            stored=tuple(range(2, 6)))
        self.compare({
            "rows4": quantized_experts(random, activation_type="relu"),
            "rows8": quantized_experts(random, bits=8, activation_type="silu"),
            "blocks4": quantized_experts(random, block=32, activation_type="relu"),
            "blocks8": blocks8,
            "normalized": quantized_experts(random, activation_type="relu",
                                            normalize_routing_weights=1),
            "pairs4": quantized_experts(random, block=32, **pairs),
            "pairs8": quantized_experts(random, bits=8, tokens=40, **pairs),
        }, "--activations=f32")


class RefusalTest(unittest.TestCase):
    def expect(self, case: Case, message: str) -> None:
        model, _ = make_model({"node": case})
        with tempfile.TemporaryDirectory(prefix="nju-ops-") as folder:
            path = pathlib.Path(folder) / "model.onnx"
            onnx.save(model, path)
            done = subprocess.run([BIN / "nju-compile", path, "-o", path.with_suffix(""),
                                   "--quiet"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(message, done.stderr)

    def test_attentions(self):
        random = np.random.default_rng(7)
        for options, message in (
                ({"smooth_softmax": 1}, "has smooth_softmax, which is not supported"),
                ({"heads": 3}, "has 3 heads of queries and 2 of keys, expected a multiple"),
                ({"k_quant_type": "PER_TENSOR"}, "nju-compile --kv quantizes it"),
                ({"packed": True, "size": 15, "num_heads": 3}, "expected a multiple")):
            self.expect(group_query(random, **options), message)
        no_lengths = group_query(random)
        no_lengths.inputs[5] = None
        self.expect(no_lengths, "has no input 5, expected one")
        half = group_query(random)
        half.inputs[2] = None
        self.expect(half, "has only one of key and value")
        half = group_query(random, past=2, fresh=1)
        half.inputs[4] = None
        self.expect(half, "has only one of past_key and past_value")
        no_tables = group_query(random, do_rotary=1)
        self.expect(no_tables, "has do_rotary without cos_cache and sin_cache")
        no_value = multi_head(random)
        no_value.inputs[2] = None
        self.expect(no_value, "has no key or no value")
        ends = multi_head(random, mask="lengths")
        ends.inputs[4] = np.arange(8, dtype=np.int32)
        self.expect(ends, "expected a length for each sequence, or a mask")
        no_words = embedding(random)
        no_words.inputs[2] = None
        self.expect(no_words, "has no input 2, expected one")
        no_table = embedding(random)
        no_table.inputs[4] = None
        self.expect(no_table, "has only one of segment_ids and segment_embedding")
        self.expect(self_attention(random, do_rotary=1), "has do_rotary or")
        self.expect(Case("PackedMultiHeadAttention", [rows(random, 4, 3, 3, 8)], {"num_heads": 3}),
                    "has sequences packed without padding")

    def test_experts(self):
        random = np.random.default_rng(12)
        for options, message in (
                ({"activation_type": "tanh"}, "'activation_type' is 'tanh', expected relu, gelu"),
                ({"activation_type": "relu", "use_sparse_mixer": 1}, "by the sparse mixer"),
                ({"activation_type": "swiglu"}, "'swiglu_fusion' is 0, expected 1 (alternating)"),
                ({"activation_type": "relu", "k": 5}, "and k = 5, expected [tokens, K]")):
            self.expect(experts(random, **options), message)
        for options, message in (
                ({"bits": 2}, "has weights of 2 bits, expected 4 or 8"),
                ({"quant_type": "fp4"}, "has weights of type 'fp4'"),
                ({"block": 8}, "'block_size' is 8, expected a power of two of at least 16")):
            self.expect(quantized_experts(random, activation_type="relu", **options), message)
        scales = quantized_experts(random, activation_type="relu")
        scales.inputs[3] = scales.inputs[3][:, :-1]
        self.expect(scales, "has scales of shape [4, 31], expected [4, 32]")
        points = quantized_experts(random, activation_type="relu")
        points.inputs += [None] * 3 + [np.zeros((4, 32), np.uint8)]
        self.expect(points, "has input 11, expected no zero points")
        narrow = quantized_experts(random, activation_type="relu")
        narrow.inputs[2] = narrow.inputs[2][:, :, :-1]
        self.expect(narrow, "has input 2 ")
        short = experts(random, activation_type="relu")
        short.inputs[3] = short.inputs[3][:, :-1]
        self.expect(short, "has a bias 'tensor<4x5xf32>', expected [4, 6]")
        other = experts(random, activation_type="silu", third=True)
        other.inputs[6] = other.inputs[6][:, :-1]
        self.expect(other, "has input 6 ")


if __name__ == "__main__":
    unittest.main()
