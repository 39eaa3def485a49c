#!/usr/bin/env python3
"""Gives nju-compile models that are wrong, and checks how it refuses them.

Every refusal is one error that names the node or the file, exit code 1, and no
output file. NJU_BIN_DIR names the folder of nju-compile.
"""

from __future__ import annotations

import os
import pathlib
import resource
import signal
import subprocess
import tempfile
import time
import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = pathlib.Path(os.environ.get("NJU_BIN_DIR", REPOSITORY / "build/bin"))
WITH_PAST = REPOSITORY / "test/fixtures/gpt2-torchscript-opset17-past.onnx"
FIXTURE = REPOSITORY / "test/fixtures/llama-gqa-dynamo-opset18.onnx"


def make_model(nodes, initializers=(), opset: int = 17, outputs=("y",)) -> onnx.ModelProto:
    """A graph from x [batch, 4] f32 to outputs of any shape."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    ys = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "bad", [x], ys, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def weight(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def external_weight(location: str, offset: int = 0, length: int = 64) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4],
                         data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"], name="/product")


class BadInputTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model = self.folder / "in" / "model.onnx"
        self.model.parent.mkdir()
        self.stem = self.folder / "out" / "model"
        self.stem.parent.mkdir()

    def compile(self, **options) -> subprocess.CompletedProcess:
        return subprocess.run([str(BIN_DIR / "nju-compile"), str(self.model), "-o", str(self.stem)],
                              capture_output=True, text=True, check=False, timeout=300,
                              stdin=subprocess.DEVNULL, **options)

    def expect_refused(self, *patterns: str, **options) -> None:
        """The error matches every pattern."""
        result = self.compile(**options)
        self.assertEqual(result.returncode, 1, result.stderr)
        errors = [line for line in result.stderr.splitlines() if "error:" in line]
        self.assertEqual(len(errors), 1, result.stderr)
        for pattern in patterns:
            self.assertRegex(result.stderr, pattern)
        self.assertEqual(list(self.stem.parent.iterdir()), [])

    def refuse_model(self, model: onnx.ModelProto, *patterns: str) -> None:
        self.model.write_bytes(model.SerializeToString())
        self.expect_refused(*patterns)

    # Models that are nearly language models.

    def change_inputs(self, dims: dict[str, list]) -> None:
        """A fixture with a cache, whose inputs have other dimensions."""
        model = onnx.load(WITH_PAST)
        for value in model.graph.input:
            if value.name in dims:
                value.CopyFrom(helper.make_tensor_value_info(
                    value.name, value.type.tensor_type.elem_type, dims[value.name]))
        self.model.write_bytes(model.SerializeToString())

    def test_a_cache_that_is_too_large_is_not_followed(self) -> None:
        self.change_inputs({"past_key_values.0.value": ["batch", 3, 1 << 31, 12]})
        result = self.compile()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stderr, r"remark: .*: keys or values of more than 2\^28 elements")

    # The file.

    def test_missing_file(self) -> None:
        self.expect_refused(r"model\.onnx", r"[Nn]o such file")

    def test_empty_file(self) -> None:
        self.model.touch()
        self.expect_refused(r"model\.onnx")

    def test_random_bytes(self) -> None:
        for seed in range(5):
            self.model.write_bytes(np.random.default_rng(seed).bytes(1000))
            self.expect_refused(r"model\.onnx")

    def test_truncated_file(self) -> None:
        data = FIXTURE.read_bytes()
        for length in (1, 10, 1000, len(data) // 2, len(data) - 1):
            self.model.write_bytes(data[:length])
            self.expect_refused(r"model\.onnx")

    def test_flipped_bytes_never_crash(self) -> None:
        data = FIXTURE.read_bytes()
        rng = np.random.default_rng(0)
        for _ in range(10):
            changed = bytearray(data)
            for at in rng.integers(0, len(data), 20):
                changed[at] = rng.integers(256)
            self.model.write_bytes(changed)
            self.assertIn(self.compile().returncode, (0, 1))

    # External data.

    def test_missing_external_data(self) -> None:
        self.refuse_model(make_model([PRODUCT], [external_weight("weights.data")]),
                          r"weights\.data")

    def test_external_data_beyond_the_end(self) -> None:
        (self.model.parent / "weights.data").write_bytes(bytes(100))
        for offset, length in ((64, 64), (1 << 40, 64), ((1 << 64) - 32, 64)):
            self.refuse_model(make_model([PRODUCT], [external_weight("weights.data", offset, length)]),
                              r"weights\.data|\bw\b")

    def test_external_data_of_another_size(self) -> None:
        (self.model.parent / "weights.data").write_bytes(bytes(100))
        self.refuse_model(make_model([PRODUCT], [external_weight("weights.data", 0, 60)]), r"\bw\b")

    def test_external_path_that_leaves_the_folder(self) -> None:
        (self.folder / "weights.data").write_bytes(bytes(64))
        for location in ("../weights.data", "/etc/passwd", "../../etc/passwd", "a/../../weights.data"):
            self.refuse_model(make_model([PRODUCT], [external_weight(location)]), r"\bw\b|" + location)

    def test_external_link_that_leaves_the_folder(self) -> None:
        (self.folder / "weights.data").write_bytes(bytes(64))
        (self.model.parent / "link.data").symlink_to(self.folder / "weights.data")
        self.refuse_model(make_model([PRODUCT], [external_weight("link.data")]), r"link\.data|\bw\b")

    # The graph.

    def test_dangling_name(self) -> None:
        node = helper.make_node("Add", ["x", "nowhere"], ["y"], name="/sum")
        self.refuse_model(make_model([node]), "/sum", "nowhere")

    def test_output_that_nothing_makes(self) -> None:
        node = helper.make_node("Relu", ["x"], ["z"], name="/relu")
        self.refuse_model(make_model([node], outputs=("y",)), r"\by\b")

    def test_cycle(self) -> None:
        nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="/first"),
                 helper.make_node("Relu", ["a"], ["b"], name="/second"),
                 helper.make_node("Relu", ["b"], ["y"], name="/third")]
        self.refuse_model(make_model(nodes), "/first|/second")

    def test_name_defined_twice(self) -> None:
        nodes = [helper.make_node("Relu", ["x"], ["y"], name="/first"),
                 helper.make_node("Tanh", ["x"], ["y"], name="/second")]
        self.refuse_model(make_model(nodes), r"/second|\by\b")

    def test_unknown_op(self) -> None:
        node = helper.make_node("Frobnicate", ["x"], ["y"], name="/frob")
        self.refuse_model(make_model([node]), "/frob", "Frobnicate")

    def test_unknown_domain(self) -> None:
        node = helper.make_node("Relu", ["x"], ["y"], name="/relu", domain="com.example")
        model = make_model([node])
        model.opset_import.append(helper.make_opsetid("com.example", 1))
        self.refuse_model(model, "/relu", r"com\.example")

    def test_unknown_opset(self) -> None:
        node = helper.make_node("Relu", ["x"], ["y"], name="/relu")
        for opset in (3, 999):
            self.refuse_model(make_model([node], opset=opset), str(opset))

    def test_contradicting_dimensions(self) -> None:
        self.refuse_model(make_model([PRODUCT], [weight("w", 5, 3)]), "/product")

    def test_huge_dimensions(self) -> None:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40, 1 << 40])
        self.refuse_model(make_model([PRODUCT], [tensor]), r"\bw\b")

    def test_negative_dimension(self) -> None:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-4, 4])
        self.refuse_model(make_model([PRODUCT], [tensor]), r"\bw\b")

    def test_too_few_bytes_in_a_weight(self) -> None:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4], raw_data=bytes(60))
        self.refuse_model(make_model([PRODUCT], [tensor]), r"\bw\b")

    def test_wrong_types(self) -> None:
        tensor = numpy_helper.from_array(np.ones((4, 4), np.int64), "w")
        self.refuse_model(make_model([PRODUCT], [tensor]), "/product")

    def test_missing_input_of_a_node(self) -> None:
        node = helper.make_node("MatMul", ["x"], ["y"], name="/product")
        self.refuse_model(make_model([node]), "/product")

    def test_attribute_out_of_range(self) -> None:
        node = helper.make_node("Concat", ["x", "x"], ["y"], name="/concat", axis=7)
        self.refuse_model(make_model([node]), "/concat", "7")

    # The machine.

    def test_full_disk(self) -> None:
        self.model.write_bytes(FIXTURE.read_bytes())

        def limit_files() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

        self.expect_refused(r"model", preexec_fn=limit_files)

    def test_output_folder_that_does_not_exist(self) -> None:
        self.model.write_bytes(FIXTURE.read_bytes())
        self.stem = self.stem.parent / "none" / "model"
        result = self.compile()
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "error: .*none")

    def test_interrupt_leaves_all_or_nothing(self) -> None:
        self.model.write_bytes(FIXTURE.read_bytes())
        for delay in np.arange(0.05, 1.0, 0.1):
            process = subprocess.Popen(
                [str(BIN_DIR / "nju-compile"), str(self.model), "-o", str(self.stem)],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                text=True)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            # Before main() an interrupt ends the process as it ends any other.
            self.assertIn(process.returncode, (0, 1, -signal.SIGINT), errors)
            written = sorted(path.suffix for path in self.stem.parent.iterdir())
            expected = [".h", ".safetensors", ".so"] if process.returncode == 0 else []
            self.assertEqual(written, expected, errors)
            for path in self.stem.parent.iterdir():
                path.unlink()


if __name__ == "__main__":
    unittest.main()
