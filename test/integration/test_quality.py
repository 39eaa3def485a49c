#!/usr/bin/env python3
"""Tests what bench/quality judges formats with: formats of others, moments, tables."""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile
import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench/quality"))
import corpus  # noqa: E402
import fake_quantize  # noqa: E402
import models  # noqa: E402
import table  # noqa: E402
from onnx_weights import OnnxWeights  # noqa: E402

# The table of bitsandbytes.
NF4 = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0,
       0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


def error(values: np.ndarray, weight: np.ndarray, moments: np.ndarray | None = None) -> float:
    difference = (values - weight).astype(np.float64)
    moments = np.eye(weight.shape[1]) if moments is None else moments
    return float(np.trace(difference @ moments @ difference.T))


class RoundToNearestTest(unittest.TestCase):
    def test_levels_stay(self) -> None:
        weight = np.array([[-0.5, 0, 0.5, 1, -1, 0, 1, 2]], np.float32)
        values, _ = fake_quantize.round_to_nearest(weight, bits=2, group=4)
        np.testing.assert_array_equal(values, weight)

    def test_rounds(self) -> None:
        weight = np.array([[0, 3, 1.4, 1.6, -0.2]], np.float32)
        values, _ = fake_quantize.round_to_nearest(weight, bits=2, group=4)
        np.testing.assert_allclose(values, [[0, 3, 1, 2, -0.2]], rtol=1e-3)

    def test_groups_of_nothing(self) -> None:
        weight = np.zeros((3, 8), np.float32)
        for clip in (False, True):
            values, _ = fake_quantize.round_to_nearest(weight, 2, 4, clip)
            np.testing.assert_array_equal(values, weight)

    def test_search_of_the_range(self) -> None:
        weight = normal(16, 64)
        plain, _ = fake_quantize.round_to_nearest(weight, 2, 64)
        searched, _ = fake_quantize.round_to_nearest(weight, 2, 64, clip=True)
        self.assertLess(error(searched, weight), 0.8 * error(plain, weight))

    def test_bits(self) -> None:
        # Three rows of two groups, each with a scale and a zero point of 3 bits.
        _, bits = fake_quantize.round_to_nearest(normal(3, 6), bits=3, group=4)
        self.assertEqual(bits, 3 * (6 * 3 + 2 * (16 + 3)))


class NormalFloatTest(unittest.TestCase):
    def test_table(self) -> None:
        np.testing.assert_allclose(fake_quantize.normal_float_levels(4), NF4, atol=1e-6)

    def test_levels_stay(self) -> None:
        weight = 0.5 * np.tile(fake_quantize.normal_float_levels(3), (2, 2))
        values, bits = fake_quantize.normal_float(weight, bits=3, group=8)
        np.testing.assert_array_equal(values, weight)
        self.assertEqual(bits, 2 * (16 * 3 + 2 * 16))

    def test_nearest(self) -> None:
        weight = normal(4, 32)
        values, _ = fake_quantize.normal_float(weight, 4, 16)
        scale = np.repeat(np.abs(weight).reshape(4, 2, 16).max(2), 16, 1)
        every = np.array(NF4)[:, None, None] * scale
        nearest = np.abs(every - weight).min(0)
        np.testing.assert_allclose(np.abs(values - weight), nearest, atol=2e-3)


class GPTQTest(unittest.TestCase):
    def test_without_correlation(self) -> None:
        weight = normal(8, 32)
        values, bits = fake_quantize.gptq(weight, np.eye(32), 3, 16)
        expected, expected_bits = fake_quantize.round_to_nearest(weight, 3, 16)
        np.testing.assert_array_equal(values, expected)
        self.assertEqual(bits, expected_bits)

    def test_two_columns(self) -> None:
        # x is the same in both columns: what the first one loses, the second gets.
        moments = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]])
        for second, expected in ((2.0, 2), (2.3, 3)):
            weight = np.array([[0.4, second, 3.0]], np.float32)
            values, _ = fake_quantize.gptq(weight, moments, bits=2, group=3)
            np.testing.assert_array_equal(values, [[0, expected, 3]])

    def test_error_of_the_outputs(self) -> None:
        weight, inputs = normal(16, 32), normal(200, 32) @ normal(32, 32)
        moments = inputs.T @ inputs
        plain, _ = fake_quantize.round_to_nearest(weight, 3, 16)
        values, _ = fake_quantize.gptq(weight, moments, 3, 16)
        self.assertLess(error(values, weight, moments), 0.7 * error(plain, weight, moments))

    def test_input_that_is_always_zero(self) -> None:
        moments = np.eye(8)
        moments[5, 5] = 0
        values, _ = fake_quantize.gptq(normal(2, 8), moments, 4, 8)
        np.testing.assert_array_equal(values[:, 5], 0)
        self.assertTrue(np.isfinite(values).all())


class OnnxWeightsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "model.onnx"
        self.first, self.second = normal(3, 4), normal(4, 2)
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "layers.0.a"], ["h"]),
             helper.make_node("MatMul", ["h", "layers.0.b"], ["y"]),
             helper.make_node("MatMul", ["h", "head"], ["z"])], "two",
            [info("x", TensorProto.FLOAT, ["n", 3])],
            [info(name, TensorProto.FLOAT, ["n", 2]) for name in ("y", "z")],
            [numpy_helper.from_array(value, name) for name, value in (
                ("layers.0.a", self.first), ("layers.0.b", self.second), ("head", self.second))])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)],
                                    ir_version=8), self.path)

    def test_second_moments(self) -> None:
        x = normal(10, 3)
        weights = OnnxWeights(self.path, r"^layers\.")
        moments = weights.second_moments([{"x": x[:4]}, {"x": x[4:]}])
        self.assertEqual(set(moments), {"layers.0.a", "layers.0.b"})
        np.testing.assert_allclose(moments["layers.0.a"], x.T @ x / 10, rtol=1e-5)
        hidden = x @ self.first
        np.testing.assert_allclose(moments["layers.0.b"], hidden.T @ hidden / 10, rtol=1e-4)

    def test_weights_are_replaced(self) -> None:
        weights = OnnxWeights(self.path, "head")
        np.testing.assert_array_equal(weights["head"], self.second.T)
        weights["head"] = 2 * weights["head"]
        weights.save(self.path)
        np.testing.assert_array_equal(OnnxWeights(self.path, "head")["head"], 2 * self.second.T)

    def test_no_such_weight(self) -> None:
        with self.assertRaisesRegex(ValueError, "no matrix whose name matches 'blocks'"):
            OnnxWeights(self.path, "blocks")


class TableTest(unittest.TestCase):
    def test_tables(self) -> None:
        def row(name: str, bits: float, quality: float) -> dict:
            return {"model": "minilm", "format": name, "bits": bits, "measure": "cosine",
                    "quality": quality, "error": None, "note": "", "seconds": 1}

        with tempfile.TemporaryDirectory() as folder:
            output = pathlib.Path(folder) / "quality"
            output.with_suffix(".md").write_text("# Title\n\n<!-- tables -->\nold\n")
            rows = [row("small", 2.25, 0.5), row("large", 4.25, 0.75)]
            table.write(rows, output)
            self.assertEqual(json.loads(output.with_suffix(".json").read_text()), rows)
            lines = output.with_suffix(".md").read_text().splitlines()
        self.assertEqual(lines[0], "# Title")
        self.assertNotIn("old", lines)
        self.assertEqual(lines[-2:], ["| large | 4.25 | 0.7500 |  |", "| small | 2.25 | 0.5000 |  |"])


class CorpusTest(unittest.TestCase):
    def test_shares_of_the_parts(self) -> None:
        parts = [corpus.part_of(f"document {i}") for i in range(10000)]
        self.assertAlmostEqual(parts.count("eval") / 10000, 0.02, delta=0.005)
        self.assertAlmostEqual(parts.count("calibration") / 10000, 0.03, delta=0.006)

    def test_sequences_of_different_lengths(self) -> None:
        filled = models.fill_rows([np.array([5, 0, 7]), np.array([1])])
        self.assertEqual(filled.dtype, np.int64)
        self.assertEqual(filled.tolist(), [[5, 0, 7], [1, -1, -1]])

    def test_text_of_a_page(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / "page.html"
            page.write_text("<html><head><title>no</title></head><body><p>One\n two</p>"
                            "<script>no()</script><li>three</li></body></html>")
            self.assertEqual(corpus.text_of_page(page), "One two\nthree")


if __name__ == "__main__":
    unittest.main()
