#!/usr/bin/env python3
"""A model with a quantized cache computes what docs/abi.md says of it.

A Llama of random weights is run here in float64, with keys and values that are
quantized by the documentation alone; the compiled model must give these logits.
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
from onnx import numpy_helper

from test_ragged_batch import BIN, ROOT, TARGET, Runtime

sys.path.insert(0, str(ROOT / "examples/common"))
from llama_onnx import LlamaShape, LlamaStyle, build_llama  # noqa: E402

SHAPE = LlamaShape(hidden=96, ffn=128, layers=2, heads=4, kv_heads=2, vocabulary=80)
HALF = np.finfo(np.float16).max
TOKENS = 70


def quantize(row: np.ndarray, bits: int, reference: np.ndarray | None = None) -> np.ndarray:
    """A head's elements as they are read back."""
    row = row.astype(np.float32)
    if reference is not None:
        row = row - reference
    row = np.clip(row, -HALF, HALF)
    group = min(64, row.size & -row.size)
    most, result = np.float32((1 << bits) - 1), np.empty_like(row)
    for begin in range(0, row.size, group):
        part = row[begin:begin + group]
        offset = np.float32(np.float16(part.min()))
        scale = np.float32(np.float16((part.max() - offset) / most))
        codes = np.rint((part - offset) / scale).clip(0, most) if scale else 0 * part
        result[begin:begin + group] = codes * scale + offset
    return result if reference is None else result + reference


class Cache:
    """Keys and values of one head."""

    def __init__(self, kind: str):
        self.kind, self.keys, self.values = kind, [], []

    def append(self, key: np.ndarray, value: np.ndarray):
        if self.kind == "q8":
            key, value = quantize(key, 8), quantize(value, 8)
        if self.kind == "q4":
            if len(self.keys) % 16 == 0:
                self.reference = quantize(key, 8)
            key, value = quantize(key, 4, self.reference), quantize(value, 4)
        self.keys.append(key)
        self.values.append(value)


def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return weight * x / np.sqrt(np.mean(x * x) + SHAPE.epsilon)


def rotate(x: np.ndarray, position: int) -> np.ndarray:
    half = SHAPE.head_dim // 2
    angle = position * SHAPE.rope_theta ** (-np.arange(half) / half)
    a, b = x[:, :half], x[:, half:]
    return np.hstack([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])


def reference_logits(w: dict[str, np.ndarray], tokens: np.ndarray, kind: str) -> np.ndarray:
    caches = [[Cache(kind) for _ in range(SHAPE.kv_heads)] for _ in range(SHAPE.layers)]
    rows = []
    for position, token in enumerate(tokens):
        x = w["model.embed_tokens.weight"][token]
        for n, layer in enumerate(caches):
            def product(x, name, prefix=f"model.layers.{n}."):
                return x @ w[f"{prefix}{name}.weight"]
            h = norm(x, w[f"model.layers.{n}.input_layernorm.weight"])
            query, key, value = (product(h, f"self_attn.{name}_proj").reshape(-1, SHAPE.head_dim)
                                 for name in "qkv")
            query, key = rotate(query, position), rotate(key, position)
            mixed = []
            for head, cache in enumerate(layer):
                cache.append(key[head], value[head])
                group = query.reshape(SHAPE.kv_heads, -1, SHAPE.head_dim)[head]
                scores = group @ np.array(cache.keys, np.float64).T / np.sqrt(SHAPE.head_dim)
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                weights /= weights.sum(-1, keepdims=True)
                mixed.append(weights @ np.array(cache.values, np.float64))
            x = x + product(np.concatenate(mixed).ravel(), "self_attn.o_proj")
            h = norm(x, w[f"model.layers.{n}.post_attention_layernorm.weight"])
            gate = product(h, "mlp.gate_proj")
            x = x + product(gate / (1 + np.exp(-gate)) * product(h, "mlp.up_proj"), "mlp.down_proj")
        rows.append(norm(x, w["model.norm.weight"]) @ w["lm_head.weight"])
    return np.array(rows)


class QuantizedCache(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        rng = np.random.default_rng(3)
        self.weights = {}

        def weight(name, dims):
            array = rng.normal(0, 0.15, dims) if len(dims) == 2 else rng.uniform(0.5, 1.5, dims)
            self.weights[name] = array.astype(np.float32)
            return numpy_helper.from_array(self.weights[name], name)

        onnx.save(build_llama(SHAPE, LlamaStyle(), weight), self.folder / "model.onnx")
        self.weights = {name: a.astype(np.float64) for name, a in self.weights.items()}
        self.tokens = rng.integers(0, SHAPE.vocabulary, TOKENS)

    def compiled_logits(self, kind: str) -> np.ndarray:
        stem = self.folder / kind
        subprocess.run([BIN / "nju-compile", self.folder / "model.onnx", "-o", stem, "--quiet",
                        "--max-tokens=96", f"--kv={kind}", f"--target={TARGET}"], check=True)
        runtime = Runtime()
        model = runtime.load(f"{stem}.so")
        session = runtime.session(model, 2, 1, 96)
        logits = runtime.step(session, SHAPE.vocabulary, self.tokens, np.zeros(TOKENS))
        runtime.api.nju_session_release(session)
        runtime.api.nju_model_release(model)
        return logits

    def test_computes_what_the_documentation_says(self):
        exact = reference_logits(self.weights, self.tokens, "f32")
        size = np.linalg.norm(exact)
        for kind, most in (("f32", 0), ("q8", 0.02), ("q4", 0.3)):
            with self.subTest(kv=kind):
                actual = self.compiled_logits(kind)
                expected = reference_logits(self.weights, self.tokens, kind)
                lost = np.linalg.norm(expected - exact) / size
                error = np.linalg.norm(actual - expected) / size
                self.assertLessEqual(lost, most)
                # A code at the middle of two may become either one.
                self.assertLess(error, 1e-5 + 0.1 * lost)


if __name__ == "__main__":
    unittest.main()
