//===- abi.h - Contract of generated code and runtime -----------*- C -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What a generated `.so` exports and how the runtime calls it. The only header
// that compiler and runtime share. Any change of a struct or of the meaning of
// a field raises NJU_ABI_VERSION.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_ABI_H
#define NJU_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NJU_ABI_VERSION 4
#define NJU_ABI_MAGIC "NJUMODEL" /* 8 bytes, no terminator */
#define NJU_ABI_MAX_RANK 8
#define NJU_ABI_DESCRIPTOR_SYMBOL "nju_model_descriptor"

/// Alignment of every tensor inside the weight data, of arena and cache.
#define NJU_ABI_ALIGNMENT 64

/// Positions are kept in blocks of this many in the cache.
#define NJU_ABI_CACHE_BLOCK 16

/// Arguments of one step of a language model. Every pointer is valid for the
/// call; the generated code allocates nothing.
///
/// Key/value cache: for each layer, in order, a key region and then a value
/// region. A region is [max_sequences][heads][cache_tokens / 16] blocks, where
/// cache_tokens is a multiple of NJU_ABI_CACHE_BLOCK. A block holds 16
/// positions of a head and has as many bytes as the signature says; within it,
/// keys are [head_dim][16] and values [16][head_dim] of the layer's type. For
/// types that are quantized see docs/abi.md.
typedef struct nju_abi_step_args {
  int64_t num_tokens;       ///< 1 .. max_batch_tokens of the signature.
  int64_t num_rows;         ///< 0 .. num_tokens.
  const int32_t *tokens;    ///< [num_tokens]
  const int32_t *positions; ///< [num_tokens]
  const int32_t *sequences; ///< [num_tokens]
  const int32_t *rows;      ///< [num_rows], tokens whose logits are wanted.
  float *logits;            ///< [num_rows, vocabulary], out.
  const uint8_t *weights;   ///< Data section of the weight file.
  uint8_t *cache;           ///< See above.
  uint8_t *arena;           ///< arena_bytes of the signature; zero when a
                            ///< session begins, then kept from step to step.
  int64_t max_sequences;    ///< Sequences that the cache holds.
  int64_t cache_tokens;     ///< Tokens a sequence that the cache holds.
  int64_t num_threads;      ///< >= 1
} nju_abi_step_args;

/// A tensor of nju_abi_run_args: row-major and contiguous.
typedef struct nju_abi_tensor {
  void *data;
  int64_t shape[NJU_ABI_MAX_RANK];
} nju_abi_tensor;

/// Arguments of a whole graph. The runtime has checked types, ranks, static
/// and equally named dimensions. The generated code sets data and shape of
/// every output; data comes from malloc, one block an output, and belongs to
/// the runtime afterwards.
typedef struct nju_abi_run_args {
  const nju_abi_tensor *inputs;
  nju_abi_tensor *outputs;
  const uint8_t *weights;
  int64_t num_threads;
  const char *error;       ///< Out, on failure: NULL, or what is wrong with the
                           ///< inputs, where "{0}" and "{1}" stand for the
  int64_t error_values[2]; ///< numbers in here. Static memory of the model.
} nju_abi_run_args;

/// Both return 0, or a nonzero code that the runtime reports as NJU_INTERNAL,
/// or as NJU_INVALID_ARGUMENT with the `error` of a run.
typedef int32_t (*nju_abi_step_function)(const nju_abi_step_args *);
typedef int32_t (*nju_abi_run_function)(nju_abi_run_args *);

/// The model's code for one kind of machine.
typedef struct nju_abi_variant {
  nju_abi_step_function step; ///< NULL if the model is no language model.
  nju_abi_run_function run;   ///< NULL if it is one.
} nju_abi_variant;

/// The one data symbol that a model exports.
typedef struct nju_abi_descriptor {
  char magic[8];             ///< NJU_ABI_MAGIC
  uint32_t abi_version;      ///< NJU_ABI_VERSION
  uint32_t descriptor_size;  ///< sizeof(nju_abi_descriptor)
  uint64_t signature_length; ///< Bytes of `signature`, without the NUL.
  const char *signature;     ///< JSON, see docs/abi.md; NUL-terminated.
  uint64_t num_variants;     ///< At least 1.
  /// As the signature's `target.variants`: those that need most come first.
  const nju_abi_variant *variants;
} nju_abi_descriptor;

#ifdef __cplusplus
}
#endif

#endif // NJU_ABI_H
