//===- Generate.cpp - nju-run generate ------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Generation.h"
#include "Text.h"

#include <cstdio>
#include <optional>

using namespace nju::run;

namespace {
struct GenerateOptions {
  ModelOptions model;
  GenerationOptions generation;
  std::string tokenizer;
  std::optional<std::string> prompt;
  std::optional<std::string> tokens;
  std::string form;
  std::vector<std::string> stops;
  bool noEcho = false;
};
} // namespace

/// The tokenizer; null where tokens come in and go out and none is there.
static std::unique_ptr<Tokenizer> loadTokenizer(const GenerateOptions &options,
                                                const nju_model *model) {
  bool isNeeded = !options.tokens || options.form == "text" ||
                  !options.stops.empty() || !options.tokenizer.empty();
  bool isUseless = options.form == "tokens" && options.generation.ignoreEos;
  if (!isNeeded && (isUseless || Tokenizer::find(options.model.path).empty()))
    return nullptr;
  return std::make_unique<Tokenizer>(options.tokenizer, options.model, model);
}

static std::vector<int32_t> makePrompt(const GenerateOptions &options,
                                       const nju_model *model,
                                       const Tokenizer *tokenizer) {
  if (options.tokens)
    return parseTokens(*options.tokens, nju_model_vocabulary(model));
  std::vector<int32_t> prompt =
      tokenizer->encode(options.prompt.value_or(""), NJU_TOKENIZER_ADD_BOS);
  int32_t bos = nju_tokenizer_bos(tokenizer->get());
  if (prompt.empty() && bos >= 0)
    prompt.push_back(bos);
  if (prompt.empty())
    throw Failure("the prompt has no tokens and the tokenizer no token that "
                  "begins a text: give a --prompt");
  return prompt;
}

static void reportEnd(Generator::End end, const nju_session *session) {
  if (end == Generator::End::Full)
    fprintf(stderr,
            "nju-run: note: stopped at the model's longest sequence of "
            "%d tokens\n",
            nju_session_limits(session).max_tokens);
}

static Generator::End generateTokens(Generator &generator,
                                     const std::vector<int32_t> &prompt) {
  std::string separator;
  Generator::End end = generator.run(prompt, [&](int32_t token) {
    print(separator + std::to_string(token));
    separator = ",";
    return true;
  });
  print("\n");
  return end;
}

static Generator::End generateText(Generator &generator,
                                   const GenerateOptions &options,
                                   const Tokenizer &tokenizer,
                                   const std::vector<int32_t> &prompt) {
  TextPrinter printer(tokenizer, options.stops);
  printer.addPrompt(prompt, !options.noEcho);
  Generator::End end =
      generator.run(prompt, [&](int32_t token) { return printer.add(token); });
  printer.finish();
  print("\n");
  return end;
}

static void generate(const GenerateOptions &options) {
  ModelHandle model = options.model.load();
  requireLanguageModel(model.get(), "generate");
  std::unique_ptr<Tokenizer> tokenizer = loadTokenizer(options, model.get());
  std::vector<int32_t> prompt =
      makePrompt(options, model.get(), tokenizer.get());
  requireFit(model.get(), prompt.size(), "the prompt");
  SessionHandle session = options.model.createSession(
      model.get(), int64_t(prompt.size()) + options.generation.maxNewTokens);
  Generator generator(model.get(), session.get(), options.generation);
  if (tokenizer)
    generator.setEndTokens(tokenizer->getEndTokens());
  Generator::End end =
      tokenizer && options.form != "tokens"
          ? generateText(generator, options, *tokenizer, prompt)
          : generateTokens(generator, prompt);
  reportEnd(end, session.get());
  checkInterrupt();
}

void nju::run::addGenerateCommand(CLI::App &app, Work &work) {
  CLI::App *command =
      app.add_subcommand("generate", "continue a text or a list of tokens");
  auto options = std::make_shared<GenerateOptions>();
  options->model.add(*command);
  CLI::Option *prompt =
      command
          ->add_option("--prompt", options->prompt,
                       "the text to continue (default: begin a text)")
          ->type_name("TEXT");
  command->add_option("--tokens", options->tokens, "the prompt as tokens")
      ->type_name("LIST")
      ->excludes(prompt);
  command
      ->add_option("--print", options->form,
                   "text: the prompt and what follows; tokens: the new ones, "
                   "comma-separated (default: text if there is a tokenizer)")
      ->type_name("text|tokens")
      ->check(CLI::IsMember({"text", "tokens"}));
  command->add_flag("--no-echo", options->noEcho,
                    "print what follows the prompt only");
  command
      ->add_option("--stop", options->stops,
                   "stop before this text; may be given several times")
      ->type_name("TEXT");
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "tokenizer file or folder (default: beside the model)")
      ->type_name("FILE");
  options->generation.add(*command);
  command->footer(
      "Examples:\n"
      "  nju-run generate model.so --prompt \"Once upon a time\"\n"
      "  nju-run generate model.so --tokens 1,5,9 --print tokens "
      "--ignore-eos\n"
      "  nju-run generate model.so --prompt \"A poem:\" --temperature 0.8 "
      "--top-p 0.95 --seed 7 --stop \"The End\"");
  command->callback([options, &work] {
    for (const std::string &stop : options->stops)
      if (stop.empty())
        throw Failure("--stop needs a text, got an empty one");
    if (!options->stops.empty() && options->form == "tokens")
      throw Failure("--stop looks at text, so it does not go with --print "
                    "tokens");
    work = [options] { generate(*options); };
  });
}
