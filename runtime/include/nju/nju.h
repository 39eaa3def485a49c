//===- nju.h - C API of the NJU runtime -------------------------*- C -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Two ways into a compiled model:
//  * nju_model_run: any graph, tensors in and tensors out;
//  * nju_session_*: causal language models, a ragged batch of tokens of any
//    sequences in one step, with a key/value cache that the session owns.
//
// Conventions: every fallible call returns nju_status; `out_` parameters come
// last and are cleared on entry; a message for the last failure of the calling
// thread is kept by nju_last_error_message. No call aborts or throws.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_NJU_H
#define NJU_NJU_H

#include <dlpack/dlpack.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NJU_EXPORT __attribute__((visibility("default")))

/// What a call came to. The comment says what the caller can do.
typedef enum nju_status {
  NJU_OK = 0,
  NJU_INVALID_ARGUMENT,   ///< The call is wrong: correct the arguments.
  NJU_NOT_FOUND,          ///< A file, symbol or sequence does not exist.
  NJU_IO_ERROR,           ///< Reading or writing failed: retry may help.
  NJU_DATA_LOSS,          ///< A file is truncated or corrupt: replace it.
  NJU_INCOMPATIBLE,       ///< ABI, CPU features or weight file do not match:
                          ///< compile again for this machine.
  NJU_OUT_OF_RANGE,       ///< A token, position or sequence exceeds a limit.
  NJU_RESOURCE_EXHAUSTED, ///< Memory or cache is full: free or trim.
  NJU_CANCELLED,          ///< A callback asked to stop.
  NJU_INTERNAL            ///< A bug in NJU: please report it.
} nju_status;

/// Message of the last failed call of this thread; "" if none failed. Valid
/// until the next failing call of this thread. Owned by the runtime.
NJU_EXPORT const char *nju_last_error_message(void);

/// Version of the runtime, "major.minor.patch".
NJU_EXPORT const char *nju_version(void);

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

/// A loaded model: the shared library and its weights. Immutable
/// after loading; every function that takes a `const nju_model *` may be called
/// from any number of threads at once.
typedef struct nju_model nju_model;

/// Where the weights are while a model runs.
typedef enum nju_weights_mode {
  NJU_WEIGHTS_DEFAULT = 0, ///< Loaded if they take less than three quarters
                           ///< of the available memory, else mapped.
  NJU_WEIGHTS_MAP,  ///< In the file, mapped: shared by processes, there at
                    ///< once if the file was read before, and dropped by the
                    ///< system when it needs the memory.
  NJU_WEIGHTS_LOAD, ///< In memory of this process, in large pages where the
                    ///< system has them: steps are faster. If they do not fit:
                    ///< NJU_RESOURCE_EXHAUSTED, saying how much is missing.
} nju_weights_mode;

/// How to load. Zero-initialise, then set what differs from the default.
typedef struct nju_model_options {
  /// Weight file; NULL: the file that the model names, beside the model.
  const char *weights_path;
  /// Nonzero: read the whole weight file once and compare its checksum with
  /// the compiled one. The default compares header, size and recorded hash.
  int verify_weights;
  nju_weights_mode weights_mode;
  /// NULL, or called while weights are loaded, by the calling thread, with
  /// the bytes that are there and all bytes. Nonzero stops with NJU_CANCELLED.
  int (*progress)(void *context, uint64_t done, uint64_t total);
  void *progress_context;
  /// Which of the model's variants to run ("x86-64-v3"); NULL: the first that
  /// this machine can. One that it cannot is refused.
  const char *variant;
} nju_model_options;

/// Loads `path` (a `.so` made by nju-compile) and its weights. `options`
/// may be NULL. Refuses with NJU_INCOMPATIBLE, naming both sides, what does not
/// fit this runtime's ABI, this machine's CPU or the weight file.
/// The caller releases `*out_model` with nju_model_release.
NJU_EXPORT nju_status nju_model_load(const char *path,
                                     const nju_model_options *options,
                                     nju_model **out_model);

/// The same for a descriptor that is linked into the program (`--link=static`
/// or a program that links the `.so`): pass `nju_<stem>_descriptor()` of the
/// generated header. `options->weights_path` is required here.
NJU_EXPORT nju_status nju_model_open(const void *descriptor,
                                     const nju_model_options *options,
                                     nju_model **out_model);

/// Releases the model; NULL is allowed. Sessions that are still alive keep what
/// they need: the library and the weights go with the last of them.
NJU_EXPORT void nju_model_release(nju_model *model);

/// The signature as JSON (see docs/abi.md); owned by the model.
NJU_EXPORT const char *nju_model_signature(const nju_model *model);

/// The name of the variant that runs, one of the signature's `target.variants`;
/// owned by the model.
NJU_EXPORT const char *nju_model_variant(const nju_model *model);

/// Size of the vocabulary, which is the length of a row of logits; 0 if the
/// model is no language model.
NJU_EXPORT int64_t nju_model_vocabulary(const nju_model *model);

/// DLDataType.code of booleans (kDLBool of DLPack 1.0, with 8 bits), for
/// dlpack.h headers that do not have it yet.
#define NJU_DL_BOOL 6

/// Runs a graph that is not a language model. `inputs` are CPU tensors in the
/// signature's order, row-major or strided, types as the signature says (`i1`:
/// NJU_DL_BOOL or unsigned, 8 bits); dynamic dimensions of one name must agree.
/// Inputs that contradict each other in the graph: NJU_INVALID_ARGUMENT.
/// `out_outputs` receives `num_outputs` new tensors, each freed by the caller
/// through its `deleter`; on failure all of them are NULL. The tensors do not
/// depend on the model and may outlive it. `num_threads` 0 means all cores
/// that the process may use. Thread-safe.
NJU_EXPORT nju_status nju_model_run(const nju_model *model,
                                    const DLTensor *inputs, size_t num_inputs,
                                    int num_threads, size_t num_outputs,
                                    DLManagedTensor **out_outputs);

