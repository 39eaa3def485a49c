"""The models that quantization is judged by: how each is made, and how it is judged.

A model is prepared in a folder as model.onnx; `feeds` are inputs to calibrate
with, `quality` runs what nju-compile made of it on text that was not among them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SEPARATOR = "<|endoftext|>"
CALIBRATION_BLOCKS = 160


@dataclasses.dataclass(frozen=True)
class Places:
    """Where things are: nju-compile and nju-run, data, and where models are prepared."""

    tools: pathlib.Path
    data: pathlib.Path
    work: pathlib.Path
    minilm: pathlib.Path
    trained: pathlib.Path
    threads: int = 1

    def run(self, tool: str, *arguments) -> str:
        command = [str(self.tools / tool), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
        return done.stdout


class JudgedModel:
    """What the three models have in common."""

    measure: str
    pattern: str  # of the names of the matrices that are quantized
    plan_pattern: str  # the same for --quantize-plan

    def __init__(self, places: Places) -> None:
        self.places = places
        self.folder = places.work / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.onnx.exists():
            self.prepare()

    @property
    def onnx(self) -> pathlib.Path:
        return self.folder / "model.onnx"


class LanguageModel(JudgedModel):
    """Judged by the perplexity of a text, in blocks of the model's context."""

    measure = "perplexity"
    pattern = r"^model\.layers\.\d+\."
    plan_pattern = "model.layers.*"
    context: int
    eval_text: pathlib.Path
    calibration_text: pathlib.Path

    def encode(self, text: str) -> list[int]:
        """The tokens of a document, with BOS."""
        raise NotImplementedError

    def blocks(self, text: pathlib.Path) -> list[list[int]]:
        """As `nju-run ppl` reads them."""
        result = []
        for document in text.read_text().split(SEPARATOR):
            bos, *tokens = self.encode(document.lstrip())
            step = self.context - 1
            result += [[bos] + tokens[i:i + step] for i in range(0, len(tokens), step)]
        return result

    @functools.cached_property
    def feeds(self) -> list[dict[str, np.ndarray]]:
        blocks = self.blocks(self.calibration_text)[:CALIBRATION_BLOCKS]
        return [{"input_ids": np.array([b])} for b in blocks]

    def calibration_options(self) -> list[str]:
        """As many tokens as `feeds` has, of the same text."""
        tokens = sum(feed["input_ids"].size for feed in self.feeds)
        return [f"--calibration={self.calibration_text}", f"--calibration-tokens={tokens}"]

    def quality(self, stem: pathlib.Path) -> float:
        printed = self.places.run("nju-run", "ppl", f"{stem}.so", self.eval_text, "--context",
                                  self.context, "--json", "--threads", self.places.threads)
        return json.loads(printed)["perplexity"]


class Stories260K(LanguageModel):
    name = "stories260K"
    context = 512

    def __init__(self, places: Places) -> None:
        self.eval_text = places.data / "text/tinystories-eval-ascii.txt"
        self.calibration_text = places.data / "text/tinystories-calibration.txt"
        super().__init__(places)

    def prepare(self) -> None:
        convert = ROOT / "examples/stories260K/convert.py"
        subprocess.run([sys.executable, convert, self.places.data / "stories260K", "-o",
                        self.folder], check=True)

    @functools.cached_property
    def _pieces(self) -> dict[bytes, tuple[int, float]]:
        data, offset, pieces = (self.folder / "tokenizer.bin").read_bytes(), 4, {}
        while offset < len(data):
            score, length = struct.unpack_from("<fi", data, offset)
            piece = data[offset + 8:offset + 8 + length]
            pieces.setdefault(piece, (len(pieces), score))
            offset += 8 + length
        return pieces

    def encode(self, text: str) -> list[int]:
        """llama2.c's: of all neighbours the pair with the best score is joined first."""
        parts = [c.encode() for c in " " + text]
        while True:
            scores = [self._pieces.get(a + b, (0, -np.inf))[1] for a, b in zip(parts, parts[1:])]
            if not scores or max(scores) == -np.inf:
                break
            best = scores.index(max(scores))
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        # A character without a piece of its own is spelled in bytes, 3 being 0x00.
        return [1] + [token for part in parts for token in (
            [self._pieces[part][0]] if part in self._pieces else [b + 3 for b in part])]


class Trained(LanguageModel):
    """The model of pretrain.py, on text that it was not trained on."""

    name = "trained"

    def __init__(self, places: Places) -> None:
        self.eval_text = places.trained / "text/eval.txt"
        self.calibration_text = places.trained / "text/calibration.txt"
        super().__init__(places)

    @property
    def shape(self):
        from pretrain import SHAPE
        return SHAPE

    @property
    def context(self) -> int:
        return self.shape.context

    @functools.cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        """By their Hugging Face names, matrices as [outputs, inputs]."""
        import torch
        state = torch.load(self.places.trained / "decayed.pt", weights_only=True)["model"]
        return {f"model.{name}": tensor.numpy() for name, tensor in state.items()}

    def prepare(self) -> None:
        import onnx
        from onnx import numpy_helper
        sys.path.insert(0, str(ROOT / "examples/common"))
        from llama_onnx import LlamaShape, LlamaStyle, build_llama

        def weight(name: str, dims: tuple[int, ...]):
            array = self.tensors[name]
            if len(dims) == 2 and name != "model.embed_tokens.weight":
                array = array.T
            assert array.shape == dims
            return numpy_helper.from_array(np.ascontiguousarray(array), name)

        s = self.shape
        shape = LlamaShape(s.hidden, s.ffn, s.layers, s.heads, s.kv_heads, s.vocabulary,
                           s.rope_theta, s.epsilon, tied_embedding=True)
        onnx.save(build_llama(shape, LlamaStyle(), weight), self.onnx)
        shutil.copyfile(self.places.trained / "tokenizer.json", self.folder / "tokenizer.json")

    @functools.cached_property
    def _tokenizer(self):
        from tokenizers import Tokenizer
        return Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text).ids


