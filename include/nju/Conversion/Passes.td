//===- Passes.td - Passes from nju to loops -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_CONVERSION_PASSES
#define NJU_CONVERSION_PASSES

include "mlir/Pass/PassBase.td"

def ConvertNJUToLinalg : Pass<"convert-nju-to-linalg", "::mlir::ModuleOp"> {
  let summary = "Lower nju ops to linalg, tensor, arith and math";
  let description = [{
    Rebuilds every function. Afterwards no nju op is left but `nju.param` and
    `nju.param_ref`; `nju.linear` and `nju.cached_attention` became
    `exec.linear` and `exec.cached_attention` on tensors. Element types are
    signless and i1 is kept as i8 (0 or 1), also in the function's type. Shape
    computations become scalar code.

    Before:

    ```mlir
    func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
      %0 = nju.neg %x : (tensor<?xf32>) -> tensor<?xf32>
      return %0 : tensor<?xf32>
    }
    ```

    After:

    ```mlir
    #map = affine_map<(d0) -> (d0)>
    func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
      %c0 = arith.constant 0 : index
      %dim = tensor.dim %x, %c0 : tensor<?xf32>
      %0 = tensor.empty(%dim) : tensor<?xf32>
      %1 = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel"]} ins(%x : tensor<?xf32>) outs(%0 : tensor<?xf32>) {
      ^bb0(%in: f32, %out: f32):
        %2 = arith.negf %in : f32
        linalg.yield %2 : f32
      } -> tensor<?xf32>
      return %1 : tensor<?xf32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
                           "::mlir::tensor::TensorDialect", "::nju::exec::ExecDialect"];
}

def FuseElementwise : Pass<"nju-fuse-elementwise", "::mlir::ModuleOp"> {
  let summary = "Fuse element-wise linalg ops on tensors";
  let description = [{
    Fuses a producer into its only user if no element is then computed twice, or
    computing it is hardly more than loading it. Conversions are fused into every
    user. Reads stay contiguous: a producer that moves the last dimension is not
    fused into an element-wise op. Requires linalg on tensors.

    Before: `%1 = linalg.generic {exp} (%x)`, `%2 = linalg.generic {add} (%1, %y)`.
    After: `%2 = linalg.generic {exp, add} (%x, %y)`.
  }];
}

def FuseEpilogues : Pass<"nju-fuse-epilogues", "::mlir::ModuleOp"> {
  let summary = "Let products finish what is computed from their elements";
  let description = [{
    An element-wise linalg op that is the only user of a product becomes the
    product's epilogue: a bias, an activation, a residual sum. Two products of
    the same input that meet in such an op become one op with two weights: a
    gated activation. Requires linalg on tensors, fused by
    `--nju-fuse-elementwise`.

    Before: `%1 = exec.linear ins(%x, %w)`, `%2 = linalg.generic {add} (%1, %r)`.
    After: `%2 = exec.linear ins(%x, %w) with(%r) epilogue {add}`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::nju::exec::ExecDialect"];
}

def Bufferize : Pass<"nju-bufferize", "::mlir::ModuleOp"> {
  let summary = "Turn tensors into buffers";
  let description = [{
    One-shot bufferization with the identity layout at function boundaries;
    arguments are never written to. `nju.param_ref` becomes `exec.weight`.
    Afterwards no tensor is left but in the types of params.

    Before: `func.func @main(%x: tensor<?xf32>) -> tensor<?xf32>`.
    After: `func.func @main(%x: memref<?xf32>) -> memref<?xf32>`.
  }];
  let dependentDialects = ["::mlir::bufferization::BufferizationDialect",
                           "::mlir::memref::MemRefDialect", "::nju::exec::ExecDialect"];
}

def FinalizeSignature : Pass<"exec-finalize-signature", "::mlir::ModuleOp"> {
  let summary = "Give entry functions the arguments that the runtime passes";
  let description = [{
    `@step` gets the worker's number and the number of workers in front; logits
    (its result until then), weights, cache, arena and the cache's limits behind.
    Another public function gets the number of threads in front and the weights
    behind, and each of its results becomes a block of its own. Requires buffers.

    Before:

    ```mlir
    func.func @main(%x: memref<?xf32>) -> memref<?xf32> {
      return %x : memref<?xf32>
    }
    ```

    After:

    ```mlir
    func.func @main(%threads: index, %x: memref<?xf32>, %weights: memref<?xi8>) -> memref<?xf32> {
      %c0 = arith.constant 0 : index
      %dim = memref.dim %x, %c0 : memref<?xf32>
      %0 = memref.alloc(%dim) : memref<?xf32>
      memref.copy %x, %0 : memref<?xf32> to memref<?xf32>
      return %0 : memref<?xf32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"];
}

def ExpandLibraryOps : Pass<"exec-expand-library-ops", "::mlir::ModuleOp"> {
  let summary = "Turn exec.linear and exec.cached_attention into launches";
  let description = [{
    Launches kernels of the kernel library for the processor `target`. Products
    of the same rows share one packed copy of them. Operands that are not
    contiguous are copied. Requires the final signature. Where rows choose among
    experts, choices are sorted, rows gathered in that order and put back
    afterwards, and the kernel is run for each expert that has some.

    Before: `exec.linear ins(%x, %w) outs(%y)`. After:
    `exec.launch @nju_pack_rows ins(%x) outs(%packed)`,
    `exec.launch @nju_linear_f16 ins(%x, %packed, %w) outs(%y)`.
  }];
  let options = [Option<"target", "target", "std::string", "\"host\"",
                        "As --target of nju-compile">,
                 Option<"compute", "compute", "std::string", "\"f32\"",
                        "As --compute of nju-compile">,
                 Option<"activations", "activations", "std::string", "\"int8\"",
                        "As --activations of nju-compile">];
  let dependentDialects = ["::mlir::amx::AMXDialect", "::mlir::arith::ArithDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def OutlineKernels : Pass<"exec-outline-kernels", "::mlir::ModuleOp"> {
  let summary = "Move linalg ops into kernels that are launched";
  let description = [{
    Each linalg op on memrefs and each copy becomes a private function with the
    attribute `exec.kernel`, and an `exec.launch` of it. A fill that gives a
    reduction its start values goes into the same kernel. Equal kernels are one.
    In `@step`, which every worker runs, other ops that write memory become
    kernels of worker 0 (`exec.serial`). Scalar code stays.

    Before: `linalg.exp ins(%x) outs(%y)`. After:
    `exec.launch @kernel_0 ins(%x) outs(%y)`.
  }];
  let dependentDialects = ["::mlir::linalg::LinalgDialect", "::nju::exec::ExecDialect"];
}

def JoinRowKernels : Pass<"exec-join-row-kernels", "::mlir::ModuleOp"> {
  let summary = "Make one kernel of those that follow each other row by row";
  let description = [{
    Kernels of a step that deal rows (tokens) out to the workers become one
    where the second reads what the first has written, each row what is of the
    same row: a norm's sum of squares and its product with the weights. A row is
    read again from the nearest cache then, and there is one launch less.
    Requires functions made by `exec-outline-kernels`.

    Before: `exec.launch @sum ins(%x) outs(%s)` and
    `exec.launch @scale ins(%x, %s) outs(%y)`. After:
    `exec.launch @sum_joined ins(%x) outs(%s, %y)`.
  }];
  let dependentDialects = ["::mlir::func::FuncDialect", "::nju::exec::ExecDialect"];
}

def ConvertKernelsToVector : Pass<"convert-kernels-to-vector", "::mlir::ModuleOp"> {
  let summary = "Lower the linalg ops of kernels to loops over vectors";
  let description = [{
    The outer parallel loops (and chunks of the inner one, where it is parallel)
    are numbered; each worker gets a contiguous range. The inner loop is the one
    along which memory is contiguous, in vectors of 16 elements with a masked
    tail; if there is none it is scalar. A reduction keeps four accumulators of
    a vector each, combined in one fixed order: results depend neither on the
    number of workers nor on the sizes of the other loops.
    Requires functions made by `exec-outline-kernels`.

    Before: `linalg.exp ins(%x) outs(%y)` in a kernel. After: an `scf.for` over
    the worker's range of `vector.load`, `math.exp` on `vector<16xf32>` and
    `vector.store`, and the tail by `vector.maskedload` and `vector.maskedstore`.
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect"];
}

def LayoutWeights : Pass<"exec-layout-weights", "::mlir::ModuleOp"> {
  let summary = "Give every used param its place in the weight data";
  let description = [{
    Params get an attribute `nju.offset`, a multiple of 64, in the order of their
    first use; the module gets `nju.weights_bytes`. `exec.weight` becomes a view
    of the weights that the entry function is given. Params without use vanish.

    Before: `%w = exec.weight @w : memref<4xf32>`.
    After: `%w = memref.view %weights[%c64][] : memref<?xi8> to memref<4xf32>`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"];
}

def PlanMemory : Pass<"exec-plan-memory", "::mlir::ModuleOp"> {
  let summary = "Place the buffers of a step in one arena";
  let description = [{
    In `@step` every allocation becomes a view of the arena at a constant offset
    that is right for `max_batch_tokens` of the module's `nju.lm`; buffers that
    are not alive at the same time share memory. The module gets
    `nju.arena_bytes`, and with `nju.arena_lower_bound` the most bytes that are
    alive at once: no plan needs less. Buffers marked `exec.zero`, which are zero
    when a step begins and when it ends, share their bytes with nobody: the first
    `nju.arena_zero_bytes` of the arena. In other functions a buffer is freed after
    its last use. A size in `@step` that the number of tokens does not bound is an
    error. The ops of a function must be in one block.

    Before: `%y = memref.alloc(%tokens) : memref<?xf32>`.
    After: `%y = memref.view %arena[%c2048][%tokens] : memref<?xi8> to memref<?xf32>`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"];
}

def VerifyNoAlloc : Pass<"exec-verify-no-alloc", "::mlir::ModuleOp"> {
  let summary = "Check that a step allocates nothing";
  let description = [{
    Reports an error for each allocation in `@step`.
  }];
}

def LowerLaunches : Pass<"exec-lower-launches", "::mlir::ModuleOp"> {
  let summary = "Turn launches into calls";
  let description = [{
    In `@step` a launch becomes a call, with an `omp.barrier` before it if it
    touches memory that was written, or writes memory that was touched, since
    the last one. None is needed where both kernels deal out the rows of that
    memory alike (`exec.rows`), and where only a kernel that does nothing for one
    row is in the way (`exec.idle_for_one_row`), only several rows wait. In other functions it becomes an `omp.parallel` region, which
    runs on one thread if there is little to do. Must follow `exec-plan-memory`
    directly, which leaves notes on the views of the arena.

    Before: `exec.launch @kernel_0 ins(%x) outs(%y)`.
    After: `func.call @kernel_0(%worker, %workers, %x, %y)`.

    An `exec.check` becomes an early return that frees what is allocated. Such a
    function has three results more: 0 or where the message begins in its
    attribute `exec.check_messages`, and the two numbers.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::cf::ControlFlowDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::omp::OpenMPDialect",
                           "::mlir::scf::SCFDialect", "::mlir::ub::UBDialect"];
}

#endif // NJU_CONVERSION_PASSES
