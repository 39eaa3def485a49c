"""Applies a format to a model and judges the result.

A format is written NAME:KEY=VALUE,...: see FORMATS of the script `run`. Formats of
others are weights in f32 that went through them, in a copy of the model that
nju-compile compiles like the original; ours is what `nju-compile --quantize` makes.
"""

from __future__ import annotations

import functools
import json
import re
import time

import numpy as np

import fake_quantize
from llama_cpp_formats import DoesNotFit, LlamaFile, perplexity, quantize
from models import JudgedModel
from onnx_weights import OnnxWeights

# What may be put behind a format of ours with a +.
EFFORTS = ("calibrated", "refined")
ACTIVATIONS = ("int8", "int16")


def parse(text: str) -> tuple[str, dict[str, int]]:
    """"gptq:bits=4,group=64" -> ("gptq", {"bits": 4, "group": 64})"""
    name, _, options = text.partition(":")
    pairs = [option.partition("=") for option in options.split(",") if option]
    return name, {key: int(value) for key, _, value in pairs}


class Judge:
    def __init__(self, model: JudgedModel) -> None:
        self.model = model
        self.stem = model.folder / "judged"
        self.weights = OnnxWeights(model.onnx, model.pattern)

    @functools.cached_property
    def moments(self) -> dict[str, np.ndarray]:
        file = self.model.folder / "moments.npz"
        if not file.exists():
            np.savez(file, **self.weights.second_moments(self.model.feeds))
        return dict(np.load(file))

    def __call__(self, text: str) -> dict:
        """A row of the table. Bits are those of the quantized matrices, all told."""
        start = time.monotonic()
        if text.startswith("lcq"):
            bits, error, note = self._ours(text)
        else:
            bits, error, note = self._others(text)
        quantized = time.monotonic()
        return {"model": self.model.name, "format": text, "bits": round(bits, 3),
                "measure": self.model.measure, "quality": self.model.quality(self.stem),
                "error": error, "note": note, "seconds": round(quantized - start, 1)}

    def _compile(self, onnx, *options) -> str:
        return self.model.places.run("nju-compile", onnx, "-o", self.stem, "--quiet", *options)

    def _others(self, text: str) -> tuple[float, float | None, str]:
        copy = OnnxWeights(self.model.onnx, self.model.pattern)
        bits = elements = 0
        lost = total = 0.0
        matrices, note = self._quantized(text)
        for name, (values, stored) in matrices:
            exact = self.weights[name]
            copy[name] = values
            bits, elements = bits + stored, elements + exact.size
            lost += float(((values - exact)**2).sum())
            total += float((exact**2).sum())
        path = self.model.folder / "judged.onnx"
        copy.save(path)
        self._compile(path)
        return bits / elements, (lost / total)**0.5, note

    def _quantized(self, text: str):
        """The matrices as (name, (values, bits)), and what is to be said about them."""
        name, _, kind = text.partition(":")
        if name == "llama.cpp":
            return self._by_llama_cpp(kind)
        if name == "ggml":
            note = "rows padded" if any(self.weights[n].shape[1] % 32
                                        for n in self.weights.inputs) else ""
            return [(n, quantize(self.weights[n], kind, np.diag(self.moments[n]).copy()))
                    for n in self.weights.inputs], note
        return [(n, self._one(text, n)) for n in self.weights.inputs], ""

    def _one(self, text: str, name: str):
        kind, options = parse(text)
        weight = self.weights[name]
        if kind == "fp32":
            return weight, 32 * weight.size
        if kind == "gptq":
            return fake_quantize.gptq(weight, self.moments[name], **options)
        functions = {"rtn": fake_quantize.round_to_nearest, "nf": fake_quantize.normal_float}
        return functions[kind](weight, **options)

    @functools.cached_property
    def _llama_file(self) -> LlamaFile:
        if not hasattr(self.model, "tensors"):
            raise DoesNotFit(f"{self.model.name} is not written as a GGUF file")
        return LlamaFile(self.model.shape, self.model.tensors, self.model.folder / "f32.gguf")

    def _by_llama_cpp(self, mixture: str):
        importance = {n: np.diag(m).copy() for n, m in self.moments.items()}
        path = self._llama_file.quantized(mixture, importance)
        found = self._llama_file.read(path, self.weights.inputs)
        types = sorted({kind for _, _, kind in found.values()})
        return [(n, (v, b)) for n, (v, b, _) in found.items()], ", ".join(types)

    def by_llama_cpp_itself(self, mixture: str) -> float:
        """The perplexity of llama.cpp running a file that _by_llama_cpp read."""
        path = self._llama_file.path.with_name(f"{mixture}.gguf")
        return perplexity(path, self.model.blocks(self.model.eval_text))

    def _ours(self, text: str) -> tuple[float, float | None, str]:
        form, *words = text.split("+")
        if unknown := set(words) - {*EFFORTS, *ACTIVATIONS}:
            raise ValueError(f"'{text}' asks for {', '.join(unknown)}, expected "
                             f"{', '.join(EFFORTS + ACTIVATIONS)}")
        plan = self.model.folder / "plan.json"
        decided = {"embedding": "none", "head": "none"}
        activations = next((w for w in words if w in ACTIVATIONS), "f32")
        options = [f"--quantize-plan={plan}", f"--activations={activations}", "--report"]
        if budget := re.fullmatch(r"lcq:budget=([\d.]+)", form):
            options.append(f"--bits-per-weight={budget[1]}")
        else:
            decided |= {"default": "none", "tensors": {self.model.plan_pattern: form}}
        plan.write_text(json.dumps(decided))
        if set(words) & set(EFFORTS):
            options += self.model.calibration_options()
        if "refined" in words:
            options.append("--refine")
        printed = self._compile(self.model.onnx, *options)
        (self.model.folder / "report.txt").write_text(printed)
        found = re.search(r"([\d.]+) bits per weight", printed)
        if not found:
            raise RuntimeError(f"--report says no bits per weight:\n{printed}")
        return float(found[1]), None, ""
