//===- Logits.cpp - nju-run logits ----------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Common.h"
#include "Npy.h"

#include <algorithm>

using namespace nju::run;

namespace {
struct LogitsOptions {
  ModelOptions model;
  std::string tokens;
  std::string output;
};
} // namespace

/// Runs the tokens and writes the logits of every one, step by step.
static void writeLogits(nju_session *session, const nju_model *model,
                        const std::vector<int32_t> &tokens, OutputFile &file) {
  size_t stepTokens = getStepTokens(model);
  size_t vocabulary = nju_model_vocabulary(model);
  std::vector<float> logits(std::min(stepTokens, tokens.size()) * vocabulary);
  std::vector<int32_t> rows(std::min(stepTokens, tokens.size()));
  for (size_t i = 0; i < rows.size(); ++i)
    rows[i] = i;
  for (size_t begin = 0; begin < tokens.size(); begin += stepTokens) {
    checkInterrupt();
    nju_batch batch = {};
    batch.num_tokens = std::min(stepTokens, tokens.size() - begin);
    batch.tokens = tokens.data() + begin;
    batch.num_rows = batch.num_tokens;
    batch.rows = rows.data();
    check(nju_session_step(session, &batch, logits.data()));
    file.write(logits.data(), batch.num_rows * vocabulary * sizeof(float));
  }
}

static void runLogits(const LogitsOptions &options) {
  ModelHandle model = options.model.load();
  requireLanguageModel(model.get(), "logits");
  int64_t vocabulary = nju_model_vocabulary(model.get());
  std::vector<int32_t> tokens = parseTokens(options.tokens, vocabulary);
  requireFit(model.get(), tokens.size(), "--tokens");
  SessionHandle session =
      options.model.createSession(model.get(), tokens.size());
  OutputFile file(options.output);
  std::string header =
      makeNpyHeader({kDLFloat, 32, 1}, {int64_t(tokens.size()), vocabulary});
  file.write(header.data(), header.size());
  writeLogits(session.get(), model.get(), tokens, file);
  file.commit();
}

void nju::run::addLogitsCommand(CLI::App &app, Work &work) {
  CLI::App *command = app.add_subcommand(
      "logits", "write the logits of every token as a .npy file");
  auto options = std::make_shared<LogitsOptions>();
  options->model.add(*command);
  command->add_option("--tokens", options->tokens, "tokens, such as 1,5,9")
      ->required()
      ->type_name("LIST");
  command
      ->add_option("-o,--output", options->output,
                   "file to write, [tokens, vocabulary] f32")
      ->required()
      ->type_name("FILE.npy");
  command->footer("Example:\n"
                  "  nju-run logits model.so --tokens 1,5,9 -o logits.npy");
  command->callback(
      [options, &work] { work = [options] { runLogits(*options); }; });
}
