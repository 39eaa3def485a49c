#!/usr/bin/env python3
"""Models with quantized weights compute what their weight files say.

The weight file is read here by its documentation alone (docs/abi.md,
nju/Quantization/Packing.h); the dense weights that it stands for, put into the ONNX
file, must give the same logits.
"""
import json
import pathlib
import resource
import struct
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
from onnx import numpy_helper

from test_ragged_batch import BIN, ROOT, TARGET, Runtime

MODELS = ["llama-gqa-dynamo-opset18-past", "llama3-tied-dynamo-opset18", "gpt2-torchscript-opset17",
          "qwen3moe-torchscript-opset17-past"]
FORMATS = ["lcq4", "lcq3", "lcq:bits=2,group=32,rank=2,double-quant=16,offset"]
# Of the logits, relative to the largest. What int8 and int16 lose is rounding of x.
TOLERANCES = {"f32": 1e-5, "int16": 1e-3, "int8": 0.1}


class WeightFile:
    def __init__(self, path: pathlib.Path):
        data = path.read_bytes()
        begin = 8 + struct.unpack("<Q", data[:8])[0]
        self.header = json.loads(data[8:begin])
        self.data = data[begin:]
        self.quantized = json.loads(self.header["__metadata__"].get("nju.quantization", "{}"))

    def tensor(self, name: str) -> np.ndarray:
        entry = self.header[name]
        types = {"U8": np.uint8, "I8": np.int8, "F32": np.float32}
        first, last = entry["data_offsets"]
        return np.frombuffer(self.data[first:last], types[entry["dtype"]]).reshape(entry["shape"])

    def dequantize(self, name: str) -> np.ndarray:
        """The matrix [N, K]."""
        d = self.quantized[name]
        columns, rows = d["shape"]
        basis, factors = (self.tensor(d[part]).astype(np.float32) for part in ("basis", "factors"))
        step = {4: 8, 3: 32, 2: 16}[d["bits"]]
        planes, width = d["rank"] + d["offset"], d["scale_bits"] // 8
        kinds = {1: np.int8, 2: np.float16, 4: np.float32}
        zero_width = d.get("zero_bits", 0) // 8
        tiles = []
        for number, tile in enumerate(self.tensor(name)):
            parts, at = [], 0
            for begin in range(0, columns, d["group"]):
                size = min(d["group"], columns - begin)
                scales = tile[at:at + planes * 16 * width]
                at += scales.size
                scales = scales.view(kinds[width]).astype(np.float32).reshape(planes, 16)
                for plane in range(planes):
                    if width == 1:
                        scales[plane] *= factors[plane, number * 16:number * 16 + 16]
                    else:
                        scales[plane] *= factors[int(plane >= d["rank"]), 0]
                zeros = np.zeros((16, 1), np.float32)
                if zero_width:
                    zeros = tile[at:at + 16 * zero_width].view(kinds[zero_width]).astype(np.float32)[:, None]
                    at += 16 * zero_width
                filled = -(-size // step) * step
                lines = tile[at:at + filled * 16 * d["bits"] // 8]
                at += lines.size
                codes = unpack(lines.reshape(-1, 64), d["bits"])[:, :size]
                value = sum(scales[k][:, None] * (basis[k][codes] - zeros) for k in range(d["rank"]))
                parts.append(value - scales[-1][:, None] if d["offset"] else value)
            assert at == tile.size
            tiles.append(np.concatenate(parts, axis=1))
        return np.concatenate(tiles)[:rows]


def unpack(lines: np.ndarray, bits: int) -> np.ndarray:
    """Codes [16, columns] of lines [n, 64]."""
    if bits == 3:
        a, b, c = lines.reshape(-1, 3, 64).transpose(1, 0, 2)
        units = [x >> shift & 7 for x in (a, b, c) for shift in (0, 4)]
        for shift in (3, 7):
            units.append((a >> shift & 1) << 2 | (b >> shift & 1) << 1 | c >> shift & 1)
    else:
        units = [lines >> shift & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    codes = np.stack(units, axis=1).reshape(-1, 16, 4)
    return codes.transpose(1, 0, 2).reshape(16, -1)


def with_dense(source: pathlib.Path, weights: WeightFile, to: pathlib.Path):
    """The model with f32 initializers that are what the file stands for."""
    model = onnx.load(source)
    tensors = {t.name: t for t in model.graph.initializer}
    for name in weights.quantized:
        # Small matrices have lost their names.
        found = [tensors[name]] if name in tensors else tensors.values()
        olds = [numpy_helper.to_array(t).astype(np.float32) for t in found if len(t.dims) == 2]
        value = weights.dequantize(name)
        error, value, old = min(((np.square(v - old).sum() / np.square(old).sum(), v, old)
                                 for v in (value, value.T) for old in olds if v.shape == old.shape),
                                key=lambda candidate: candidate[0])
        error = np.sqrt(error)
        assert error < {4: 0.1, 3: 0.2, 2: 0.4}[weights.quantized[name]["bits"]], (name, error)
        # An embedding that is the head, too, can be there twice.
        for other in tensors.values():
            if list(other.dims) == list(old.shape) and np.array_equal(numpy_helper.to_array(other), old):
                other.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), other.name))
            elif list(other.dims) == list(old.T.shape) and np.array_equal(numpy_helper.to_array(other), old.T):
                other.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value.T), other.name))
    onnx.save(model, to)


