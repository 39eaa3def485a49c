#!/usr/bin/env python3
"""Models whose activations ONNX Runtime's tools have quantized compute what it does."""
import logging
import pathlib
import tempfile
import unittest

import numpy as np
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                      quantize_dynamic, quantize_static)

from compare_ort import Tools
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
    def check(self, path: pathlib.Path) -> None:
        session = make_session(path)
        inputs = random_inputs(session, DIMS, seed=9)
        names = [output.name for output in session.get_outputs()]
        with tempfile.TemporaryDirectory() as folder:
            tools = Tools(BIN / "nju-compile", BIN / "nju-run", ["--quiet", f"--target={TARGET}"],
                          pathlib.Path(folder))
            tools.compile(path)
            outputs = tools.run(inputs, names)
        for name, actual, expected in zip(names, outputs, session.run(names, inputs)):
            error = np.abs(actual - expected).max()
            self.assertLess(error, TOLERANCE * np.abs(expected).max(), name)

    def check_fixture(self, name: str, activations: list[QuantType]) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        source = ROOT / f"test/fixtures/{name}.onnx"
        path = pathlib.Path(folder.name) / "quantized.onnx"
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
