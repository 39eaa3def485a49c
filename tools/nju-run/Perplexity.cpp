//===- Perplexity.cpp - nju-run ppl ---------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Text.h"

#include "nju/documents.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <unistd.h>

using namespace nju::run;

namespace {
struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  std::string tokenizer;
  std::string split{nju::documentSeparator};
  int context = 0;
  bool json = false;
};

/// Sums the negative log likelihood of documents.
class Evaluation {
public:
  Evaluation(const nju_model *model, nju_session *session,
             std::vector<int32_t> prefix, size_t context);

  /// Evaluates a document in blocks; `onBlock` is called after each.
  void addDocument(const std::vector<int32_t> &tokens,
                   const std::function<void()> &onBlock);

  double getNats() const { return nats; }
  size_t getCount() const { return count; }

private:
  void addBlock(const std::vector<int32_t> &tokens);
  void addStep(const std::vector<int32_t> &tokens, size_t begin, size_t end);

  nju_session *session;
  std::vector<int32_t> prefix;
  size_t context, vocabulary, stepTokens;
  std::vector<float> logits;
  std::vector<int32_t> rows;
  double nats = 0;
  size_t count = 0;
};

/// Tells on standard error how far long work is.
class Progress {
public:
  explicit Progress(size_t numDocuments)
      : numDocuments(numDocuments), start(Clock::now()), last(start),
        isTerminal(isatty(STDERR_FILENO)) {}
  ~Progress();

  void update(size_t document, size_t numTokens);

private:
  using Clock = std::chrono::steady_clock;
  size_t numDocuments;
  Clock::time_point start, last;
  bool isTerminal, isShown = false;
};
} // namespace

//===----------------------------------------------------------------------===//
// Progress
//===----------------------------------------------------------------------===//

void Progress::update(size_t document, size_t numTokens) {
  Clock::time_point now = Clock::now();
  auto interval = std::chrono::seconds(isTerminal ? 1 : 10);
  if (now - last < interval)
    return;
  last = now;
  isShown = true;
  double seconds = std::chrono::duration<double>(now - start).count();
  fprintf(stderr, "%snju-run: document %zu of %zu, %zu tokens, %.0f tokens/s%s",
          isTerminal ? "\r" : "", document, numDocuments, numTokens,
          numTokens / seconds, isTerminal ? "  " : "\n");
}

Progress::~Progress() {
  if (isShown && isTerminal)
    fprintf(stderr, "\n");
}

//===----------------------------------------------------------------------===//
// Evaluation
//===----------------------------------------------------------------------===//

/// Logits of one step stay below this many bytes.
static constexpr size_t maxLogitsBytes = 64 << 20;

Evaluation::Evaluation(const nju_model *model, nju_session *session,
                       std::vector<int32_t> prefix, size_t context)
    : session(session), prefix(std::move(prefix)), context(context),
      vocabulary(nju_model_vocabulary(model)) {
  stepTokens = std::min(
      getStepTokens(model),
      std::max<size_t>(1, maxLogitsBytes / sizeof(float) / vocabulary));
  logits.resize(stepTokens * vocabulary);
  for (size_t i = 0; i < stepTokens; ++i)
    rows.push_back(i);
}

/// Minus the logarithm of the probability of `token`.
static double getNats(const float *logits, size_t vocabulary, int32_t token) {
  double max = *std::max_element(logits, logits + vocabulary);
  double sum = 0;
  for (size_t i = 0; i < vocabulary; ++i)
    sum += std::exp(logits[i] - max);
  return std::log(sum) + max - logits[token];
}

/// Runs the tokens [begin, end) and scores the tokens after each of them.
void Evaluation::addStep(const std::vector<int32_t> &tokens, size_t begin,
                         size_t end) {
  checkInterrupt();
  nju_batch batch = {};
  batch.num_tokens = end - begin;
  batch.tokens = tokens.data() + begin;
  // The first token of a block is predicted only after a prefix.
  size_t firstRow = begin + 1 >= prefix.size() ? 0 : prefix.size() - 1 - begin;
  firstRow = std::min(firstRow, batch.num_tokens);
  batch.num_rows = batch.num_tokens - firstRow;
  batch.rows = rows.data() + firstRow;
  check(nju_session_step(session, &batch, logits.data()));
  for (size_t row = 0; row < batch.num_rows; ++row) {
    nats += ::getNats(logits.data() + row * vocabulary, vocabulary,
                      tokens[begin + firstRow + row + 1]);
    ++count;
  }
}

