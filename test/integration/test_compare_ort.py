#!/usr/bin/env python3
"""Tests compare_ort.py with programs that are right, or wrong in a known way."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures"
LANGUAGE_MODEL = FIXTURES / "llama-gqa-dynamo-opset18.onnx"
WITH_PAST = FIXTURES / "gpt2-optimum-opset18-past.onnx"
GRAPH = FIXTURES / "perceptron-torchscript-opset13.onnx"


class CompareTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        for name, function in (("nju-compile", "compile_model"), ("nju-run", "run_model")):
            path = pathlib.Path(cls.folder.name) / name
            path.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(HERE)!r})\n"
                            f"import fake_nju\nsys.exit(fake_nju.{function}(sys.argv[1:]))\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def compare(self, *models: pathlib.Path, fault: str = "",
                target: str = "") -> tuple[int, str]:
        result = subprocess.run(
            [sys.executable, HERE / "compare_ort.py", "--bin-dir", self.folder.name, *models],
            capture_output=True, text=True, check=False,
            env=os.environ | {"FAKE_NJU_FAULT": fault, "NJU_TEST_TARGET": target or "host"})
        self.assertEqual(result.stderr, "")
        return result.returncode, result.stdout

    def expect_fail(self, model: pathlib.Path, fault: str, message: str) -> None:
        code, output = self.compare(model, fault=fault)
        self.assertEqual(code, 1)
        self.assertTrue(output.startswith(f"FAIL {model.stem}: "), output)
        self.assertIn(message, output)

    def test_accepts_equal_models(self) -> None:
        code, output = self.compare(LANGUAGE_MODEL, WITH_PAST, GRAPH)
        self.assertEqual(code, 0, output)
        self.assertEqual(output.count("PASS"), 3)
        self.assertIn("64 greedy tokens equal", output)
        self.assertIn("3 passed, 0 failed", output)

    def test_reports_compile_error(self) -> None:
        self.expect_fail(LANGUAGE_MODEL, "compile-error",
                         "nju-compile exited with 1: error: node '/model/Add' has no type")

    def test_compiles_for_the_target_of_the_environment(self) -> None:
        code, output = self.compare(GRAPH, fault="no-target", target="x86-64-v3")
        self.assertEqual(code, 1)
        self.assertIn("unknown target 'x86-64-v3'", output)
        self.assertEqual(self.compare(GRAPH, fault="no-target")[0], 0)

    def test_reports_missing_header(self) -> None:
        self.expect_fail(LANGUAGE_MODEL, "no-header", "did not write")

    def test_reports_missing_logits(self) -> None:
        self.expect_fail(LANGUAGE_MODEL, "no-logits", "was not written")

    def test_reports_different_logits(self) -> None:
        self.expect_fail(LANGUAGE_MODEL, "logits", "output 'logits' differs by 1.00e-03")

    def test_reports_wrong_shape(self) -> None:
        self.expect_fail(LANGUAGE_MODEL, "shape", "output 'logits' has shape [70, 101], expected [71, 101]")

    def test_reports_nan(self) -> None:
        self.expect_fail(LANGUAGE_MODEL, "nan", "not finite")

    def test_reports_different_token(self) -> None:
        self.expect_fail(LANGUAGE_MODEL, "token", "greedy token 5 is")

    def test_reports_missing_token(self) -> None:
        self.expect_fail(LANGUAGE_MODEL, "fewer-tokens", "63 greedy tokens, expected 64")

    def test_reports_output_that_is_not_tokens(self) -> None:
        self.expect_fail(LANGUAGE_MODEL, "text", "printed 'a story'")

    def test_reports_different_outputs(self) -> None:
        self.expect_fail(GRAPH, "outputs", "output 'log_probabilities' differs")

    def test_reports_missing_model(self) -> None:
        self.expect_fail(FIXTURES / "none.onnx", "", "is missing")


if __name__ == "__main__":
    unittest.main()
