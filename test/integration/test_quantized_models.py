#!/usr/bin/env python3
"""Models that come quantized: MatMulNBits, GatherBlockQuantized, DequantizeLinear.

What they compute is compared with ONNX Runtime, and with weights that are
dequantized here by the operators' documentation.
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
from onnx import TensorProto, helper

from ort_reference import LanguageModel
from quantized_onnx import Blocks, packed_tensor, quantize, tensor, unpack
from test_quantized import WeightFile
from test_ragged_batch import BIN, ROOT, TARGET

# Of the outputs, relative to the largest.
TOLERANCE = {np.float32: 2e-6, np.float16: 2e-3}
TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}


def make_model(nodes, initializers, inputs: dict, opset: int = 21) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, kind, dims)
              for name, (kind, dims) in inputs.items()]
    output = onnx.ValueInfoProto(name="y")
    graph = helper.make_graph(nodes, "graph", values, [output], initializers)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def product(matrix: Blocks, bias: np.ndarray | None = None, groups=None) -> onnx.ModelProto:
    """y = x W' + bias, x [batch, tokens, columns]."""
    tensors = [tensor("w", matrix.codes), tensor("w.scales", matrix.scales)]
    names = ["x", "w", "w.scales", "", "", ""]
    if matrix.zero_points is not None:
        names[3] = "w.zeros"
        tensors.append(tensor("w.zeros", matrix.zero_points))
    if groups is not None:
        names[4] = "w.groups"
        tensors.append(tensor("w.groups", groups.astype(np.int32)))
    if bias is not None:
        names[5] = "bias"
        tensors.append(tensor("bias", bias))
    while not names[-1]:
        names.pop()
    node = helper.make_node("MatMulNBits", names, ["y"], "/product", domain="com.microsoft",
                            K=matrix.columns, N=matrix.rows, bits=matrix.bits,
                            block_size=matrix.block)
    return make_model([node], tensors,
                      {"x": (TYPES[matrix.dtype], ["batch", "tokens", matrix.columns])})


def pack(codes: np.ndarray) -> np.ndarray:
    """Codes of 4 bits, two a byte along the last dimension."""
    codes = np.concatenate([codes, np.zeros((*codes.shape[:-1], codes.shape[-1] % 2), codes.dtype)], -1)
    return (codes[..., ::2] | codes[..., 1::2] << 4).astype(np.uint8)


def unpack_int32(words: np.ndarray, axis: int, order=range(8)) -> np.ndarray:
    """Codes of 4 bits along an axis of int32; place i of a word has code order[i]."""
    wide = np.stack([words.astype(np.uint32) >> np.uint32(4 * i) & 15 for i in range(8)], axis + 1)
    wide = np.take(wide, np.argsort(order), axis + 1)
    shape = list(words.shape)
    shape[axis] *= 8
    return wide.reshape(shape).astype(np.uint8)


AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def from_checkpoint(qweight, qzeros, scales, block: int, awq: bool) -> Blocks:
    """GPTQ's (format 1) or AWQ's tensors of 4 bits in the form of MatMulNBits."""
    if awq:
        codes, zeros = (unpack_int32(t, 1, AWQ_ORDER) for t in (qweight, qzeros))
    else:
        codes, zeros = unpack_int32(qweight, 0), unpack_int32(qzeros, 1) + 1
    matrix = Blocks(codes.shape[1], codes.shape[0], block=block, zeros="packed", dtype=scales.dtype.type)
    matrix.codes = pack(codes.T.reshape(matrix.rows, matrix.blocks, block))
    matrix.zero_points = pack(zeros.T)
    matrix.scales = np.ascontiguousarray(scales.T)
    return matrix


