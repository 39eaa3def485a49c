#!/usr/bin/env python3
"""Changes ONNX models at random and checks that nju-compile survives them.

Every mutant must be compiled, or be refused with exit code 1 and an error, in a
bounded time and memory. What is compiled must also run, or fail with an error.
The same seed gives the same mutants; those that fail are kept.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import copy
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

from quantized_onnx import quantize

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = pathlib.Path(os.environ.get("NJU_BIN_DIR", REPOSITORY / "build/bin"))
# The small ones: a mutant costs as long as its model.
FIXTURES = ["perceptron-torchscript-opset13", "perceptron-torchscript-opset17-f16",
            "perceptron-dynamo-opset18-bf16", "mixer-dynamo-opset18", "bert-torchscript-opset14",
            "gpt2-torchscript-opset17-past", "llama-gqa-dynamo-opset18",
            "llama-gqa-torchscript-opset14", "opt-optimum-opset18-past",
            "llama-gqa-dynamo-sdpa-opset23-past", "mistral-window6-torchscript-opset17-past",
            "gpt2-dynamo-opset18-past-bf16"]
# The same with quantized weights.
QUANTIZED = [("quantized-4:", "perceptron-torchscript-opset13"),
             ("quantized-8:", "llama-gqa-dynamo-opset18"),
             ("quantized-2:", "gpt2-torchscript-opset17-past")]
INTEGERS = [0, 1, -1, 2, 3, 7, -2, 64, 1 << 31, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63)]
FLOATS = [0.0, -1.0, 1e30, -1e30, 1e-30, float("inf"), float("nan")]
DTYPES = [t for t in TensorProto.DataType.values()]
OPS = """Abs Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Constant
 ConstantOfShape Conv Cos CumSum DequantizeLinear Div Dropout Einsum Equal Erf Exp Expand Flatten Floor Gather
 GatherElements GatherND Gelu Gemm Greater GroupNormalization Identity If InstanceNormalization
 IsNaN LayerNormalization LeakyRelu Less Log LogSoftmax Loop MatMul Max Min Mod Mul Neg NonZero
 Not OneHot Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceSum Relu Reshape
 RMSNormalization RotaryEmbedding Round ScatterElements ScatterND Shape Sigmoid Sign Sin Size
 Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where
 Xor Attention""".split()


class Mutator:
    """Applies random changes to one model, in place."""

    def __init__(self, model: ModelProto, seed: int) -> None:
        self.model, self.graph = model, model.graph
        self.random = random.Random(seed)

    def mutate(self) -> str:
        """Returns what was changed."""
        changes = [self.change_attribute, self.drop_attribute, self.drop_node, self.duplicate_node,
                   self.rewire_input, self.drop_input, self.swap_inputs, self.change_op,
                   self.change_weight_type, self.change_weight_dims, self.change_weight_data,
                   self.change_dimension, self.change_type, self.change_output, self.change_opset]
        done = []
        for _ in range(self.random.choice([1, 1, 1, 2, 4])):
            done.append(self.random.choice(changes)() or "nothing")
        return "; ".join(done)

    def node(self) -> onnx.NodeProto:
        return self.random.choice(self.graph.node)

    def value(self) -> str:
        """The name of any value."""
        names = [name for node in self.graph.node for name in node.output]
        names += [value.name for value in (*self.graph.input, *self.graph.initializer)]
        return self.random.choice(names)

    def weight(self) -> TensorProto | None:
        """An initializer or a constant, small ones as often as large ones."""
        tensors = list(self.graph.initializer)
        tensors += [a.t for node in self.graph.node for a in node.attribute
                    if a.type == AttributeProto.TENSOR]
        return self.random.choice(tensors) if tensors else None

    def change_attribute(self) -> str | None:
        nodes = [node for node in self.graph.node if node.attribute]
        if not nodes:
            return None
        node = self.random.choice(nodes)
        attribute = self.random.choice(node.attribute)
        if attribute.type == AttributeProto.INT:
            attribute.i = self.random.choice(INTEGERS)
        elif attribute.type == AttributeProto.FLOAT:
            attribute.f = self.random.choice(FLOATS)
        elif attribute.type == AttributeProto.STRING:
            attribute.s = self.random.choice([b"", b"SAME_UPPER", b"tanh", b"\xff\0", b"ij,jk->ik"])
        elif attribute.type == AttributeProto.INTS:
            self.change_list(attribute.ints)
        else:
            attribute.type = self.random.choice([0, *AttributeProto.AttributeType.values()])
        return f"attribute {attribute.name} of {node.name}"

    def change_list(self, numbers) -> None:
        values = list(numbers)
        kind = self.random.randrange(4)
        if kind == 0 and values:
            values.pop(self.random.randrange(len(values)))
        elif kind == 1:
            values.insert(self.random.randint(0, len(values)), self.random.choice(INTEGERS))
        elif kind == 2 and values:
            values[self.random.randrange(len(values))] = self.random.choice(INTEGERS)
        else:
            self.random.shuffle(values)
        del numbers[:]
        numbers.extend(values)

    def drop_attribute(self) -> str | None:
        node = self.node()
        if not node.attribute:
            return None
        i = self.random.randrange(len(node.attribute))
        name = node.attribute[i].name
        del node.attribute[i]
        return f"no attribute {name} of {node.name}"

    def drop_node(self) -> str | None:
        i = self.random.randrange(len(self.graph.node))
        name = self.graph.node[i].name
        # Whoever used it may use its input instead.
        node = self.graph.node[i]
        if self.random.random() < 0.7 and node.input and node.output:
            for user in self.graph.node:
                for j, operand in enumerate(user.input):
                    if operand == node.output[0]:
                        user.input[j] = node.input[0]
        if len(self.graph.node) > 1:
            del self.graph.node[i]
        return f"no node {name}"

    def duplicate_node(self) -> str:
        node = copy.deepcopy(self.node())
        if self.random.random() < 0.7:
            for i, name in enumerate(node.output):
                node.output[i] = name + "_again"
        self.graph.node.insert(self.random.randint(0, len(self.graph.node)), node)
        if self.random.random() < 0.7 and node.output:
            self.replace_use(node.output[0])
        return f"{node.name} twice"

    def replace_use(self, name: str) -> str:
        node = self.node()
        if node.input:
            node.input[self.random.randrange(len(node.input))] = name
        return node.name

    def rewire_input(self) -> str:
        name = self.value()
        return f"{self.replace_use(name)} takes {name}"

    def drop_input(self) -> str | None:
        node = self.node()
        if not node.input:
            return None
        i = self.random.randrange(len(node.input))
        if self.random.random() < 0.5:
            node.input[i] = ""
        else:
            del node.input[i]
        return f"no input {i} of {node.name}"

    def swap_inputs(self) -> str | None:
        node = self.node()
        if len(node.input) < 2:
            return None
        values = list(node.input)
        self.random.shuffle(values)
        del node.input[:]
        node.input.extend(values)
        return f"inputs of {node.name} {values}"

    def change_op(self) -> str:
        node = self.node()
        old, node.op_type = node.op_type, self.random.choice(OPS)
        return f"{node.name} from {old} to {node.op_type}"

    def change_weight_type(self) -> str | None:
        tensor = self.weight()
        if tensor is None:
            return None
        tensor.data_type = self.random.choice(DTYPES)
        return f"type of {tensor.name} {tensor.data_type}"

    def change_weight_dims(self) -> str | None:
        tensor = self.weight()
        if tensor is None:
            return None
        kind = self.random.randrange(3)
        if kind == 0 or not tensor.dims:
            self.change_list(tensor.dims)
        elif kind == 1:  # As many elements in another shape.
            count = 1
            for dim in tensor.dims:
                count *= dim
            shape = self.random.choice([[count], [1, count], [count, 1], [1, *tensor.dims],
                                        [*tensor.dims, 1], list(tensor.dims)[::-1]])
            del tensor.dims[:]
            tensor.dims.extend(shape)
        else:  # Fewer elements, consistently.
            self.shrink(tensor)
        return f"dims of {tensor.name} {list(tensor.dims)}"

    def shrink(self, tensor: TensorProto) -> None:
        if not tensor.raw_data or not tensor.dims[0]:
            return
        row = len(tensor.raw_data) // tensor.dims[0]
        tensor.dims[0] = self.random.randrange(tensor.dims[0])
        tensor.raw_data = tensor.raw_data[:row * tensor.dims[0]]

    def change_weight_data(self) -> str | None:
        tensor = self.weight()
        if tensor is None:
            return None
        data = bytearray(tensor.raw_data)
        if tensor.data_type == TensorProto.INT64 and len(data) >= 8:
            i = self.random.randrange(len(data) // 8) * 8
            data[i:i + 8] = self.random.choice(INTEGERS).to_bytes(8, "little", signed=True)
        elif self.random.random() < 0.3:
            data = data[:self.random.randint(0, len(data))]
        elif data:
            for _ in range(8):
                data[self.random.randrange(len(data))] = self.random.choice([0, 0x7f, 0x80, 0xff])
        tensor.raw_data = bytes(data)
        return f"data of {tensor.name}"

    def change_dimension(self) -> str | None:
        values = [v for v in (*self.graph.input, *self.graph.output, *self.graph.value_info)
                  if v.type.tensor_type.shape.dim]
        if not values:
            return None
        value = self.random.choice(values)
        dims = value.type.tensor_type.shape.dim
        i = self.random.randrange(len(dims))
        kind = self.random.randrange(4)
        if kind == 0:
            del dims[i]
        elif kind == 1:
            dims[i].dim_param = self.random.choice(["batch", "sequence", "", "n", "batch_size"])
        elif kind == 2:
            dims.add().dim_value = self.random.choice(INTEGERS)
        else:
            dims[i].dim_value = self.random.choice(INTEGERS)
        return f"dimension {i} of {value.name}"

    def change_type(self) -> str | None:
        values = [*self.graph.input, *self.graph.output, *self.graph.value_info]
        if not values:
            return None
        value = self.random.choice(values)
        value.type.tensor_type.elem_type = self.random.choice(DTYPES)
        return f"type of {value.name} {value.type.tensor_type.elem_type}"

    def change_output(self) -> str | None:
        kind = self.random.randrange(4)
        values = self.random.choice([self.graph.output, self.graph.input])
        if not values:
            return None
        i = self.random.randrange(len(values))
        if kind == 0:
            name = values[i].name
            del values[i]
            return f"no value {name}"
        if kind == 1:
            values.append(copy.deepcopy(values[i]))
            return f"value {values[i].name} twice"
        if kind == 2 and len(values) > 1:
            moved = copy.deepcopy(values[i])
            del values[i]
            values.insert(0, moved)
            return f"value {moved.name} first"
        added = self.graph.output.add()
        added.name = self.value()
        return f"output {added.name}"

    def change_opset(self) -> str:
        opset = self.random.choice(self.model.opset_import)
        opset.version = self.random.choice([1, 7, 10, 11, 12, 13, 14, 17, 18, 20, 21, 23])
        return f"opset {opset.version}"


class Failure(Exception):
    """What a program did wrong with a mutant."""


def limits(args: argparse.Namespace):
    """Time is the processor's: others may use the machine as well."""
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (args.seconds, args.seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if args.memory:
            resource.setrlimit(resource.RLIMIT_AS, (args.memory << 20, args.memory << 20))
    return limit


def run(command: list, args: argparse.Namespace) -> subprocess.CompletedProcess:
    name = pathlib.Path(command[0]).name
    try:
        result = subprocess.run(command, capture_output=True, check=False, timeout=30 * args.seconds,
                                stdin=subprocess.DEVNULL, preexec_fn=limits(args))
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{name} hangs") from error
    errors = result.stderr.decode(errors="replace")
    if result.returncode == -signal.SIGXCPU:
        raise Failure(f"{name} ran longer than {args.seconds} s")
    if result.returncode not in (0, 1):
        raise Failure(f"{name} exited with {result.returncode}: {errors[:3000]}")
    if result.returncode == 1 and "error: " not in errors:
        raise Failure(f"{name} failed without an error: {errors[:3000]}")
    return result


def check_mutant(model: pathlib.Path, folder: pathlib.Path, args: argparse.Namespace) -> bool:
    """Whether it was compiled."""
    stem = folder / "model"
    result = run([args.bin_dir / "nju-compile", model, "-o", stem, "--quiet", "--max-tokens=32",
                  "--max-batch-tokens=16", *args.compile_option], args)
    if result.returncode != 0:
        if list(folder.glob("model.*")):
            raise Failure("nju-compile failed and left files")
        return False
    if not args.no_run:
        run_mutant(stem.with_suffix(".so"), args)
    return True


def run_mutant(library: pathlib.Path, args: argparse.Namespace) -> None:
    runner = args.bin_dir / "nju-run"
    signature = json.loads(run([runner, "info", library, "--json"], args).stdout)
    if signature["kind"] == "lm":
        run([runner, "generate", library, "--tokens", "1,2,3", "--max-new-tokens", "4",
             "--ignore-eos", "--print", "tokens"], args)
        return
    numbers = np.random.default_rng(0)
    # Sizes that fit, and sizes that contradict each other.
    for spread in (None, random.Random(0)):
        sizes, arguments = {}, []
        for i, tensor in enumerate(signature["inputs"]):
            shape = [size_of(dim, sizes, spread) for dim in tensor["shape"]]
            path = library.with_name(f"input-{i}.npy")
            np.save(path, random_array(tensor["type"], shape, numbers))
            arguments += ["--input", f"{tensor['name']}={path}"]
        run([runner, "run", library, *arguments, "--output-dir", library.parent], args)


def size_of(dim: int | str, sizes: dict[str, int], spread: random.Random | None) -> int:
    """A size for each name, and for sums of names; never so large that the input
    itself is the problem. With `spread` names and sums have any size."""
    if isinstance(dim, int):
        return min(dim, 64)
    if spread:
        return sizes.setdefault(dim, spread.choice([0, 1, 2, 3, 5, 17]))
    return sum(2 + len(name) % 3 for name in dim.split(" + "))


def random_array(element: str, shape: list[int], numbers: np.random.Generator) -> np.ndarray:
    """Integers lie outside of most tables, too."""
    names = {"f": "float", "i": "int", "u": "uint"}
    if element == "bf16":
        return numbers.integers(0, 1 << 15, shape).astype(np.uint16).view("V2")
    if element == "i1":
        return numbers.integers(0, 2, shape).astype(bool)
    if element[0] == "f":
        return numbers.standard_normal(shape).astype(names["f"] + element[1:])
    return numbers.integers(-40, 200, shape).astype(names[element[0]] + element[1:])


def load(name: str) -> ModelProto:
    """A fixture; with `quantized-BITS:` before its name, its weights are quantized."""
    kind, _, fixture = name.rpartition(":")
    model = onnx.load(fixture)
    return quantize(model, int(kind.removeprefix("quantized-"))) if kind else model


def check_seed(seed: int, name: str, args: argparse.Namespace) -> str:
    """"compiled", "refused", or "FAIL" and why."""
    fixture, model = pathlib.Path(name), load(name)
    change = Mutator(model, seed).mutate()
    with tempfile.TemporaryDirectory(prefix="nju-mutant-") as temporary:
        folder = pathlib.Path(temporary)
        path = folder / "mutant.onnx"
        path.write_bytes(model.SerializeToString())
        try:
            return "compiled" if check_mutant(path, folder, args) else "refused"
        except Failure as failure:
            if args.keep:
                args.keep.mkdir(parents=True, exist_ok=True)
                path.rename(args.keep / f"{fixture.stem}-{seed}.onnx")
            return f"FAIL {name}, seed {seed} ({change}): {failure}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  mutate_models.py --count 5000 --seed 7 --keep /tmp/mutants")
    parser.add_argument("models", metavar="MODEL.onnx", nargs="*", type=pathlib.Path,
                        help="what to change (default: some small fixtures)")
    parser.add_argument("--bin-dir", metavar="DIR", type=pathlib.Path, default=BIN_DIR,
                        help="folder of nju-compile and nju-run (default: NJU_BIN_DIR)")
    parser.add_argument("--count", type=int, default=100, help="mutants (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the first mutant (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="side by side")
    parser.add_argument("--seconds", type=int, default=10,
                        help="processor time of a program (default: 10)")
    parser.add_argument("--memory", type=int, default=8192, metavar="MIB",
                        help="address space of a program; 0, which sanitizers need, is no limit "
                             "(default: 8192)")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR",
                        help="where to put mutants that fail")
    parser.add_argument("--no-run", action="store_true", help="compile only")
    parser.add_argument("--compile-option", metavar="OPTION", action="append", default=[],
                        help="an option for nju-compile; may be repeated")
    args = parser.parse_args()
    models = [str(model) for model in args.models] or [
        f"{kind}{REPOSITORY}/test/fixtures/{name}.onnx"
        for kind, name in [*(("", name) for name in FIXTURES), *QUANTIZED]]

    seeds = range(args.seed, args.seed + args.count)
    counts = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for result in pool.map(lambda seed: check_seed(seed, models[seed % len(models)], args),
                               seeds):
            if result.startswith("FAIL"):
                print(result, flush=True)
            counts[result.split()[0]] += 1
    print(f"{counts['compiled']} compiled, {counts['refused']} refused, {counts['FAIL']} failed")
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
