"""Writes the onnx package's tests of single ops as files.

For each test a folder with model.onnx, input_I.pb and output_I.pb (TensorProtos
with raw data). Needs onnx and numpy.
"""

from __future__ import annotations

import pathlib
import sys
import warnings

import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

# The newest opset that the importer reads. Tests of newer ones are labelled
# with it: most of their ops are the same.
NEWEST_OPSET = 24


def write(test, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for opset in test.model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = min(opset.version, NEWEST_OPSET)
    (folder / "model.onnx").write_bytes(test.model.SerializeToString())
    inputs, outputs = test.data_sets[0]
    graph = test.model.graph
    for stem, values, infos in ("input", inputs, graph.input), ("output", outputs, graph.output):
        for i, (value, info) in enumerate(zip(values, infos)):
            if isinstance(value, onnx.TensorProto):
                value = numpy_helper.to_array(value)
            if value is None or isinstance(value, (list, tuple)):
                continue  # An optional or a sequence: the importer refuses the model.
            tensor = numpy_helper.from_array(value, info.name)
            (folder / f"{stem}_{i}.pb").write_bytes(tensor.SerializeToString())


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    warnings.simplefilter("ignore")  # Some tests divide by zero on purpose.
    count = 0
    for test in collect_testcases(None):
        if test.model is not None and test.data_sets:
            write(test, folder / test.name)
            count += 1
    (folder / "stamp").write_text(f"{count} tests of onnx {onnx.__version__}\n")


if __name__ == "__main__":
    main()
