#!/usr/bin/env python3
"""Models whose prompts are computed by AMX tiles: long steps, short ones, and both.

A Llama of random weights is quantized, for a processor with emulated AMX, so that
products, attention and what is packed between them work together. Up to 24 tokens
in a step are as without tiles, to the bit; more are near them.
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
from onnx import numpy_helper

from test_ragged_batch import BIN, ROOT, Runtime

sys.path.insert(0, str(ROOT / "examples/common"))
from llama_onnx import LlamaShape, LlamaStyle, build_llama  # noqa: E402

SHAPE = LlamaShape(hidden=128, ffn=172, layers=2, heads=4, kv_heads=2, vocabulary=80)
TOKENS = 70


def has_avx512() -> bool:
    info = pathlib.Path("/proc/cpuinfo")
    return info.exists() and {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= set(
        info.read_text().split())


@unittest.skipUnless(has_avx512(), "emulated tiles need AVX-512")
class Tiles(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        rng = np.random.default_rng(3)

        def weight(name, dims):
            array = rng.normal(0, 0.1, dims) if len(dims) == 2 else rng.uniform(0.5, 1.5, dims)
            return numpy_helper.from_array(array.astype(np.float32), name)

        onnx.save(build_llama(SHAPE, LlamaStyle(), weight), self.folder / "model.onnx")
        self.tokens = rng.integers(0, SHAPE.vocabulary, TOKENS)

    def logits(self, name: str, steps: list[int], *options: str) -> np.ndarray:
        """Of the first tokens, as many in each step as `steps` says."""
        stem = self.folder / name
        if not stem.with_suffix(".so").exists():
            subprocess.run([BIN / "nju-compile", self.folder / "model.onnx", "-o", stem, "--quiet",
                            "--max-tokens=96", "--quantize=lcq4",
                            "--target=host+emulated-amx", *options], check=True)
        runtime = Runtime()
        model = runtime.load(f"{stem}.so")
        session = runtime.session(model, 2, 1, 96)
        rows, begin = [], 0
        for count in steps:
            rows.append(runtime.step(session, SHAPE.vocabulary,
                                     self.tokens[begin:begin + count], np.zeros(count)))
            begin += count
        runtime.api.nju_session_release(session)
        runtime.api.nju_model_release(model)
        return np.concatenate(rows)

    def test_short_steps_are_as_without_tiles(self):
        for steps in ([1] * 30, [24, 24, 22], [7, 1, 24, 1, 2]):
            with self.subTest(steps=steps):
                np.testing.assert_array_equal(self.logits("tiles", steps),
                                              self.logits("plain", steps, "--compute=f32"))

    def test_long_steps_are_near(self):
        for steps in ([TOKENS], [25, 45], [40, 1, 29], [3, 60, 7]):
            with self.subTest(steps=steps):
                exact = self.logits("exact", steps, "--compute=f32", "--activations=f32")
                error = self.logits("tiles", steps) - exact
                # bf16 keeps 8 bits; tokens of short steps are rounded to int8.
                self.assertLess(np.linalg.norm(error) / np.linalg.norm(exact), 0.03)


if __name__ == "__main__":
    unittest.main()
