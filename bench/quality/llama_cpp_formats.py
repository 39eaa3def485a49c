"""llama.cpp's formats, made by llama.cpp itself and read back as weights in f32."""

from __future__ import annotations

import ctypes
import functools
import pathlib

import gguf
import llama_cpp
import numpy as np

# ftype numbers of llama.h.
MIXTURES = {"Q8_0": 7, "Q4_0": 2, "Q4_K_M": 15, "Q3_K_M": 12, "Q2_K": 10, "IQ4_NL": 25,
            "IQ3_XXS": 23, "IQ2_XS": 20}
WITH_IMPORTANCE = {"IQ4_NL", "IQ3_XXS", "IQ2_XS"}
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm"}


class DoesNotFit(Exception):
    """A matrix whose rows are no multiple of a format's block."""


@llama_cpp.llama_log_callback
def _say_nothing(level, text, data) -> None:
    pass


llama_cpp.llama_log_set(_say_nothing, None)


@functools.cache
def ggml() -> ctypes.CDLL:
    library = next(pathlib.Path(llama_cpp.__file__).parent.glob("lib/libggml-base.so"))
    ggml = ctypes.CDLL(str(library))
    floats = ctypes.POINTER(ctypes.c_float)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, floats, ctypes.c_void_p, ctypes.c_int64,
                                         ctypes.c_int64, ctypes.c_int64, floats]
    return ggml


def as_floats(array: np.ndarray):
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def quantize(weight: np.ndarray, name: str, importance: np.ndarray):
    """One matrix in one of ggml's types; rows may be padded to whole blocks of 32."""
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    outputs, inputs = weight.shape
    padding = -inputs % block
    if padding and block > 32:
        raise DoesNotFit(f"rows of {inputs} are no blocks of {block}")
    padded = np.ascontiguousarray(np.pad(weight, ((0, 0), (0, padding))), np.float32)
    importance = np.ascontiguousarray(np.pad(importance, (0, padding)), np.float32)
    data = np.zeros(outputs * padded.shape[1] // block * size, np.uint8)
    weights = as_floats(importance) if name in WITH_IMPORTANCE else None
    written = ggml().ggml_quantize_chunk(int(kind), as_floats(padded), data.ctypes.data, 0,
                                         outputs, padded.shape[1], weights)
    assert written == data.size
    values = gguf.dequantize(data.reshape(outputs, -1), kind)
    return values.reshape(padded.shape)[:, :inputs], 8 * data.size


def gguf_name(name: str) -> str:
    """model.layers.0.mlp.up_proj.weight -> blk.0.ffn_up.weight"""
    parts = name.split(".")
    return f"blk.{parts[2]}.{NAMES['.'.join(parts[3:-1])]}.weight"


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head in pairs, as llama.cpp rotates them, from two halves."""
    outputs, inputs = weight.shape
    halves = weight.reshape(heads, 2, outputs // heads // 2, inputs)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(outputs, inputs))


def in_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    outputs, inputs = weight.shape
    pairs = weight.reshape(heads, outputs // heads // 2, 2, inputs)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(outputs, inputs))


class LlamaFile:
    """A Llama with rotated halves as a GGUF file, and what llama.cpp makes of it."""

    def __init__(self, shape, tensors: dict[str, np.ndarray], path: pathlib.Path) -> None:
        """tensors: by their Hugging Face names, matrices as [outputs, inputs]."""
        self.path = path
        self.heads = {"q_proj": shape.heads, "k_proj": shape.kv_heads}
        writer = gguf.GGUFWriter(str(path), "llama")
        writer.add_context_length(2048)
        writer.add_embedding_length(shape.hidden)
        writer.add_block_count(shape.layers)
        writer.add_feed_forward_length(shape.ffn)
        writer.add_head_count(shape.heads)
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_layer_norm_rms_eps(shape.epsilon)
        writer.add_rope_dimension_count(shape.hidden // shape.heads)
        writer.add_vocab_size(shape.vocabulary)
        writer.add_file_type(0)
        self._add_tokens(writer, shape.vocabulary)
        top = {"model.embed_tokens.weight": "token_embd.weight",
               "model.norm.weight": "output_norm.weight"}
        for name, tensor in tensors.items():
            heads = self._heads_of(name)
            tensor = interleaved(tensor, heads) if heads else tensor
            writer.add_tensor(top.get(name) or gguf_name(name), tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def _heads_of(self, name: str) -> int | None:
        return next((h for kind, h in self.heads.items() if kind in name), None)

    @staticmethod
    def _add_tokens(writer, vocabulary: int) -> None:
        """llama.cpp wants names of tokens; it is only ever given numbers."""
        names = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)]
        names += [b"t%d" % i for i in range(len(names), vocabulary)]
        writer.add_tokenizer_model("llama")
        writer.add_token_list(names)
        writer.add_token_scores([0.0] * vocabulary)
        writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (vocabulary - 259))
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)

    def quantized(self, mixture: str, importance: dict[str, np.ndarray]) -> pathlib.Path:
        """Lets llama.cpp quantize the file, choosing the type of each tensor."""
        path = self.path.with_name(f"{mixture}.gguf")
        options = llama_cpp.llama_model_quantize_default_params()
        options.ftype = MIXTURES[mixture]
        exact = int(gguf.GGMLQuantizationType.F32)
        options.token_embedding_type = options.output_tensor_type = exact
        if mixture in WITH_IMPORTANCE:
            entries = [(gguf_name(name).encode(), np.ascontiguousarray(values, np.float32))
                       for name, values in importance.items()]
            array = (llama_cpp.llama_model_imatrix_data * (len(entries) + 1))()
            for slot, (name, values) in zip(array, entries):
                slot.name, slot.data, slot.size = name, as_floats(values), values.size
            options.imatrix = array
        if llama_cpp.llama_model_quantize(str(self.path).encode(), str(path).encode(), options):
            raise DoesNotFit(f"llama.cpp makes no {mixture} of '{self.path}'")
        return path

    def read(self, path: pathlib.Path, names) -> dict[str, tuple[np.ndarray, int, str]]:
        """The dequantized matrices, their bits, and the types that they have."""
        tensors = {t.name: t for t in gguf.GGUFReader(str(path)).tensors}
        result = {}
        for name in names:
            tensor = tensors[gguf_name(name)]
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            values = values.reshape(tensor.shape[::-1]).astype(np.float32)
            heads = self._heads_of(name)
            values = in_halves(values, heads) if heads else values
            result[name] = (values, 8 * int(tensor.n_bytes), tensor.tensor_type.name)
        return result


def perplexity(path: pathlib.Path, blocks: list[list[int]]) -> float:
    """By llama.cpp itself: blocks of tokens that begin with BOS and share nothing."""
    model = llama_cpp.Llama(str(path), n_ctx=max(map(len, blocks)) + 1, logits_all=True,
                            n_batch=512, n_threads=1, n_threads_batch=1, verbose=False)
    loss, count = 0.0, 0
    for block in blocks:
        model.reset()
        model.eval(block)
        logits = np.array(model.scores[: len(block) - 1], np.float64)
        highest = logits.max(1, keepdims=True)
        norms = np.log(np.exp(logits - highest).sum(1)) + highest[:, 0]
        loss += (norms - logits[np.arange(len(block) - 1), block[1:]]).sum()
        count += len(block) - 1
    return float(np.exp(loss / count))