class Quantized(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.runtime = Runtime()

    def compile(self, source: pathlib.Path, name: str, *options, check=True, **kwargs):
        return subprocess.run(
            [BIN / "nju-compile", source, "-o", self.folder / name, "--quiet", "--max-tokens=64",
             f"--target={TARGET}", *options], check=check, capture_output=True, text=True, **kwargs)

    def logits(self, name: str, tokens, step: int):
        """Of all tokens, `step` of them at a time."""
        model = self.runtime.load(self.folder / f"{name}.so")
        vocabulary = int(self.runtime.api.nju_model_vocabulary(model))
        session = self.runtime.session(model, 2, 1)
        try:
            return np.concatenate([
                self.runtime.step(session, vocabulary, part, np.zeros(len(part)))
                for part in np.split(tokens, range(step, len(tokens), step))])
        finally:
            self.runtime.api.nju_session_release(session)
            self.runtime.api.nju_model_release(model)

    def check(self, name: str, form: str):
        source = self.folder / "f32.onnx"
        model = onnx.load(ROOT / f"test/fixtures/{name}.onnx")
        onnx.save(model, source)
        (self.folder / "plan.json").write_text(json.dumps(dict.fromkeys(("default", "head", "embedding"), form)))
        tokens = np.random.default_rng(5).integers(0, 100, 21).astype(np.int32)
        for activations, tolerance in TOLERANCES.items():
            self.compile(source, "quantized", f"--quantize-plan={self.folder}/plan.json",
                         f"--activations={activations}")
            if activations == "f32":
                weights = WeightFile(self.folder / "quantized.safetensors")
                self.assertGreater(len(weights.quantized), 7)
                with_dense(source, weights, self.folder / "dense.onnx")
                self.compile(self.folder / "dense.onnx", "dense")
                expected = self.logits("dense", tokens, 21)
            actual = self.logits("quantized", tokens, 21)
            error = np.abs(actual - expected).max() / np.abs(expected).max()
            self.assertLess(error, tolerance, f"{name} {form} {activations}")
            # A token's logits do not depend on what else is in a step.
            for step in (1, 4):
                np.testing.assert_array_equal(self.logits("quantized", tokens, step), actual)

    def test_computes_what_the_file_says(self):
        for name, form in zip(MODELS, FORMATS):
            with self.subTest(model=name, format=form):
                self.check(name, form)

    def test_goes_on_where_it_stopped(self):
        source = ROOT / "examples/tiny-stories/model.onnx"
        self.compile(source, "whole", "--quantize=lcq3")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        failed = self.compile(source, "again", "--quantize=lcq3", check=False, preexec_fn=limit)
        self.assertEqual(failed.returncode, 1, failed.stderr)
        kept = {p.name: p.stat().st_mtime_ns for p in (self.folder / "again.quantizing").iterdir()}
        self.assertGreater(len(kept), 20)
        # One is damaged, and is made again; another format leaves none as it is.
        damaged = self.folder / "again.quantizing" / sorted(kept)[0]
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
        failed = self.compile(source, "again", "--quantize=lcq3", check=False, preexec_fn=limit)
        self.assertEqual(failed.returncode, 1)
        now = {p.name: p.stat().st_mtime_ns for p in (self.folder / "again.quantizing").iterdir()}
        self.assertEqual([n for n in kept if kept[n] != now[n]], [damaged.name])
        self.compile(source, "again", "--quantize=lcq3")
        self.assertFalse((self.folder / "again.quantizing").exists())
        files = [(self.folder / f"{n}.safetensors").read_bytes() for n in ("whole", "again")]
        self.assertEqual(*files)


if __name__ == "__main__":
    unittest.main()
