//===- Chat.cpp - nju-run chat --------------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ChatTemplate.h"
#include "Generation.h"
#include "Text.h"

#include <cstdio>
#include <iostream>
#include <unistd.h>

using namespace nju::run;

namespace {
struct ChatOptions {
  ModelOptions model;
  GenerationOptions generation;
  std::string tokenizer;
  std::string format;
  std::string system;
  int maxTokens = 0; ///< 0: as many as the model was compiled for
};

/// A conversation: every turn continues the sequence.
class Conversation {
public:
  Conversation(const ChatOptions &options, const nju_model *model,
               const Tokenizer &tokenizer, const ChatTemplate &format);

  /// Answers what the user said.
  void answer(const std::string &user);
  void reset();

private:
  std::vector<int32_t> makeTurn(const std::string &user) const;
  int32_t getMaxTokens() const {
    return nju_session_limits(session.get()).max_tokens;
  }

  const ChatOptions &options;
  const nju_model *model;
  const Tokenizer &tokenizer;
  const ChatTemplate &format;
  SessionHandle session;
  Generator generator;
  TextPrinter printer;
  /// What the next turn begins with: the end of the answer before it.
  std::string pending;
};
} // namespace

static std::vector<std::string> getStops(const ChatTemplate &format) {
  return std::vector<std::string>(format.stops.begin(), format.stops.end());
}

Conversation::Conversation(const ChatOptions &options, const nju_model *model,
                           const Tokenizer &tokenizer,
                           const ChatTemplate &format)
    : options(options), model(model), tokenizer(tokenizer), format(format),
      session(options.model.createSession(model, options.maxTokens)),
      generator(model, session.get(), options.generation),
      printer(tokenizer, getStops(format)) {
  std::vector<int32_t> endTokens = tokenizer.getEndTokens();
  for (const char *name : format.endTokens) {
    int32_t token = tokenizer.findToken(name);
    if (token >= 0)
      endTokens.push_back(token);
  }
  generator.setEndTokens(endTokens);
}

void Conversation::reset() {
  generator.reset();
  pending.clear();
}

std::vector<int32_t> Conversation::makeTurn(const std::string &user) const {
  bool isFirst = generator.getLength() == 0;
  std::string text =
      pending + formatTurn(format, isFirst ? options.system : "", user);
  return tokenizer.encode(text, NJU_TOKENIZER_PARSE_SPECIAL |
                                    (isFirst ? NJU_TOKENIZER_ADD_BOS : 0));
}

void Conversation::answer(const std::string &user) {
  std::vector<int32_t> turn = makeTurn(user);
  if (generator.getLength() + turn.size() >= size_t(getMaxTokens()) &&
      generator.getLength()) {
    fprintf(stderr,
            "nju-run: note: the conversation fills the model's %d tokens; "
            "starting anew\n",
            getMaxTokens());
    reset();
    turn = makeTurn(user);
  }
  requireFit(model, turn.size(), "the turn");
  if (turn.size() > size_t(getMaxTokens()))
    throw Failure("the turn has " + std::to_string(turn.size()) +
                  " tokens, --max-tokens is " + std::to_string(getMaxTokens()));
  printer.restart();
  printer.addPrompt(turn, false);
  Generator::End end =
      generator.run(turn, [&](int32_t token) { return printer.add(token); });
  printer.finish();
  print("\n");
  clearInterrupt();
  // A stop string is the beginning of the user's turn: it is there already.
  pending = printer.isStopped() ? "" : format.answerEnd;
  if (end == Generator::End::Full)
    fprintf(stderr,
            "nju-run: note: stopped at the model's longest sequence of "
            "%d tokens\n",
            getMaxTokens());
}

static const ChatTemplate &chooseTemplate(const ChatOptions &options,
                                          const Tokenizer &tokenizer) {
  if (!options.format.empty())
    return *findChatTemplate(options.format);
  return detectChatTemplate(
      [&](const char *name) { return tokenizer.findToken(name) >= 0; });
}

static void chat(const ChatOptions &options) {
  ModelHandle model = options.model.load();
  requireLanguageModel(model.get(), "chat");
  Tokenizer tokenizer(options.tokenizer, options.model, model.get());
  const ChatTemplate &format = chooseTemplate(options, tokenizer);
  Conversation conversation(options, model.get(), tokenizer, format);
  bool isTerminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
  if (isTerminal)
    print(std::string("format ") + format.name +
          "; /reset forgets, /quit or Ctrl-D ends, Ctrl-C stops an answer\n");
  for (std::string line;;) {
    checkInterrupt();
    if (isTerminal)
      print("> ");
    if (!std::getline(std::cin, line) || line == "/quit")
      break;
    if (line == "/reset")
      conversation.reset();
    else if (!line.empty())
      conversation.answer(line);
  }
  if (isTerminal)
    print("\n");
}

void nju::run::addChatCommand(CLI::App &app, Work &work) {
  CLI::App *command =
      app.add_subcommand("chat", "talk with a model, a line a turn");
  auto options = std::make_shared<ChatOptions>();
  options->model.add(*command);
  command
      ->add_option("--template", options->format,
                   "format of the turns: plain, chatml, llama-2 or llama-3 "
                   "(default: by the tokenizer's special tokens, else plain)")
      ->type_name("NAME")
      ->check(CLI::IsMember({"plain", "chatml", "llama-2", "llama-3"}));
  command
      ->add_option("--max-tokens", options->maxTokens,
                   "longest conversation, which decides the memory for it "
                   "(default: as the model was compiled)")
      ->type_name("N")
      ->check(wholeNumber(1));
  command->add_option("--system", options->system, "instructions to the model")
      ->type_name("TEXT");
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "tokenizer file or folder (default: beside the model)")
      ->type_name("FILE");
  options->generation.add(*command);
  command->footer("Examples:\n"
                  "  nju-run chat model.so\n"
                  "  nju-run chat model.so --template llama-3 --system \"Be "
                  "brief.\" --temperature 0.7\n"
                  "  echo \"What is a compiler?\" | nju-run chat model.so");
  command->callback([options, &work] { work = [options] { chat(*options); }; });
}
