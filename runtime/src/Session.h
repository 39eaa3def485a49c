//===- Session.h - A running language model ---------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_SESSION_H
#define NJU_RUNTIME_SESSION_H

#include "Memory.h"
#include "Model.h"

namespace nju {

/// Cache, scratch memory and sequence lengths of a language model.
class Session {
public:
  explicit Session(std::shared_ptr<const Model> model)
      : model(std::move(model)) {}

  nju_status create(const nju_session_options &options);
  nju_status step(const nju_batch &batch, float *logits);
  nju_status fork(int32_t from, int32_t to, int32_t length);
  nju_status trim(int32_t sequence, int32_t length);

  int32_t getLength(int32_t sequence) const;
  const nju_session_options &getLimits() const { return limits; }
  nju_memory getMemory() const;

private:
  nju_status resolveLimits(const nju_session_options &options);
  nju_status reserve();
  nju_status checkBatch(const nju_batch &batch, const float *logits);
  nju_status checkToken(const nju_batch &batch, size_t index);
  nju_status runChunk(const nju_batch &batch, size_t begin, size_t end,
                      size_t firstRow, size_t lastRow, float *logits);
  nju_status checkSequence(int32_t sequence) const;
  bool isSequence(int32_t sequence) const {
    return sequence >= 0 && sequence < limits.max_sequences;
  }

  std::shared_ptr<const Model> model;
  nju_session_options limits = {};
  int64_t cacheTokens = 0; ///< max_tokens, rounded up to whole blocks
  Mapping cache;
  Mapping arena;
  std::vector<int32_t> lengths;     ///< [max_sequences], after the last step
  std::vector<int32_t> nextLengths; ///< ... while a batch is under way
  /// Buffers of one step, so that a step allocates nothing.
  std::vector<int32_t> positions, sequences, rows;
};

} // namespace nju

struct nju_session {
  nju::Session session;
};

#endif // NJU_RUNTIME_SESSION_H
