#!/usr/bin/env python3
"""Turns llama2.c's stories260K checkpoint into an ONNX model.

Reads DATA_DIR/stories260K.bin and DATA_DIR/tok512.bin, writes DIR/model.onnx
(input_ids [batch, sequence] -> logits [batch, sequence, vocabulary], f32, no
cache) and DIR/tokenizer.bin.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))
import project_python  # noqa: E402

project_python.require("numpy", "onnx")
import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from llama_onnx import LlamaShape, LlamaStyle, build_llama  # noqa: E402

CHECKPOINT = "stories260K.bin"
TOKENIZER = "tok512.bin"
HEADER = struct.Struct("<7i")


class ConvertError(Exception):
    """A message for the user."""


def read_file(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConvertError(f"cannot read '{path}': {error.strerror.lower()}") from error


def parse_header(path: pathlib.Path, data: bytes) -> tuple[LlamaShape, int]:
    """Returns the model's sizes and its longest sequence."""
    if len(data) < HEADER.size:
        raise ConvertError(f"'{path}' is truncated: {len(data)} bytes, expected a header of "
                           f"{HEADER.size}")
    dim, ffn, layers, heads, kv_heads, vocabulary, sequence = HEADER.unpack_from(data)
    sizes = (dim, ffn, layers, heads, kv_heads, abs(vocabulary), sequence)
    plausible = all(0 < size < 1 << 20 for size in sizes)
    if not plausible or dim % heads or heads % kv_heads or (dim // heads) % 2:
        raise ConvertError(f"'{path}' is not a llama2.c checkpoint: its header holds {sizes}")
    # A negative vocabulary says that the classifier has weights of its own.
    shape = LlamaShape(dim, ffn, layers, heads, kv_heads, abs(vocabulary),
                       tied_embedding=vocabulary > 0)
    return shape, sequence


def checkpoint_layout(shape: LlamaShape, sequence: int):
    """Yields (name, array shape) of llama2.c's legacy format; None is skipped."""
    d, kv = shape.hidden, shape.kv_heads * shape.head_dim
    yield "model.embed_tokens.weight", (shape.vocabulary, d)
    per_layer = [
        ("input_layernorm", (d,)),
        ("self_attn.q_proj", (d, d)),
        ("self_attn.k_proj", (kv, d)),
        ("self_attn.v_proj", (kv, d)),
        ("self_attn.o_proj", (d, d)),
        ("post_attention_layernorm", (d,)),
        ("mlp.gate_proj", (shape.ffn, d)),
        ("mlp.down_proj", (d, shape.ffn)),
        ("mlp.up_proj", (shape.ffn, d)),
    ]
    for name, dims in per_layer:
        for layer in range(shape.layers):
            yield f"model.layers.{layer}.{name}.weight", dims
    yield "model.norm.weight", (d,)
    yield None, (2, sequence, shape.head_dim // 2)  # RoPE tables
    if not shape.tied_embedding:
        yield "lm_head.weight", (shape.vocabulary, d)


def read_checkpoint(path: pathlib.Path) -> tuple[LlamaShape, dict[str, np.ndarray]]:
    data = read_file(path)
    shape, sequence = parse_header(path, data)
    layout = list(checkpoint_layout(shape, sequence))
    expected = HEADER.size + 4 * sum(int(np.prod(dims)) for _, dims in layout)
    if len(data) != expected:
        state = "truncated" if len(data) < expected else "too long"
        raise ConvertError(f"'{path}' is {state}: {len(data)} bytes, expected {expected}")
    tensors, offset = {}, HEADER.size
    for name, dims in layout:
        array = np.frombuffer(data, "<f4", int(np.prod(dims)), offset).reshape(dims)
        offset += array.nbytes
        if name:
            tensors[name] = array
    return shape, tensors


def check_tokenizer(path: pathlib.Path, vocabulary: int) -> None:
    """Walks {f32 score, i32 length, bytes} records: one for every token."""
    data = read_file(path)
    offset = 4
    for token in range(vocabulary):
        if offset + 8 > len(data):
            raise ConvertError(f"'{path}' is truncated: it ends in token {token}, expected "
                               f"{vocabulary} tokens")
        (length,) = struct.unpack_from("<i", data, offset + 4)
        if length < 0 or offset + 8 + length > len(data):
            raise ConvertError(f"'{path}' is truncated: token {token} has {length} bytes, "
                               f"{len(data) - offset - 8} are left")
        offset += 8 + length
    if offset != len(data):
        raise ConvertError(f"'{path}' holds more than {vocabulary} tokens")


def convert(data_dir: pathlib.Path, out_dir: pathlib.Path) -> None:
    shape, tensors = read_checkpoint(data_dir / CHECKPOINT)
    check_tokenizer(data_dir / TOKENIZER, shape.vocabulary)

    def weight(name: str, dims: tuple[int, ...]) -> onnx.TensorProto:
        array = tensors[name]
        # The checkpoint holds [outputs, inputs], MatMul takes [inputs, outputs].
        if len(dims) == 2 and name != "model.embed_tokens.weight":
            array = array.T
        assert array.shape == dims
        return numpy_helper.from_array(np.ascontiguousarray(array), name)

    model = build_llama(shape, LlamaStyle(interleaved_rope=True), weight)
    onnx.checker.check_model(model)
    out_dir.mkdir(parents=True, exist_ok=True)
    partial = out_dir / "model.onnx.partial"
    partial.write_bytes(model.SerializeToString())
    os.replace(partial, out_dir / "model.onnx")
    shutil.copyfile(data_dir / TOKENIZER, out_dir / "tokenizer.bin")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  convert.py ../shared/data/stories260K -o build/stories260K")
    parser.add_argument("data_dir", metavar="DATA_DIR", type=pathlib.Path,
                        help=f"folder with {CHECKPOINT} and {TOKENIZER}")
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, required=True,
                        help="folder to write model.onnx and tokenizer.bin to")
    args = parser.parse_args()
    try:
        convert(args.data_dir, args.output)
    except ConvertError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: cannot write to '{args.output}': {str(error.strerror).lower()}",
              file=sys.stderr)
        return 1
    print(f"wrote {args.output / 'model.onnx'} and {args.output / 'tokenizer.bin'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
