#!/usr/bin/env python3
"""Models for several processors in one library, and for processors of another kind.

Every variant that this machine can run gives the logits of the code for this
machine; the others are refused by name. NJU_BIN_DIR names the folder of
nju-compile and nju-run. To run code for aarch64 too, NJU_AARCH64_RUN names a
program that runs nju-run for it, and NJU_AARCH64_SYSROOT the root of its system
(docs/testing.md); else that test is skipped.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = pathlib.Path(os.environ.get("NJU_BIN_DIR", ROOT / "build/bin"))
TINY_STORIES = ROOT / "examples/tiny-stories/model.onnx"
HALF = ROOT / "test/fixtures/llama-gqa-optimum-opset18-past-f16.onnx"
GRAPH = ROOT / "test/fixtures/perceptron-torchscript-opset13.onnx"
TOKENS = "1,5,9,30,2,17,8,8,40,3,11,25"


class TargetsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def call(self, *command, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False,
                              timeout=300, stdin=subprocess.DEVNULL, env=os.environ | environment)

    def compile(self, model: pathlib.Path, target: str, *options) -> pathlib.Path:
        stem = self.folder / f"{model.stem}-{target}"
        result = self.call(BIN_DIR / "nju-compile", model, "-o", stem, "--quiet",
                           f"--target={target}", *options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return stem.with_suffix(".so")

    def refuse(self, *options, pattern: str) -> None:
        result = self.call(BIN_DIR / "nju-compile", TINY_STORIES, "-o", self.folder / "no", *options)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, f"^nju-compile: error: {pattern}\n$")
        self.assertEqual(list(self.folder.glob("no*")), [])

    def logits(self, library: pathlib.Path, *options, program=BIN_DIR / "nju-run",
               **environment) -> np.ndarray:
        path = self.folder / "logits.npy"
        result = self.call(program, "logits", library, "--tokens", TOKENS, "-o", path, *options,
                           **environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        return np.load(path)

    def assert_close(self, actual: np.ndarray, expected: np.ndarray) -> None:
        self.assertLess(np.abs(actual - expected).max(), 1e-4 * np.abs(expected).max())

    def signature(self, library: pathlib.Path) -> dict:
        result = self.call(BIN_DIR / "nju-run", "info", library, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def variants(self, library: pathlib.Path) -> list[str]:
        return [variant["name"] for variant in self.signature(library)["target"]["variants"]]

    def test_every_variant_that_can_run_is_right(self) -> None:
        for model in (TINY_STORIES, HALF):
            expected = self.logits(self.compile(model, "host"))
            library = self.compile(model, "x86-64")
            names = self.variants(library)
            self.assertLessEqual({"x86-64-v4", "x86-64-v3"}, set(names))
            self.assert_close(self.logits(library), expected)
            ran = []
            for name in names:
                with self.subTest(model=model.stem, variant=name):
                    info = self.call(BIN_DIR / "nju-run", "info", library, "--variant", name)
                    if info.returncode == 0:
                        ran.append(name)
                        self.assertRegex(info.stdout, rf"runs here: +{name}\n")
                        actual = self.logits(library, "--variant", name)
                        self.assert_close(actual, expected)
                        np.testing.assert_array_equal(
                            self.logits(library, NJU_VARIANT=name), actual)
                    else:
                        self.assertRegex(info.stderr, f"variant '{name}' of model '.*' cannot run "
                                         r"here: this machine \(.+\) lacks [a-z0-9-]+")
            # Code for this machine alone could be made, so some variant runs.
            self.assertIn("x86-64-v3", ran)
            info = self.call(BIN_DIR / "nju-run", "info", library)
            self.assertRegex(info.stdout, rf"runs here: +{ran[0]}\n")

    @unittest.skipUnless(shutil.which("qemu-x86_64"), "there is no qemu-x86_64")
    def test_lesser_machines_run_what_they_can(self) -> None:
        library = self.compile(TINY_STORIES, "x86-64")
        run = BIN_DIR / "nju-run"
        haswell = ["qemu-x86_64", "-cpu", "Haswell", run]
        info = self.call(*haswell, "info", library)
        if "lacks" in info.stderr:
            self.skipTest("this qemu-x86_64 has no AVX2")
        self.assertRegex(info.stdout, r"runs here: +x86-64-v3\n", info.stderr)
        path = self.folder / "haswell.npy"
        result = self.call(*haswell, "logits", library, "--tokens", TOKENS, "-o", path, "--threads", 1)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assert_close(np.load(path), self.logits(library))
        forced = self.call(*haswell, "info", library, "--variant", "x86-64-v4")
        self.assertRegex(forced.stderr, r"error: variant 'x86-64-v4' of model '.*' cannot run here: "
                         r"this machine \(.*Haswell.*\) lacks avx512bw, .*avx512vl\n")
        nehalem = self.call("qemu-x86_64", "-cpu", "Nehalem", run, "info", library)
        self.assertEqual(nehalem.returncode, 1)
        self.assertRegex(nehalem.stderr, r"error: model '.*' was compiled for x86-64, this machine "
                         r"\(.*Nehalem.*\) lacks .*for x86-64-v4 avx, .*; for x86-64-v3 avx, avx2, .*: "
                         "compile it for this machine with --target=host")

    def test_graphs_have_variants(self) -> None:
        library = self.compile(GRAPH, "x86-64")
        names = self.variants(library)
        self.assertEqual(names[-1], "x86-64-v3")

    def test_a_variant_that_is_not_there(self) -> None:
        library = self.compile(TINY_STORIES, "x86-64-v3")
        self.assertEqual(self.variants(library), ["x86-64-v3"])
        result = self.call(BIN_DIR / "nju-run", "info", library, NJU_VARIANT="z80")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "has no variant 'z80', expected one of: x86-64-v3")

    def test_one_weight_file_serves_all(self) -> None:
        files = {self.compile(HALF, target).with_suffix(".safetensors").read_bytes()
                 for target in ("x86-64-v3", "x86-64-v4", "x86-64-v4-amx", "x86-64")}
        self.assertEqual(len(files), 1)

    def test_unknown_names_have_suggestions(self) -> None:
        self.refuse("--target=znver44", pattern="unknown target 'znver44', did you mean 'znver4'; "
                    "expected one of: host, x86-64, x86-64-v3, .*")
        self.refuse("--target=aarch46", pattern="unknown target 'aarch46', did you mean 'aarch64'.*")
        self.refuse("--target=pentium-9000", pattern="unknown target 'pentium-9000'; expected .*")
        self.refuse("--target=x86-64-v2", pattern=r"target 'x86-64-v2' .*lacks AVX2, FMA or F16C.*")

    @unittest.skipIf(os.uname().machine == "aarch64", "this machine is aarch64")
    def test_libraries_for_aarch64_need_its_system(self) -> None:
        self.refuse("--target=aarch64", "--link=static",
                    pattern="--link=static embeds the runtime, which is here for this machine only "
                    "and not for aarch64: use --link=shared")
        self.refuse("--target=aarch64", f"--sysroot={self.folder}/none",
                    pattern="--sysroot=.*/none is no folder")
        self.refuse("--target=aarch64", f"--sysroot={self.folder}",
                    pattern="cannot find libomp.so.5, which the model is linked with in "
                    f"--sysroot={self.folder}")
        found = list(pathlib.Path("/usr").glob("lib/aarch64-linux-gnu/libomp.so.5"))
        if not found:
            self.refuse("--target=aarch64", pattern="cannot find libomp.so.5, .* for aarch64: unpack "
                        "the package libomp5 for it and name the folder by --sysroot, or use "
                        "--emit=obj")

    @unittest.skipUnless("NJU_AARCH64_RUN" in os.environ and "NJU_AARCH64_SYSROOT" in os.environ,
                         "NJU_AARCH64_RUN and NJU_AARCH64_SYSROOT are not set")
    def test_aarch64_gives_the_same_logits(self) -> None:
        for model in (TINY_STORIES, HALF):
            expected = self.logits(self.compile(model, "host"))
            for target in ("aarch64", "neoverse-n1"):
                library = self.compile(model, target,
                                       f"--sysroot={os.environ['NJU_AARCH64_SYSROOT']}")
                # Threads that wait for each other are slow in an emulator.
                actual = self.logits(library, "--threads", "1",
                                     program=os.environ["NJU_AARCH64_RUN"])
                self.assert_close(actual, expected)
                refused = self.call(BIN_DIR / "nju-run", "info", library)
                self.assertEqual(refused.returncode, 1)
                self.assertRegex(refused.stderr, r"was compiled for another machine \(aarch64\), "
                                 "this one is x86-64: compile it for this machine with "
                                 "--target=x86-64")


if __name__ == "__main__":
    unittest.main()