class MiniLM(JudgedModel):
    """all-MiniLM-L6-v2, judged by the cosine of its embeddings with those in full precision."""

    name = "minilm"
    measure = "cosine"
    pattern = r"^encoder\.layer\.\d+\."
    plan_pattern = "encoder.layer.*"
    calibration_sentences, eval_sentences = 260, 200
    input_names = ("input_ids", "attention_mask", "token_type_ids")

    def prepare(self) -> None:
        import torch
        from transformers import BertModel
        model = BertModel.from_pretrained(self.places.minilm, attn_implementation="eager",
                                          add_pooling_layer=False).eval()
        example = {name: torch.ones(2, 7, dtype=torch.int64) for name in self.input_names}
        axes = {name: {0: "batch", 1: "sequence"} for name in (*self.input_names, "hidden")}
        torch.onnx.export(model, (example,), str(self.onnx), dynamo=False, opset_version=17,
                          input_names=list(self.input_names), output_names=["hidden"],
                          dynamic_axes=axes)
        name_weights(self.onnx, dict(model.named_parameters()))

    def _sentences(self, file: str, count: int | None = None) -> list[str]:
        text = (self.places.data / "text" / file).read_text()
        sentences = [s.strip() for s in re.split(r"(?<=\.)\s", text)]
        return [s for s in sentences if 60 < len(s) < 300 and "=" not in s][:count]

    @functools.cached_property
    def _tokenizer(self):
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(str(self.places.minilm / "tokenizer.json"))
        tokenizer.enable_truncation(128)
        tokenizer.no_padding()
        return tokenizer

    def _feed(self, sentences: list[str]) -> dict[str, np.ndarray]:
        rows = [self._tokenizer.encode(s).ids for s in sentences]
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, :len(row)], mask[i, :len(row)] = row, 1
        return dict(zip(self.input_names, (ids, mask, np.zeros_like(ids))))

    @functools.cached_property
    def feeds(self) -> list[dict[str, np.ndarray]]:
        sentences = self._sentences("wikitext2-valid.txt", self.calibration_sentences)
        return [self._feed([s]) for s in sentences]

    def calibration_options(self) -> list[str]:
        """The sentences of `feeds`, rows filled up with -1."""
        rows = [feed["input_ids"][0] for feed in self.feeds]
        np.save(self.folder / "calibration.npy", fill_rows(rows))
        return [f"--calibration={self.folder / 'calibration.npy'}",
                f"--calibration-tokens={sum(map(len, rows))}"]

    def embeddings(self, stem: pathlib.Path) -> np.ndarray:
        feed = self._feed(self._sentences("wikitext2-test.txt", self.eval_sentences))
        options = ["--threads", self.places.threads]
        for name, value in feed.items():
            np.save(self.folder / f"{name}.npy", value)
            options += ["--input", f"{name}={self.folder / name}.npy"]
        self.places.run("nju-run", "run", f"{stem}.so", "--output-dir", self.folder, *options)
        mask = feed["attention_mask"][..., None]
        hidden = np.load(self.folder / "hidden.npy")
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def quality(self, stem: pathlib.Path) -> float:
        exact = self.folder / "exact.npy"
        if not exact.exists():
            self.places.run("nju-compile", self.onnx, "-o", self.folder / "exact", "--quiet")
            np.save(exact, self.embeddings(self.folder / "exact"))
        return float((self.embeddings(stem) * np.load(exact)).sum(1).mean())


def fill_rows(rows: list[np.ndarray]) -> np.ndarray:
    """Sequences of different lengths as one array, as nju-compile --calibration reads them."""
    filled = np.full((len(rows), max(map(len, rows))), -1, np.int64)
    for i, row in enumerate(rows):
        filled[i, :len(row)] = row
    return filled


def name_weights(path: pathlib.Path, parameters: dict) -> None:
    """Gives transposed copies of parameters, which the exporter numbers, their names."""
    import onnx
    from onnx import numpy_helper
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        name = next((n for n, p in parameters.items()
                     if value.ndim == 2 and tuple(p.shape) == value.shape[::-1]
                     and np.array_equal(p.detach().numpy().T, value)), None)
        if name and name != tensor.name:
            for node in model.graph.node:
                node.input[:] = [name if i == tensor.name else i for i in node.input]
            tensor.name = name
    onnx.save(model, path)


MODELS = {model.name: model for model in (Stories260K, MiniLM, Trained)}
