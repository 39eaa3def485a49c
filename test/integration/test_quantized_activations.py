#!/usr/bin/env python3
"""Models whose activations ONNX Runtime's tools have quantized compute what it does."""
import logging
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                      quantize_dynamic, quantize_static)

from ort_reference import make_session, random_inputs
from test_ragged_batch import BIN, ROOT, TARGET

DIMS = {"batch": 2, "sequence": 7}
# Of the largest output: a number between two integers may be rounded to either.
TOLERANCE = 0.01


class Samples(CalibrationDataReader):
    def __init__(self, path: pathlib.Path):
        session = make_session(path)
        self.samples = iter([random_inputs(session, DIMS, seed) for seed in range(4)])

    def get_next(self):
        return next(self.samples, None)


class QuantizedActivations(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def check(self, path: pathlib.Path) -> None:
        session = make_session(path)
        inputs = random_inputs(session, DIMS, seed=9)
        stem = self.folder / "model"
        result = subprocess.run([BIN / "nju-compile", path, "-o", stem, "--quiet",
                                 f"--target={TARGET}"], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        command = [BIN / "nju-run", "run", f"{stem}.so", "--output-dir", self.folder]
        for name, value in inputs.items():
            np.save(self.folder / f"{name}.npy", value)
            command += ["--input", f"{name}={self.folder / name}.npy"]
        subprocess.run(command, check=True, capture_output=True)
        for info, expected in zip(session.get_outputs(), session.run(None, inputs)):
            error = np.abs(np.load(self.folder / f"{info.name}.npy") - expected).max()
            self.assertLess(error, TOLERANCE * np.abs(expected).max(), info.name)

    def check_fixture(self, name: str, activations: list[QuantType]) -> None:
        source, path = ROOT / f"test/fixtures/{name}.onnx", self.folder / "quantized.onnx"
        for kind in activations:
            with self.subTest(how="dynamic", weights=kind):
                quantize_dynamic(source, path, weight_type=kind, per_channel=True)
                self.check(path)
            for how in QuantFormat:
                with self.subTest(how=how, activations=kind):
                    quantize_static(source, path, Samples(source), quant_format=how,
                                    activation_type=kind, weight_type=QuantType.QInt8,
                                    op_types_to_quantize=["MatMul"])
                    self.check(path)

    def test_encoder(self) -> None:
        self.check_fixture("bert-torchscript-opset14", [QuantType.QInt8, QuantType.QUInt8])

    def test_language_model(self) -> None:
        self.check_fixture("llama-gqa-torchscript-opset14", [QuantType.QUInt8])


if __name__ == "__main__":
    logging.disable()  # The tools advise to prepare models, and to prefer formats.
    unittest.main()