void Evaluation::addBlock(const std::vector<int32_t> &tokens) {
  check(nju_session_trim(session, 0, 0));
  // The last token is predicted, not read.
  for (size_t begin = 0; begin + 1 < tokens.size(); begin += stepTokens)
    addStep(tokens, begin, std::min(begin + stepTokens, tokens.size() - 1));
}

void Evaluation::addDocument(const std::vector<int32_t> &tokens,
                             const std::function<void()> &onBlock) {
  // A block reads at most `context` tokens, its prefix among them, and predicts
  // one more than it reads of the document if there is a prefix.
  size_t blockTokens = context + 1 - prefix.size();
  if (prefix.empty())
    blockTokens = context;
  for (size_t begin = 0; begin < tokens.size(); begin += blockTokens) {
    size_t end = std::min(begin + blockTokens, tokens.size());
    std::vector<int32_t> block = prefix;
    block.insert(block.end(), tokens.begin() + begin, tokens.begin() + end);
    addBlock(block);
    onBlock();
  }
}

//===----------------------------------------------------------------------===//
// Command
//===----------------------------------------------------------------------===//

static std::string readText(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file)
    throw Failure("cannot open text '" + path + "': " + strerror(errno));
  text << file.rdbuf();
  if (file.bad() || text.str().empty())
    throw Failure("text '" + path + "' is empty or cannot be read");
  return text.str();
}

static void printResult(const PerplexityOptions &options, double nats,
                        size_t count, size_t documents) {
  if (options.json) {
    nlohmann::json report = {{"perplexity", std::exp(nats / count)},
                             {"nats_per_token", nats / count},
                             {"tokens", count},
                             {"documents", documents}};
    print(report.dump(2) + "\n");
    return;
  }
  char text[160];
  snprintf(text, sizeof(text),
           "perplexity: %.4f\nnats/token: %.4f\ntokens: %zu\ndocuments: %zu\n",
           std::exp(nats / count), nats / count, count, documents);
  print(text);
}

static void runPerplexity(const PerplexityOptions &options) {
  ModelHandle model = options.model.load();
  requireLanguageModel(model.get(), "ppl");
  Tokenizer tokenizer(options.tokenizer, options.model, model.get());
  std::string text = readText(options.file);
  std::vector<std::string_view> documents =
      nju::splitDocuments(text, options.split);
  if (documents.empty())
    throw Failure("text '" + options.file + "' has no documents");
  std::vector<int32_t> prefix = tokenizer.getPrefix();
  int64_t compiled = getSignature(model.get())["lm"]["max_tokens"];
  int64_t context = options.context ? options.context : compiled;
  if (context > compiled || context < int64_t(prefix.size()) + 1)
    throw Failure("--context is " + std::to_string(context) +
                  ", the model was compiled for " +
                  std::to_string(prefix.size() + 1) + " to " +
                  std::to_string(compiled));
  SessionHandle session = options.model.createSession(model.get(), context);
  Evaluation evaluation(model.get(), session.get(), prefix, context);
  {
    Progress progress(documents.size());
    for (size_t i = 0; i < documents.size(); ++i)
      evaluation.addDocument(
          tokenizer.encode(std::string(documents[i]), 0),
          [&] { progress.update(i + 1, evaluation.getCount()); });
  }
  if (evaluation.getCount() == 0)
    throw Failure("text '" + options.file + "' has no token to predict");
  printResult(options, evaluation.getNats(), evaluation.getCount(),
              documents.size());
}

void nju::run::addPerplexityCommand(CLI::App &app, Work &work) {
  CLI::App *command =
      app.add_subcommand("ppl", "print a model's perplexity on a text");
  auto options = std::make_shared<PerplexityOptions>();
  options->model.add(*command);
  command->add_option("file", options->file, "the text, UTF-8")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--split", options->split,
                   "text between documents; '' for none")
      ->type_name("TEXT")
      ->capture_default_str();
  command
      ->add_option("--context", options->context,
                   "tokens a block (default: the model's longest sequence)")
      ->type_name("N")
      ->check(wholeNumber(1));
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "tokenizer file or folder (default: beside the model)")
      ->type_name("FILE");
  command->add_flag("--json", options->json, "print the figures as JSON");
  command->footer(
      "Every document is read by itself, without the white space it begins "
      "with, in\nblocks of the context that share nothing. A block begins with "
      "what the tokenizer\nputs before a text (BOS), which is read but not "
      "counted; with tokenizers that put\nnothing there, a block's first token "
      "is read and not predicted. End tokens are\nnot counted.\n\n"
      "Examples:\n"
      "  nju-run ppl model.so stories.txt\n"
      "  nju-run ppl model.so wikitext.txt --split '' --context 1024 --json");
  command->callback(
      [options, &work] { work = [options] { runPerplexity(*options); }; });
}
