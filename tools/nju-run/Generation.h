//===- Generation.h - Token by token ----------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUN_GENERATION_H
#define NJU_RUN_GENERATION_H

#include "Common.h"

namespace nju::run {

/// How `generate` and `chat` choose tokens and when they stop.
struct GenerationOptions {
  int maxNewTokens = 256;
  bool ignoreEos = false;
  nju_sampling_options sampling = {};

  void add(CLI::App &command);
};

/// Continues sequence 0 of a session token by token.
class Generator {
public:
  Generator(const nju_model *model, nju_session *session,
            const GenerationOptions &options);

  /// Called with every new token; false stops.
  using OnToken = std::function<bool(int32_t)>;

  /// Why `run` came back.
  enum class End { Limit, Stopped, EndToken, Full, Interrupted };

  /// Appends `prompt` to the sequence, then generates until the limit, an end
  /// token, `onToken` returning false, a full sequence, or Ctrl-C. An end token
  /// is not passed on and not appended; other generated tokens are part of the
  /// sequence when the next run begins.
  End run(const std::vector<int32_t> &prompt, const OnToken &onToken);

  /// Empties the sequence.
  void reset();

  /// Tokens in the sequence.
  size_t getLength() const { return history.size(); }

  /// Tokens that end a text, unless the options say to ignore them.
  void setEndTokens(std::vector<int32_t> tokens);

private:
  bool isEndToken(int32_t token) const;

  const nju_model *model;
  nju_session *session;
  const GenerationOptions &options;
  SamplerHandle sampler;
  std::vector<int32_t> endTokens;
  std::vector<int32_t> history; ///< All tokens of the sequence.
  std::vector<int32_t> unfed;   ///< Generated, but not in the cache yet.
};

} // namespace nju::run

#endif // NJU_RUN_GENERATION_H
