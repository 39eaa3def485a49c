//===- Passes.td - Passes on the nju dialect -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TRANSFORMS_PASSES
#define NJU_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

def FoldConstants : Pass<"nju-fold-constants", "::mlir::ModuleOp"> {
  let summary = "Compute at compile time what constants and shapes give";
  let description = [{
    Infers shapes as `nju-infer-shapes` does and replaces by `nju.constant` what
    is known at compile time: results of ops on constants (of at most 65,536
    elements, or not larger than their operands together), and small integer
    tensors that follow from static dimensions. Weights stay out of the IR: of
    params, only those of at most 1024 elements are computed with. Removes
    what the shapes prove to do nothing (reshapes and transposes that cancel,
    slices of everything, broadcasts to the same shape, casts there and back,
    selections with a constant condition, neutral operands), uses the first of
    several small integer tensors with the same elements, makes the target of
    a reshape constant where it can, and erases what nobody uses.

    Before:

    ```mlir
    func.func @main(%x: tensor<4x?xf32>, %t: tensor<?x4xf32>) -> tensor<?x?xf32> {
      %s = nju.shape_of %x : (tensor<4x?xf32>) -> tensor<2xi64>
      %zero = nju.constant dense<0> : tensor<1xi64>
      %n = nju.gather %s, %zero {axis = 0 : i64} : (tensor<2xi64>, tensor<1xi64>) -> tensor<1xi64>
      %minus = nju.constant dense<-1> : tensor<1xi64>
      %shape = nju.concat %minus, %n {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>) -> tensor<2xi64>
      %y = nju.reshape %t, %shape : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x?xf32>
      return %y : tensor<?x?xf32>
    }
    ```

    After:

    ```mlir
    func.func @main(%x: tensor<4x?xf32>, %t: tensor<?x4xf32>) -> tensor<?x4xf32> {
      return %t : tensor<?x4xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numFolded", "folded", "Results that became constants">,
    Statistic<"numSimplified", "simplified", "Results that another value replaced">
  ];
}

def InferShapes : Pass<"nju-infer-shapes", "::mlir::ModuleOp"> {
  let summary = "Infer result types from the arguments' types";
  let description = [{
    Recomputes the shape of every nju result in order, following the values of
    shape computations symbolically, so that dimensions become as static as
    they can be. Runs after anything that changes the type of an argument.

    Before:

    ```mlir
    func.func @main(%x: tensor<1x?x8xf32>) -> tensor<?x?x?xf32> {
      %0 = nju.neg %x : (tensor<1x?x8xf32>) -> tensor<?x?x?xf32>
      return %0 : tensor<?x?x?xf32>
    }
    ```

    After:

    ```mlir
    func.func @main(%x: tensor<1x?x8xf32>) -> tensor<1x?x8xf32> {
      %0 = nju.neg %x : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
      return %0 : tensor<1x?x8xf32>
    }
    ```
  }];
}

def WidenFloats : Pass<"nju-widen-floats", "::mlir::ModuleOp"> {
  let summary = "Compute f16 and bf16 graphs in f32";
  let description = [{
    Every f16 and bf16 value becomes f32, and the casts between them vanish.
    Weights keep the type they are stored in and are read through a cast; the
    arguments and results of functions keep their types. f64 and integers stay.

    Before:

    ```mlir
    func.func @main(%x: tensor<?xf16>) -> tensor<?xf16> {
      %0 = nju.exp %x : (tensor<?xf16>) -> tensor<?xf16>
      return %0 : tensor<?xf16>
    }
    ```

    After:

    ```mlir
    func.func @main(%x: tensor<?xf16>) -> tensor<?xf16> {
      %0 = nju.cast %x : (tensor<?xf16>) -> tensor<?xf32>
      %1 = nju.exp %0 : (tensor<?xf32>) -> tensor<?xf32>
      %2 = nju.cast %1 : (tensor<?xf32>) -> tensor<?xf16>
      return %2 : tensor<?xf16>
    }
    ```
  }];
  let statistics = [
    Statistic<"numWidened", "widened", "Values that became f32">,
    Statistic<"numCasts", "casts", "Casts that vanished">,
  ];
}

def Recognize : Pass<"nju-recognize", "::mlir::ModuleOp"> {
  let summary = "Replace decomposed structures by one op each";
  let description = [{
    Finds RMSNorm, LayerNorm, GELU (with erf or tanh), SiLU, SwiGLU, rotary
    position embeddings, attention and mixtures of experts in any of the
    spellings of exporters, and nothing that only looks like them: axes,
    constants and the identity of the values are compared, and indices are
    evaluated. Runs after `--nju-infer-shapes`, `--nju-fold-constants` and
    `--nju-widen-floats`.

    Before:

    ```mlir
    func.func @main(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %0 = nju.sigmoid %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
      %1 = nju.mul %0, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      return %1 : tensor<?x8xf32>
    }
    ```

    After:

    ```mlir
    func.func @main(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %0 = nju.silu %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
      return %0 : tensor<?x8xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numRMSNorm", "rms-norm", "RMSNorms found">,
    Statistic<"numLayerNorm", "layer-norm", "LayerNorms found">,
    Statistic<"numGelu", "gelu", "GELUs found">,
    Statistic<"numSilu", "silu", "SiLUs found">,
    Statistic<"numSwiGLU", "swiglu", "SwiGLUs found">,
    Statistic<"numRope", "rope", "Rotary embeddings found">,
    Statistic<"numAttention", "attention", "Attentions found">,
    Statistic<"numExperts", "experts", "Mixtures of experts found">,
  ];
}

def ToLMForm : Pass<"nju-to-lm-form", "::mlir::ModuleOp"> {
  let summary = "Turn a causal language model into a step over a ragged batch";
  let description = [{
    `@main` takes `input_ids` (and `attention_mask`, `position_ids`, past keys
    and values, if it has them) of `[batch, sequence]` and gives logits (and
    present keys and values). It becomes `@step`, which takes T tokens of any
    sequences, each with its position and sequence, and gives the logits of the
    tokens that `rows` names. Keys and values live in the cache of
    `nju.cached_attention`, whether the graph had a cache or not.

    What depends on positions only is not matched but evaluated, for several
    lengths up to `max-tokens`: masks must be causal (with a window or slopes),
    other values must depend on a token's own position. Keys and values are
    followed element by element. A graph that is no causal language model stays
    as it is; a remark says why. `max-tokens=0` means 2048, or less where tables
    of positions in the model are shorter. Runs after `--nju-widen-floats`.

    Before (the body is left out):

    ```mlir
    func.func private @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"},
                    %past_k: tensor<?x2x?x4xf32> {nju.name = "past.0.key"},
                    %past_v: tensor<?x2x?x4xf32> {nju.name = "past.0.value"})
        -> (tensor<?x?x8xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>)
    ```

    After:

    ```mlir
    module attributes {nju.lm = {vocabulary = 8 : i64, max_tokens = 2048 : i64,
        max_sequences = 8 : i64, max_batch_tokens = 512 : i64,
        cache = [{heads = 2 : i64, head_dim = 4 : i64, type = "f32"} ]}} {
      func.func private @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>,
                              %sequences: tensor<?xi32>, %rows: tensor<?xi32>)
          -> tensor<?x8xf32>
    }
    ```
  }];
  let options = [
    Option<"maxTokens", "max-tokens", "int64_t", "0",
           "Positions of a sequence; 0: 2048, or what the model's tables allow">,
    Option<"maxSequences", "max-sequences", "int64_t", "8",
           "Sequences that the cache holds unless the program says otherwise">,
    Option<"maxBatchTokens", "max-batch-tokens", "int64_t", "512",
           "Tokens of one step">,
    Option<"cacheType", "cache-type", "std::string", "\"f32\"",
           "What keys and values are kept as: f32, f16, q8 or q4">,
  ];
  let statistics = [
    Statistic<"numAttention", "attention", "Attentions that got a cache">,
  ];
}

def ShareWeights : Pass<"nju-share-weights", "::mlir::ModuleOp"> {
  let summary = "Let an output head that is the embedding be one param with it";
  let description = [{
    A matrix of a matmul whose bytes are those of the transpose of a table that
    is looked up becomes the transpose of the table: exporters fold the transpose
    of a tied embedding. The files are compared in pieces of 4 MB, up to the
    first difference; what cannot be read counts as different.

    Before (`w.data` holds the matrix after the table):

    ```mlir
    nju.param @e : tensor<40x8xf32> = #nju.file<"w.data", 0, tensor<40x8xf32>>
    nju.param @head : tensor<8x40xf32> = #nju.file<"w.data", 1280, tensor<8x40xf32>>
    func.func @main(%ids: tensor<?xi64>) -> tensor<?x40xf32> {
      %0 = nju.param_ref @e : tensor<40x8xf32>
      %1 = nju.gather %0, %ids {axis = 0 : i64} : (tensor<40x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
      %2 = nju.param_ref @head : tensor<8x40xf32>
      %3 = nju.matmul %1, %2 : (tensor<?x8xf32>, tensor<8x40xf32>) -> tensor<?x40xf32>
      return %3 : tensor<?x40xf32>
    }
    ```

    After:

    ```mlir
    nju.param @e : tensor<40x8xf32> = #nju.file<"w.data", 0, tensor<40x8xf32>>
    func.func @main(%ids: tensor<?xi64>) -> tensor<?x40xf32> {
      %0 = nju.param_ref @e : tensor<40x8xf32>
      %1 = nju.gather %0, %ids {axis = 0 : i64} : (tensor<40x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
      %2 = nju.param_ref @e : tensor<40x8xf32>
      %3 = nju.transpose %2 {permutation = array<i64: 1, 0>} : (tensor<40x8xf32>) -> tensor<8x40xf32>
      %4 = nju.matmul %1, %3 : (tensor<?x8xf32>, tensor<8x40xf32>) -> tensor<?x40xf32>
      return %4 : tensor<?x40xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numShared", "shared", "Matrices that are the transpose of a table">,
  ];
}

def PackWeights : Pass<"nju-pack-weights", "::mlir::ModuleOp"> {
  let summary = "Bring weights into the layout of their kernels";
  let description = [{
    A matmul with a weight matrix becomes `nju.linear` with the matrix packed in
    panels, the bias that is added right after in it. Transposes and casts of
    other weights move into the params; a table that is only looked up stays as
    it is stored, and what was looked up is cast. A table that is also such a
    matrix (rows looked up, columns multiplied) is stored once, packed, and
    `nju.embedding` looks up in that. Params that nobody uses vanish; the others
    are ordered by their first use.

    Before:

    ```mlir
    nju.param @w : tensor<64x8xf16> = #nju.file<"w.data", 0, tensor<64x8xf16>>
    func.func @main(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
      %0 = nju.param_ref @w : tensor<64x8xf16>
      %1 = nju.cast %0 : (tensor<64x8xf16>) -> tensor<64x8xf32>
      %2 = nju.matmul %x, %1 : (tensor<?x64xf32>, tensor<64x8xf32>) -> tensor<?x8xf32>
      return %2 : tensor<?x8xf32>
    }
    ```

    After:

    ```mlir
    nju.param @w : tensor<1x64x32xf16> = #nju.file<"w.data", 0, tensor<64x8xf16>> {panels = 32 : i64}
    func.func @main(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
      %0 = nju.param_ref @w : tensor<1x64x32xf16>
      %1 = nju.linear %x, %0 : (tensor<?x64xf32>, tensor<1x64x32xf16>) -> tensor<?x8xf32>
      return %1 : tensor<?x8xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numLinear", "linear", "Matmuls that became nju.linear">,
    Statistic<"numExpertLinear", "expert-linear", "Products of experts that became nju.expert_linear">,
    Statistic<"numEmbeddings", "embeddings", "Look-ups in a packed matrix">,
    Statistic<"numRemoved", "removed", "Params that nobody uses">,
  ];
}

def QuantizeWeights : Pass<"nju-quantize-weights", "::mlir::ModuleOp"> {
  let summary = "Use quantized matrices in place of weights";
  let description = [{
    Params that have the attribute `nju.quantize`, an `#nju.lcq`, become the
    three parts of a matrix in that format, and their uses ops on these:
    `nju.linear` becomes `nju.lcq_matmul`, and `nju.embedding` or a `nju.gather`
    along dimension 0 becomes `nju.dequantize`. Casts of what was looked up
    vanish. Nothing is computed: a param says what is to be stored, and is made
    when the weights are written. Runs after `nju-pack-weights`.

    Before:

    ```mlir
    nju.param @w : tensor<1x64x32xf16> = #nju.file<"w.data", 0, tensor<64x8xf16>> {panels = 32 : i64, nju.quantize = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>}
    func.func @main(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
      %0 = nju.param_ref @w : tensor<1x64x32xf16>
      %1 = nju.linear %x, %0 : (tensor<?x64xf32>, tensor<1x64x32xf16>) -> tensor<?x8xf32>
      return %1 : tensor<?x8xf32>
    }
    ```

    After:

    ```mlir
    nju.param @w.basis : tensor<1x16xi8> = #nju.file<"w.data", 0, tensor<64x8xf16>> {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>, part = #nju.part<basis>}
    nju.param @w.factors : tensor<1x16xf32> = #nju.file<"w.data", 0, tensor<64x8xf16>> {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>, part = #nju.part<factors>}
    nju.param @w : tensor<1x544xi8> = #nju.file<"w.data", 0, tensor<64x8xf16>> {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>, part = #nju.part<codes>}
    func.func @main(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
      %0 = nju.param_ref @w.basis : tensor<1x16xi8>
      %1 = nju.param_ref @w.factors : tensor<1x16xf32>
      %2 = nju.param_ref @w : tensor<1x544xi8>
      %3 = nju.lcq_matmul %x, %2, %0, %1 {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>} : (tensor<?x64xf32>, tensor<1x544xi8>, tensor<1x16xi8>, tensor<1x16xf32>) -> tensor<?x8xf32>
      return %3 : tensor<?x8xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numQuantized", "quantized", "Matrices that became quantized">,
  ];
}

#endif // NJU_TRANSFORMS_PASSES
