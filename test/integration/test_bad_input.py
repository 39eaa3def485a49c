#!/usr/bin/env python3
"""Gives nju-compile models that are wrong, and checks how it refuses them.

Every refusal is one error that names the node or the file, exit code 1, and no
output file. Graphs that are compiled refuse inputs that contradict each other.
NJU_BIN_DIR names the folder of nju-compile and nju-run.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import signal
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = pathlib.Path(os.environ.get("NJU_BIN_DIR", REPOSITORY / "build/bin"))
FIXTURES = REPOSITORY / "test/fixtures"
WITH_PAST = FIXTURES / "gpt2-torchscript-opset17-past.onnx"
FIXTURE = FIXTURES / "llama-gqa-dynamo-opset18.onnx"
TINY_STORIES = REPOSITORY / "examples/tiny-stories/model.onnx"


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
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.environment = {**os.environ, "TMPDIR": str(self.temporary)}

    def run_compiler(self, *arguments, **options) -> subprocess.CompletedProcess:
        command = [str(BIN_DIR / "nju-compile"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300,
                              stdin=subprocess.DEVNULL, env=self.environment, **options)

    def compile(self, **options) -> subprocess.CompletedProcess:
        return self.run_compiler(self.model, "-o", self.stem, **options)

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

    # Inputs of a compiled graph.

    def run_graph(self, inputs: dict[str, np.ndarray]) -> subprocess.CompletedProcess:
        command = [str(BIN_DIR / "nju-run"), "run", f"{self.stem}.so"]
        for name, value in inputs.items():
            path = self.folder / f"{name}.npy"
            np.save(path, value)
            command += ["--input", f"{name}={path}"]
        return subprocess.run([*command, "--output-dir", str(self.folder)], capture_output=True,
                              text=True, check=False, timeout=300, stdin=subprocess.DEVNULL)

    def test_inputs_that_cannot_be_broadcast(self) -> None:
        add = helper.make_node("Add", ["x", "z"], ["y"], name="/sum")
        model = make_model([add])
        model.graph.input.append(
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["rows", 4]))
        self.model.write_bytes(model.SerializeToString())
        self.assertEqual(self.compile().returncode, 0)
        result = self.run_graph({"x": np.ones((3, 4), np.float32),
                                 "z": np.ones((5, 4), np.float32)})
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, r"error: .*contradict each other: node '/sum \(Add\)': "
                         "cannot broadcast a size of 5 to 3")

    def test_attention_mask_that_is_too_short(self) -> None:
        # What reads the cache makes it no language model.
        model = onnx.load(WITH_PAST)
        cached = "past_key_values.0.value"
        model.graph.node.append(helper.make_node("Neg", [cached], ["negated"], name="/negated"))
        model.graph.output.append(helper.make_tensor_value_info(
            "negated", TensorProto.FLOAT, ["batch", 3, "past", 12]))
        self.model.write_bytes(model.SerializeToString())
        self.assertEqual(self.compile().returncode, 0)
        inputs = {"input_ids": np.ones((1, 3), np.int64),
                  "position_ids": np.arange(4, 7).reshape(1, 3)}
        for layer in range(2):
            for kind in ("key", "value"):
                inputs[f"past_key_values.{layer}.{kind}"] = np.ones((1, 3, 4, 12), np.float32)
        result = self.run_graph({**inputs, "attention_mask": np.ones((1, 7), np.int64)})
        self.assertEqual(result.returncode, 0, result.stderr)
        result = self.run_graph({**inputs, "attention_mask": np.ones((1, 5), np.int64)})
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, r"error: .*contradict each other: node '.+ \(\w+\)': "
                         "index 6 is out of range for a size of 5")

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
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

        self.expect_refused(r"model", preexec_fn=limit_files)

    def test_full_disk_for_temporary_files(self) -> None:
        # No weights: the object file is the first that is too large.
        node = helper.make_node("Relu", ["x"], ["y"], name="/relu")
        self.model.write_bytes(make_model([node]).SerializeToString())

        def limit_files() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

        self.expect_refused(r"cannot write '.*nju-", preexec_fn=limit_files)
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_interrupt_in_every_phase(self) -> None:
        self.model.write_bytes(TINY_STORIES.read_bytes())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for phase in range(1, 6):
                with self.subTest(signal=number, after_phase=phase):
                    self.interrupt(number, phase)

    def interrupt(self, number: int, phase: int) -> None:
        """Sends a signal once `phase` phases are over."""
        process = subprocess.Popen(
            [str(BIN_DIR / "nju-compile"), str(self.model), "-o", str(self.stem)],
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=self.environment)
        for line in process.stderr:
            if line.startswith(f"[{phase}/"):
                break
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        written = sorted(path.suffix for path in self.stem.parent.iterdir())
        if process.returncode == 0:  # it was faster
            self.assertEqual(written, [".h", ".safetensors", ".so"], errors)
        else:
            self.assertEqual(process.returncode, 1, errors)
            self.assertTrue(errors.endswith("nju-compile: error: interrupted\n"), errors)
            self.assertEqual(written, [], errors)
        self.assertEqual(list(self.temporary.iterdir()), [])
        for path in self.stem.parent.iterdir():
            path.unlink()

    def test_an_ignored_signal_stays_ignored(self) -> None:
        self.model.write_bytes(FIXTURE.read_bytes())
        process = subprocess.Popen(
            [str(BIN_DIR / "nju-compile"), str(self.model), "-o", str(self.stem)],
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 0, errors)

    # The output.

    def test_output_folder_that_does_not_exist(self) -> None:
        self.model.write_bytes(FIXTURE.read_bytes())
        self.refuse_output("none/model", "there is no folder '.*none'")

    def refuse_output(self, name: str, pattern: str) -> None:
        before = sorted(self.stem.parent.iterdir())
        result = self.run_compiler(self.model, "-o", f"{self.stem.parent}/{name}")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, f"^nju-compile: error: .*{pattern}.*\n$")
        self.assertEqual(sorted(self.stem.parent.iterdir()), before)

    def test_output_that_names_no_file(self) -> None:
        self.model.write_bytes(FIXTURE.read_bytes())
        for name in ("", ".", "x/.."):
            self.refuse_output(name, "names no file, expected a stem")

    def test_folder_where_an_output_goes(self) -> None:
        self.model.write_bytes(FIXTURE.read_bytes())
        (self.stem.parent / "model.so").mkdir()
        self.refuse_output("model", r"cannot write '.*model\.so': what is there")

    def test_weights_of_somebody_else_are_not_replaced(self) -> None:
        self.model.write_bytes(FIXTURE.read_bytes())
        header = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
        theirs = self.stem.with_suffix(".safetensors")
        content = len(header).to_bytes(8, "little") + header + bytes(4)
        theirs.write_bytes(content)
        self.refuse_output("model", r"model\.safetensors' was not written by nju-compile")
        self.assertEqual(theirs.read_bytes(), content)

    def test_a_good_model_has_no_warnings(self) -> None:
        for name in ("perceptron-torchscript-opset13", "llama-gqa-dynamo-opset18"):
            result = self.run_compiler(FIXTURES / f"{name}.onnx", "-o", self.stem, "--quiet")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertNotRegex(result.stderr, "warning|error")

    def test_own_outputs_are_replaced(self) -> None:
        self.model.write_bytes(FIXTURE.read_bytes())
        for _ in range(2):
            self.assertEqual(self.compile().returncode, 0)

    def test_a_pipe_stays_a_pipe(self) -> None:
        self.model.write_bytes(TINY_STORIES.read_bytes())
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
        result = self.run_compiler(self.model, "-o", pipe, "--emit=import")
        text, _ = reader.communicate(timeout=60)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(b"nju.param", text)
        self.assertTrue(pipe.is_fifo())

    # The command line.

    def refuse_options(self, *options, pattern: str) -> None:
        result = self.run_compiler(*options)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, f"^nju-compile: .*{pattern}.*\n$")
        self.assertEqual(list(self.stem.parent.iterdir()), [])

    def test_usage(self) -> None:
        self.refuse_options(pattern="no model is given")
        self.refuse_options("model.onnx", pattern="no output is given, expected -o STEM")
        self.refuse_options("model.onnx", "-o", "x", "--frobnicate",
                            pattern="unknown command line argument '--frobnicate'")
        for option, value, expected in (
                ("emit", "wasm", "import, nju, linalg, llvm, asm, obj or so"),
                ("link", "glue", "shared or static"), ("kv", "q9", "f32, f16, q8 or q4"),
                ("max-tokens", "many", "a whole number"), ("report", "1", "no value")):
            self.refuse_options("model.onnx", "-o", "x", f"--{option}={value}",
                                pattern=f"error: --{option} is '{value}', expected {expected} ")

    def test_values_out_of_range(self) -> None:
        for option in ("--max-tokens=-1", "--max-sequences=0", "--max-batch-tokens=0",
                       "--max-sequences=99999999999"):
            self.refuse_options("model.onnx", "-o", self.stem, option,
                                pattern=f"{option} is out of range, expected 1 to")

    def test_shared_library_to_stdout(self) -> None:
        self.refuse_options("model.onnx", "-o", "-", pattern="cannot write a shared library to stdout")

    def test_unknown_targets(self) -> None:
        self.refuse_options("model.onnx", "-o", self.stem, "--target=z80", pattern="unknown target 'z80'")
        self.refuse_options("model.onnx", "-o", self.stem, "--target=x86-64-v2", pattern="lacks AVX2")


if __name__ == "__main__":
    unittest.main()