class QuantizedModels(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.rng = np.random.default_rng(7)

    def compile(self, model: onnx.ModelProto, *options) -> str:
        (self.folder / "model.onnx").write_bytes(model.SerializeToString())
        result = subprocess.run(
            [BIN / "nju-compile", self.folder / "model.onnx", "-o", self.folder / "model",
             "--quiet", f"--target={TARGET}", *options], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def run_compiled(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        command = [BIN / "nju-run", "run", self.folder / "model.so"]
        for name, value in inputs.items():
            np.save(self.folder / f"{name}.npy", value)
            command += ["--input", f"{name}={self.folder / name}.npy"]
        subprocess.run([*command, "--output-dir", self.folder], check=True, capture_output=True)
        return np.load(self.folder / "y.npy")

    def run_ort(self, model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
        return session.run(None, inputs)[0]

    def weights(self) -> WeightFile:
        return WeightFile(self.folder / "model.safetensors")

    def require_close(self, actual, expected, tolerance: float, what) -> None:
        actual, expected = actual.astype(np.float64), expected.astype(np.float64)
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        self.assertLess(error, tolerance, what)

    # MatMulNBits.

    def check_product(self, matrix: Blocks, bias=None, groups=None, ort=True, options=()) -> None:
        model = product(matrix, bias, groups)
        self.compile(model, "--activations=f32", *options)
        x = self.rng.standard_normal((2, 5, matrix.columns)).astype(matrix.dtype)
        actual = self.run_compiled({"x": x})
        self.assertEqual(actual.dtype, matrix.dtype)
        expected = x.astype(np.float64) @ matrix.dense(groups).T.astype(np.float64)
        if bias is not None:
            expected += bias
        self.require_close(actual, expected, TOLERANCE[matrix.dtype], matrix)
        if ort:
            self.require_close(actual, self.run_ort(model, {"x": x}), TOLERANCE[matrix.dtype] * 2,
                               matrix)
        # The file stands for the same weights, to the bit.
        if matrix.bits < 8:
            order = slice(None) if groups is None else np.argsort(groups, kind="stable")
            np.testing.assert_array_equal(self.weights().dequantize("w"), matrix.dense(groups)[:, order])

    def test_products(self) -> None:
        cases = [Blocks(48, 128), Blocks(33, 96, block=16), Blocks(7, 70, block=32),
                 Blocks(64, 512, block=256, zeros="packed"), Blocks(5, 40, block=64),
                 Blocks(40, 100, zeros="packed"), Blocks(40, 100, zeros="float"),
                 Blocks(40, 100, zeros="whole"), Blocks(40, 130, dtype=np.float16),
                 Blocks(40, 130, dtype=np.float16, zeros="packed"),
                 Blocks(40, 130, zeros="packed", exact_scales=True)]
        for matrix in cases:
            for bits in (4, 2, 8):
                case = dataclasses.replace(matrix, bits=bits, seed=len(cases))
                # ONNX Runtime has no floats as zero points of 8 bits.
                ort = bits != 8 or case.zeros in ("none", "packed")
                with self.subTest(case=case):
                    self.check_product(case, ort=ort)

    def test_bias(self) -> None:
        for bits in (4, 8):
            bias = self.rng.standard_normal(40).astype(np.float32)
            self.check_product(Blocks(40, 96, bits=bits, zeros="packed"), bias)

    def test_columns_in_another_order(self) -> None:
        for columns in (128, 100):
            groups = self.rng.permutation(columns) // 32
            matrix = Blocks(40, columns)
            self.check_product(matrix, groups=groups)
            # The natural order is none.
            self.check_product(matrix, groups=np.arange(columns) // 32)
        # ONNX Runtime has no order for packed zero points, nor for 2 and 8 bits.
        for bits in (2, 4, 8):
            matrix = Blocks(40, 96, bits=bits, zeros="packed")
            self.check_product(matrix, groups=self.rng.permutation(96) // 32, ort=False)

    def test_checkpoints_of_gptq_and_awq(self) -> None:
        columns, rows, block = 96, 40, 32
        codes = self.rng.integers(0, 16, (columns, rows)).astype(np.uint32)
        zeros = self.rng.integers(1, 16, (columns // block, rows)).astype(np.uint32)
        scales = self.rng.uniform(0.01, 0.1, zeros.shape).astype(np.float32)

        def words(values, axis, order=range(8)):
            values = np.moveaxis(values, axis, -1).reshape(*np.moveaxis(values, axis, -1).shape[:-1], -1, 8)
            packed = sum(values[..., o] << np.uint32(4 * i) for i, o in enumerate(order))
            return np.moveaxis(packed.astype(np.uint32).view(np.int32), -1, axis)

        groups = self.rng.permutation(columns) // block
        for awq in (False, True):
            order = AWQ_ORDER if awq else range(8)
            qweight = words(codes, 1 if awq else 0, order)
            qzeros = words(zeros if awq else zeros - 1, 1, order)
            matrix = from_checkpoint(qweight, qzeros, scales, block, awq)
            own = np.arange(columns) // block if awq else groups
            dense = (codes.astype(np.float32) - zeros[own].astype(np.float32)) * scales[own]
            np.testing.assert_array_equal(matrix.dense(own), dense.T)
            self.check_product(matrix, groups=None if awq else groups, ort=awq)

    def test_activations_are_rounded(self) -> None:
        matrix = Blocks(64, 256, zeros="packed")
        model = product(matrix)
        x = self.rng.standard_normal((1, 9, 256)).astype(np.float32)
        expected = self.run_ort(model, {"x": x})
        for activations, tolerance in (("int8", 2e-2), ("int16", 2e-4), ("f32", 2e-6)):
            self.compile(model, f"--activations={activations}")
            self.require_close(self.run_compiled({"x": x}), expected, tolerance, activations)

    def test_options_are_for_weights_in_floats(self) -> None:
        matrix = Blocks(48, 128)
        model = product(matrix)
        plan = self.folder / "plan.json"
        self.compile(model, "--quantize=lcq2")
        self.assertEqual(self.weights().quantized["w"]["bits"], 4)
        plan.write_text('{"default": "lcq2"}')
        self.compile(model, f"--quantize-plan={plan}")
        self.assertEqual(self.weights().quantized["w"]["bits"], 4)
        # Who names a weight means it.
        plan.write_text('{"tensors": {"w": "lcq3"}}')
        report = self.compile(model, f"--quantize-plan={plan}", "--report")
        self.assertEqual(self.weights().quantized["w"]["bits"], 3)
        self.assertRegex(report, r"largest errors +of weights, relative:\n  w +0\.\d+")
        plan.write_text('{"tensors": {"*": "none"}}')
        report = self.compile(model, f"--quantize-plan={plan}", "--report")
        self.assertEqual(self.weights().quantized, {})
        self.assertRegex(report, r"quantized +no matrices\n  dequantized to f32: 4 bits 1 matrices")
        x = self.rng.standard_normal((1, 3, 128)).astype(np.float32)
        self.require_close(self.run_compiled({"x": x}), x @ matrix.dense().T, 2e-6, "dense")

    def test_targets_without_kernels_get_dense_weights(self) -> None:
        (self.folder / "model.onnx").write_bytes(product(Blocks(48, 128)).SerializeToString())
        command = [BIN / "nju-compile", self.folder / "model.onnx", "-o", "-", "--emit=nju", "--quiet"]
        for target, op in (("aarch64", "nju.linear"), ("x86-64", "nju.lcq_matmul")):
            result = subprocess.run([*command, f"--target={target}"], capture_output=True, text=True,
                                    check=True)
            self.assertIn(op, result.stdout)

    # Embeddings.

    def check_rows(self, nodes, tensors, expected: np.ndarray, ort=True) -> None:
        """Rows of an embedding are exact."""
        model = make_model(nodes, tensors, {"ids": (TensorProto.INT64, ["tokens"])})
        self.compile(model)
        ids = self.rng.integers(0, len(expected), 23)
        actual = self.run_compiled({"ids": ids})
        np.testing.assert_array_equal(actual, expected[ids].astype(actual.dtype))
        if ort:
            np.testing.assert_array_equal(actual, self.run_ort(model, {"ids": ids}))

    def test_gather_block_quantized(self) -> None:
        for bits, zeros in ((4, "none"), (4, "packed"), (8, "none"), (8, "packed")):
            matrix = Blocks(50, 96, bits=bits, zeros=zeros)
            tensors = [tensor("e", matrix.codes.reshape(50, -1)), tensor("s", matrix.scales)]
            names = ["e", "ids", "s"]
            if zeros == "packed":
                tensors.append(tensor("z", matrix.zero_points))
                names.append("z")
            node = helper.make_node("GatherBlockQuantized", names, ["y"], domain="com.microsoft",
                                    block_size=32, bits=bits)
            with self.subTest(bits=bits, zeros=zeros):
                self.check_rows([node], tensors, matrix.dense())

    def test_gather_of_reshaped_codes(self) -> None:
        """As an embedding that shares the head's codes."""
        matrix = Blocks(50, 96)
        tensors = [tensor("codes", matrix.codes), tensor("s", matrix.scales),
                   tensor("shape", np.array([50, -1]))]
        nodes = [helper.make_node("Reshape", ["codes", "shape"], ["e"]),
                 helper.make_node("GatherBlockQuantized", ["e", "ids", "s"], ["y"],
                                  domain="com.microsoft", block_size=matrix.block, bits=4)]
        self.check_rows(nodes, tensors, matrix.dense())

    def test_gather_of_int4(self) -> None:
        scales = self.rng.uniform(0.5, 1.5, (30, 3)).astype(np.float32)
        for kind, low in ((TensorProto.INT4, -8), (TensorProto.UINT4, 0)):
            codes = self.rng.integers(low, low + 16, (30, 40))
            zeros = self.rng.integers(low, low + 16, (30, 3))
            tensors = [packed_tensor("e", kind, codes), tensor("s", scales),
                       packed_tensor("z", kind, zeros)]
            node = helper.make_node("GatherBlockQuantized", ["e", "ids", "s", "z"], ["y"],
                                    domain="com.microsoft", block_size=16)
            dense = (codes - zeros[:, np.arange(40) // 16]) * scales[:, np.arange(40) // 16]
            self.check_rows([node], tensors, dense.astype(np.float32))

    # DequantizeLinear.

    def dequantize(self, kind: int, shape, axis: int | None, block: int = 0, zeros=True,
                   dtype=np.float32):
        """A node that makes w, its tensors, and w."""
        bits, low = {TensorProto.INT4: (4, -8), TensorProto.UINT4: (4, 0),
                     TensorProto.INT8: (8, -128), TensorProto.UINT8: (8, 0),
                     TensorProto.INT2: (2, -2), TensorProto.UINT2: (2, 0)}[kind]
        codes = self.rng.integers(low, low + (1 << bits), shape)
        if axis is None:
            size, index = (), (0,) * 0
        elif block:
            size = tuple(-(-n // block) if i == axis else n for i, n in enumerate(shape))
            index = np.ix_(*(np.arange(n) // (block if i == axis else 1) for i, n in enumerate(shape)))
        else:
            size = (shape[axis],)
            index = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        scales = np.asarray(self.rng.uniform(0.5, 1.5, size) / (1 << bits)).astype(dtype)
        zero = self.rng.integers(low, low + (1 << bits), size) if zeros else np.zeros(size, int)
        array = {TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8}.get(kind)
        make = (lambda name, values: tensor(name, np.asarray(values).astype(array))) if array else (
            lambda name, values: packed_tensor(name, kind, np.asarray(values)))
        tensors = [make("w.codes", codes), tensor("w.scales", scales)]
        names = ["w.codes", "w.scales"]
        if zeros:
            tensors.append(make("w.zeros", zero))
            names.append("w.zeros")
        attributes = {} if axis is None else {"axis": axis}
        if block:
            attributes["block_size"] = block
        node = helper.make_node("DequantizeLinear", names, ["w"], "/dequantize", **attributes)
        wide = scales.astype(np.float32)
        dense = (codes - np.asarray(zero)[index]).astype(np.float32) * wide[index]
        return node, tensors, dense

    def check_dequantize(self, transposed: bool, ort=True, opset=21, **options) -> None:
        shape = (40, 96) if transposed else (96, 40)
        node, tensors, dense = self.dequantize(shape=shape, **options)
        if transposed:
            use = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
            dense = dense.T
        else:
            use = helper.make_node("MatMul", ["x", "w"], ["y"])
        dtype = options.get("dtype", np.float32)
        model = make_model([node, use], tensors, {"x": (TYPES[dtype], ["n", 96])}, opset)
        self.compile(model, "--activations=f32")
        x = self.rng.standard_normal((9, 96)).astype(dtype)
        actual = self.run_compiled({"x": x})
        self.require_close(actual, x.astype(np.float64) @ dense, TOLERANCE[dtype], options)
        if ort:
            self.require_close(actual, self.run_ort(model, {"x": x}), TOLERANCE[dtype] * 2, options)

    def test_dequantize_linear(self) -> None:
        for kind in (TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8):
            for transposed in (False, True):
                k, n = (1, 0) if transposed else (0, 1)
                for case in ({"axis": k, "block": 32}, {"axis": k, "block": 20},
                             {"axis": n}, {"axis": None}, {"axis": n, "block": 16},
                             {"axis": k, "block": 16, "zeros": False},
                             {"axis": k, "block": 64, "dtype": np.float16}):
                    with self.subTest(kind=kind, transposed=transposed, **case):
                        self.check_dequantize(transposed, kind=kind, **case)

    def test_dequantize_linear_of_2_bits(self) -> None:
        for kind in (TensorProto.INT2, TensorProto.UINT2):
            for case in ({"axis": 0, "block": 32}, {"axis": 1}):
                with self.subTest(kind=kind, **case):
                    # ONNX Runtime does not know opset 25; NJU reads the types in older ones.
                    self.check_dequantize(False, kind=kind, ort=False, **case)

    def test_gather_of_dequantized(self) -> None:
        for kind in (TensorProto.INT4, TensorProto.UINT8):
            for case in ({"axis": 1, "block": 16}, {"axis": 0}):
                node, tensors, dense = self.dequantize(kind, (37, 40), **case)
                gather = helper.make_node("Gather", ["w", "ids"], ["y"])
                with self.subTest(kind=kind, **case):
                    self.check_rows([node, gather], tensors, dense)

    # Whole models.

    def logits(self, tokens) -> np.ndarray:
        path = self.folder / "logits.npy"
        subprocess.run([BIN / "nju-run", "logits", self.folder / "model.so", "--tokens",
                        ",".join(map(str, tokens)), "-o", path], check=True, capture_output=True)
        return np.load(path)

    def test_a_language_model(self) -> None:
        for bits in (4, 8):
            model = quantize(onnx.load(ROOT / "test/fixtures/llama-gqa-dynamo-opset18-past.onnx"), bits)
            report = self.compile(model, "--activations=f32", "--report")
            self.assertIn("causal language model", report)
            # Two layers of seven products, the head, and the embedding.
            self.assertRegex(report, r"as given: bits=4,group=16,scales=f32 +15 matrices" if bits == 4
                             else r"dequantized to f32: 8 bits +15 matrices")
            self.assertRegex(report, r"as given: bits=4,group=32,scales=f32 +1 matrices")
            tokens = self.rng.integers(0, 100, 20).tolist()
            expected = LanguageModel(self.folder / "model.onnx").logits(tokens)
            self.require_close(self.logits(tokens), expected, 1e-5, bits)
            self.assertEqual(len(self.weights().quantized), 16 if bits == 4 else 1)


if __name__ == "__main__":
    unittest.main()
