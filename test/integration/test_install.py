#!/usr/bin/env python3
"""Installs NJU, moves it elsewhere, and uses it as a project of its own would.

NJU_BUILD_DIR names the build tree, NJU_CC the C compiler.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD_DIR = pathlib.Path(os.environ.get("NJU_BUILD_DIR", REPOSITORY / "build"))
CC = os.environ.get("NJU_CC", "clang-22")
TINY_STORIES = REPOSITORY / "examples/tiny-stories"
# Nothing may be found because of where the tests run.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


def run(*command) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                            check=False, timeout=600, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
    if result.returncode:
        raise AssertionError(f"{command[0]} exited with {result.returncode}: "
                             f"{result.stdout}{result.stderr}")
    return result.stdout


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        run("cmake", "--install", BUILD_DIR, "--prefix", cls.folder / "here")
        cls.prefix = cls.folder / "there"
        (cls.folder / "here").rename(cls.prefix)
        cls.reference = next(entry for entry in
                             json.loads((TINY_STORIES / "reference.json").read_text())
                             if entry["prompt"])

    def compile(self, stem: str, *options: str) -> pathlib.Path:
        library = self.folder / f"{stem}.so"
        run(self.prefix / "bin/nju-compile", TINY_STORIES / "model.onnx", "-o",
            library.with_suffix(""), *options)
        return library

    def expect_tokens(self, program: pathlib.Path, library: pathlib.Path) -> None:
        output = run(program, library.with_suffix(".safetensors"), len(self.reference["tokens"]),
                     *self.reference["prompt_tokens"])
        self.assertEqual([int(token) for token in output.split(",")], self.reference["tokens"])

    def test_tools_find_each_other(self) -> None:
        library = self.compile("model")
        text = run(self.prefix / "bin/nju-run", "generate", library, "--prompt",
                   self.reference["prompt"], "--max-new-tokens", 250)
        self.assertIn(self.reference["text"].strip(), text)

    def test_a_project_finds_the_package(self) -> None:
        library = self.compile("my-model")
        build = self.folder / "build"
        run("cmake", "-G", "Ninja", "-S", REPOSITORY / "examples/embed-c", "-B", build,
            f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_C_COMPILER={CC}",
            f"-DNJU_MODEL={library}")
        run("cmake", "--build", build)
        self.expect_tokens(build / "embed-c", library)

    def test_a_static_model_is_linked_alone(self) -> None:
        library = self.compile("alone", "--link=static")
        program = self.folder / "alone"
        run(CC, REPOSITORY / "examples/embed-c/embed-c.c", library, "-o", program,
            f"-I{self.prefix}/include", f"-I{self.folder}", f"-Wl,-rpath,{self.folder}",
            '-DMODEL_HEADER="alone.h"', "-DMODEL_DESCRIPTOR=nju_alone_descriptor",
            "-DMODEL_VOCABULARY=NJU_ALONE_VOCABULARY")
        self.assertNotIn("nju_runtime", run("ldd", program))
        self.expect_tokens(program, library)


if __name__ == "__main__":
    unittest.main()
