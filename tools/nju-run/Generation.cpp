//===- Generation.cpp - Token by token ------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Generation.h"

#include <algorithm>

using namespace nju::run;

void GenerationOptions::add(CLI::App &command) {
  command
      .add_option("--max-new-tokens", maxNewTokens,
                  "stop after this many tokens")
      ->type_name("N")
      ->capture_default_str()
      ->check(wholeNumber(0));
  command.add_flag("--ignore-eos", ignoreEos,
                   "go on after the model's end token");
  command
      .add_option("--temperature", sampling.temperature,
                  "0 takes the likeliest token (default), more draws more "
                  "freely")
      ->type_name("T")
      ->check(realNumber());
  command
      .add_option("--top-k", sampling.top_k,
                  "draw among the K likeliest tokens (default 0: all)")
      ->type_name("K")
      ->check(wholeNumber(0));
  command
      .add_option("--top-p", sampling.top_p,
                  "draw among the likeliest tokens that make up probability P "
                  "(default 1: all)")
      ->type_name("P")
      ->check(realNumber(1));
  command
      .add_option("--min-p", sampling.min_p,
                  "draw among tokens at least P times as likely as the "
                  "likeliest (default 0: all)")
      ->type_name("P")
      ->check(realNumber(1));
  command
      .add_option("--repetition-penalty", sampling.repetition_penalty,
                  "divide the logits of tokens that occurred (default 1: off)")
      ->type_name("R")
      ->check(realNumber());
  command
      .add_option("--seed", sampling.seed,
                  "seed of the draws (default 0); the same seed gives the same "
                  "text")
      ->type_name("N")
      ->check(wholeNumber(0, std::numeric_limits<uint64_t>::max()));
}

Generator::Generator(const nju_model *model, nju_session *session,
                     const GenerationOptions &options)
    : model(model), session(session), options(options) {
  nju_sampler *raw;
  check(nju_sampler_create(&options.sampling, &raw));
  sampler.reset(raw);
}

void Generator::setEndTokens(std::vector<int32_t> tokens) {
  endTokens = std::move(tokens);
}

bool Generator::isEndToken(int32_t token) const {
  return !options.ignoreEos && std::find(endTokens.begin(), endTokens.end(),
                                         token) != endTokens.end();
}

void Generator::reset() {
  check(nju_session_trim(session, 0, 0));
  history.clear();
  unfed.clear();
}

Generator::End Generator::run(const std::vector<int32_t> &prompt,
                              const OnToken &onToken) {
  size_t vocabulary = nju_model_vocabulary(model);
  history.insert(history.end(), prompt.begin(), prompt.end());
  unfed.insert(unfed.end(), prompt.begin(), prompt.end());
  for (int count = 0; count < options.maxNewTokens; ++count) {
    if (isInterrupted())
      return End::Interrupted;
    if (count && nju_session_length(session, 0) ==
                     nju_session_limits(session).max_tokens)
      return End::Full;
    std::vector<float> logits = prefill(session, model, unfed);
    unfed.clear();
    int32_t token;
    check(nju_sampler_sample(sampler.get(), logits.data(), vocabulary,
                             history.data(), history.size(), &token));
    if (isEndToken(token))
      return End::EndToken;
    unfed.push_back(token);
    history.push_back(token);
    if (!onToken(token))
      return End::Stopped;
  }
  return End::Limit;
}