//===----------------------------------------------------------------------===//
// Sessions
//===----------------------------------------------------------------------===//

/// A running language model: key/value cache, scratch memory and threads. One
/// thread at a time may use a session; different sessions are independent.
typedef struct nju_session nju_session;

/// Limits of a session. Zero-initialise; 0 takes the compiled limit.
typedef struct nju_session_options {
  int32_t max_tokens;    ///< Longest sequence, in tokens.
  int32_t max_sequences; ///< Number of sequences alive at once.
  int32_t num_threads;   ///< Threads of a step; 0: all cores that the process
                         ///< may use. More than these are refused.
} nju_session_options;

/// Creates a session; `options` may be NULL. Address space for the longest
/// sequences is reserved here and nowhere else, its pages become real as
/// sequences grow. Limits whose memory this machine does not have are refused
/// with NJU_RESOURCE_EXHAUSTED, saying how much is asked, how much too much
/// that is, and which limits would fit. The caller releases `*out_session` with
/// nju_session_release.
NJU_EXPORT nju_status nju_session_create(const nju_model *model,
                                         const nju_session_options *options,
                                         nju_session **out_session);
NJU_EXPORT void nju_session_release(nju_session *session);

/// A ragged batch: `num_tokens` tokens of any sequences, no padding. Token i
/// belongs to sequence `sequences[i]` (0 .. max_sequences-1) at position
/// `positions[i]`; within the batch the positions of a sequence ascend by one
/// and start at its present length. `rows` lists which tokens' logits are
/// wanted (ascending indices into the batch; NULL with num_rows 0: none).
typedef struct nju_batch {
  size_t num_tokens;
  const int32_t *tokens;
  const int32_t *positions; ///< NULL: continue each sequence at its length.
  const int32_t *sequences; ///< NULL: all tokens belong to sequence 0.
  size_t num_rows;
  const int32_t *rows;
} nju_batch;

/// Runs the batch and appends its tokens to their sequences. `out_logits` is
/// [num_rows, vocabulary] f32, row-major, written by the call. A batch larger
/// than the compiled step is cut into several steps. On failure no sequence
/// has changed its length. Results do not depend on how tokens are batched.
NJU_EXPORT nju_status nju_session_step(nju_session *session,
                                       const nju_batch *batch,
                                       float *out_logits);

/// Makes sequence `to` a copy of the first `length` tokens of sequence `from`
/// (length < 0: all). What `to` held is gone.
NJU_EXPORT nju_status nju_session_fork(nju_session *session, int32_t from,
                                       int32_t to, int32_t length);

/// Shortens a sequence to `length` tokens (0 empties it).
NJU_EXPORT nju_status nju_session_trim(nju_session *session, int32_t sequence,
                                       int32_t length);

/// Number of tokens of a sequence; -1 if there is no such sequence.
NJU_EXPORT int32_t nju_session_length(const nju_session *session,
                                      int32_t sequence);

/// The limits that are in force (every field set).
NJU_EXPORT nju_session_options nju_session_limits(const nju_session *session);

/// Where a session's memory goes, in bytes.
typedef struct nju_memory {
  uint64_t weights; ///< Mapped weight data, shared by all sessions.
  uint64_t cache;   ///< Key/value cache when every sequence is full.
  uint64_t arena;   ///< Scratch memory of a step.
} nju_memory;

NJU_EXPORT nju_memory nju_session_memory(const nju_session *session);

//===----------------------------------------------------------------------===//
// Sampling
//===----------------------------------------------------------------------===//

/// How to choose the next token. Zero-initialised: greedy. The steps are taken
/// in this order: repetition penalty, temperature, top-k, top-p, min-p, draw.
typedef struct nju_sampling_options {
  float temperature; ///< 0: greedy, the lowest index wins ties.
  int32_t top_k;     ///< Keep the k largest logits. 0: off.
  float top_p;       ///< Keep the fewest most likely tokens whose
                     ///< probabilities sum to at least this. 0 or 1: off.
  float min_p;       ///< Keep tokens at least this times as likely as
                     ///< the likeliest one. 0: off.
  float repetition_penalty; ///< Logits of tokens in the history are divided by
                            ///< this if positive, multiplied by it if negative
                            ///< (Keskar et al. 2019, CTRL). 0 or 1: off.
  uint64_t seed;            ///< Same seed, same logits: same tokens, on every
                            ///< machine.
} nju_sampling_options;

/// A sampler with its own random state; one thread at a time.
typedef struct nju_sampler nju_sampler;

NJU_EXPORT nju_status nju_sampler_create(const nju_sampling_options *options,
                                         nju_sampler **out_sampler);
NJU_EXPORT void nju_sampler_release(nju_sampler *sampler);

/// Chooses a token from `logits` [vocabulary]. `history` are the tokens that
/// the repetition penalty looks at (NULL with length 0: none). A logit may be
/// minus infinity (never chosen); NaN and plus infinity are refused.
NJU_EXPORT nju_status nju_sampler_sample(nju_sampler *sampler,
                                         const float *logits, size_t vocabulary,
                                         const int32_t *history,
                                         size_t history_length,
                                         int32_t *out_token);

#ifdef __cplusplus
}
#endif

#endif // NJU_NJU_H
