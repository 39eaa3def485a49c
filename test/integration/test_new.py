#!/usr/bin/env python3
"""Tests scripts/new in a copy of the files that it changes."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CHANGED = ["include/nju/Transforms", "include/nju/Dialect/NJU/IR", "lib/Transforms", "test/Transforms"]


class NewTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name in CHANGED:
            shutil.copytree(REPOSITORY / name, self.root / name)

    def new(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, REPOSITORY / "scripts/new", "--root", self.root, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def files(self) -> dict[pathlib.Path, str]:
        return {path: path.read_text() for path in self.root.rglob("*") if path.is_file()}

    def refused(self, message: str, *arguments: str) -> None:
        before = self.files()
        result = self.new(*arguments)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn(message, result.stderr)
        self.assertEqual(before, self.files())

    def test_pass(self) -> None:
        result = self.new("pass", "merge-projections", "Merge matmuls of one input")
        self.assertEqual(result.returncode, 0, result.stderr)
        passes = (self.root / "include/nju/Transforms/Passes.td").read_text()
        self.assertIn('def MergeProjections : Pass<"nju-merge-projections", "::mlir::ModuleOp">', passes)
        self.assertTrue(passes.rstrip().endswith("#endif // NJU_TRANSFORMS_PASSES"))
        self.assertIn("GEN_PASS_DEF_MERGEPROJECTIONS",
                      (self.root / "lib/Transforms/MergeProjections.cpp").read_text())
        self.assertIn("  MergeProjections.cpp\n", (self.root / "lib/Transforms/CMakeLists.txt").read_text())
        self.assertIn("--nju-merge-projections", (self.root / "test/Transforms/merge-projections.mlir").read_text())
        self.refused("is there already", "pass", "merge-projections", "Again")

    def test_op(self) -> None:
        result = self.new("op", "Elementwise", "softsign", "x / (1 + |x|), for each element")
        self.assertEqual(result.returncode, 0, result.stderr)
        family = (self.root / "include/nju/Dialect/NJU/IR/Elementwise.td").read_text()
        self.assertIn('def NJU_SoftsignOp : NJU_PureOp<"softsign"', family)
        self.assertIn("nju.softsign", (self.root / "test/Dialect/NJU/Analysis/softsign.mlir").read_text())
        self.refused("has an op 'softsign' already", "op", "Elementwise", "softsign", "Again")

    def test_refusals(self) -> None:
        self.refused("no name of a pass, expected words", "pass", "MergeProjections", "x")
        self.refused("no name of an op, expected words", "op", "Elementwise", "Soft-Sign", "x")
        self.refused("there is no family 'Activations', expected one of Attention, Elementwise",
                     "op", "Activations", "softsign", "x")


if __name__ == "__main__":
    unittest.main()
