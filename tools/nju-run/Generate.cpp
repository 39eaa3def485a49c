//===- Generate.cpp - nju-run generate ------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Generation.h"

using namespace nju::run;

namespace {
struct GenerateOptions {
  ModelOptions model;
  GenerationOptions generation;
  std::string tokens;
};
} // namespace

static void generate(const GenerateOptions &options) {
  ModelHandle model = options.model.load();
  requireLanguageModel(model.get(), "generate");
  std::vector<int32_t> prompt =
      parseTokens(options.tokens, nju_model_vocabulary(model.get()));
  SessionHandle session = options.model.createSession(
      model.get(), int64_t(prompt.size()) + options.generation.maxNewTokens);
  Generator generator(model.get(), session.get(), options.generation);
  std::string separator;
  generator.run(prompt, [&](int32_t token) {
    print(separator + std::to_string(token));
    separator = ",";
    return true;
  });
  print("\n");
  checkInterrupt();
}

void nju::run::addGenerateCommand(CLI::App &app, Work &work) {
  CLI::App *command =
      app.add_subcommand("generate", "continue a text or a list of tokens");
  auto options = std::make_shared<GenerateOptions>();
  options->model.add(*command);
  command->add_option("--tokens", options->tokens, "the prompt as tokens")
      ->required()
      ->type_name("LIST");
  options->generation.add(*command);
  command->callback(
      [options, &work] { work = [options] { generate(*options); }; });
}
