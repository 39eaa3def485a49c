//===- Common.cpp - What the commands of nju-run share --------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Common.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace nju::run;

void nju::run::check(nju_status status) {
  if (status != NJU_OK)
    throw Failure(nju_last_error_message());
}

//===----------------------------------------------------------------------===//
// Interruption
//===----------------------------------------------------------------------===//

static volatile std::sig_atomic_t interrupted = 0;
/// By a signal that ends more than an answer.
static volatile std::sig_atomic_t terminated = 0;

static void onInterrupt(int number) {
  if (interrupted) {
    signal(number, SIG_DFL);
    raise(number);
  }
  interrupted = 1;
  if (number != SIGINT)
    terminated = 1;
}

void nju::run::catchInterrupts() {
  // Without SA_RESTART a waiting read returns and the command can end.
  struct sigaction action = {};
  action.sa_handler = onInterrupt;
  for (int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before;
    // nohup and shells that run in the background ignore signals on purpose.
    if (sigaction(number, nullptr, &before) == 0 &&
        before.sa_handler != SIG_IGN)
      sigaction(number, &action, nullptr);
  }
}

bool nju::run::isInterrupted() { return interrupted; }
void nju::run::clearInterrupt() { interrupted = terminated; }

void nju::run::checkInterrupt() {
  if (interrupted)
    throw Failure("interrupted");
}

//===----------------------------------------------------------------------===//
// Values of options
//===----------------------------------------------------------------------===//

CLI::Validator nju::run::wholeNumber(uint64_t least, uint64_t most) {
  auto check = [least, most](const std::string &text) -> std::string {
    char *rest;
    errno = 0;
    unsigned long long value = strtoull(text.c_str(), &rest, 10);
    // strtoull() takes a sign and white space, and wraps what is negative.
    if (!text.empty() && isdigit(static_cast<unsigned char>(text[0])) &&
        !*rest && !errno && value >= least && value <= most)
      return "";
    return "'" + text + "' is not a whole number " +
           (most == noLimit ? "of at least " + std::to_string(least)
                            : "from " + std::to_string(least) + " to " +
                                  std::to_string(most));
  };
  return CLI::Validator(check, "");
}

CLI::Validator nju::run::realNumber(double most) {
  auto check = [most](const std::string &text) -> std::string {
    char *rest;
    double value = strtod(text.c_str(), &rest);
    if (rest != text.c_str() && !*rest && std::isfinite(value) && value >= 0 &&
        value <= most)
      return "";
    return "'" + text + "' is not a number " +
           (std::isfinite(most) ? "from 0 to " + CLI::detail::to_string(most)
                                : "of at least 0");
  };
  return CLI::Validator(check, "");
}

//===----------------------------------------------------------------------===//
// Models and sessions
//===----------------------------------------------------------------------===//

static std::string checkWeightsMode(const std::string &text) {
  if (text == "map" || text == "load")
    return "";
  return "'" + text +
         "' is neither 'map' nor 'load' (a weight file is given by "
         "--weights-file)";
}

void ModelOptions::add(CLI::App &command) {
  command.add_option("model", path, "the model, a .so made by nju-compile")
      ->required()
      ->type_name("MODEL.so");
  command
      .add_option("--weights-file", weightsFile,
                  "weight file (default: the one beside the model)")
      ->type_name("FILE");
  command
      .add_option("--weights", weights,
                  "map the weight file, or load it into memory, which takes "
                  "longer and decodes faster (default: load it if it takes "
                  "less than three quarters of the available memory)")
      ->type_name("map|load")
      ->check(CLI::Validator(checkWeightsMode, ""));
  command.add_flag("--verify", verify,
                   "read the whole weight file and compare its checksum");
  command
      .add_option("--variant", variant,
                  "which code of the model to run (default: the best that this "
                  "machine can, see info)")
      ->type_name("NAME")
      ->envname("NJU_VARIANT");
  command.add_option("--threads", threads, "threads (default: all cores)")
      ->type_name("N")
      ->check(wholeNumber(1, 1024));
}

namespace {
/// Shows on a terminal how far a long load is; ends it after Ctrl-C.
class LoadingLine {
public:
  ~LoadingLine() {
    if (shown)
      fputs("\r\033[K", stderr);
  }
  static int update(void *line, uint64_t done, uint64_t total) {
    static_cast<LoadingLine *>(line)->show(done, total);
    return isInterrupted();
  }

private:
  using Clock = std::chrono::steady_clock;

  void show(uint64_t done, uint64_t total) {
    // What is over at once needs no line.
    if (!isTerminal || Clock::now() - start < std::chrono::seconds(1))
      return;
    int percent = 100 * done / total;
    if (shown && percent == lastPercent)
      return;
    fprintf(stderr, "\rloading weights: %d %% of %s", percent,
            formatBytes(total).c_str());
    fflush(stderr);
    shown = true;
    lastPercent = percent;
  }

  bool isTerminal = isatty(STDERR_FILENO), shown = false;
  Clock::time_point start = Clock::now();
  int lastPercent = 0;
};
} // namespace

ModelHandle ModelOptions::load() const {
  LoadingLine line;
  nju_model_options options = {};
  options.weights_path = weightsFile.empty() ? nullptr : weightsFile.c_str();
  options.verify_weights = verify;
  options.weights_mode = weights == "load"  ? NJU_WEIGHTS_LOAD
                         : weights == "map" ? NJU_WEIGHTS_MAP
                                            : NJU_WEIGHTS_DEFAULT;
  options.progress = LoadingLine::update;
  options.progress_context = &line;
  options.variant = variant.empty() ? nullptr : variant.c_str();
  nju_model *model;
  nju_status status = nju_model_load(path.c_str(), &options, &model);
  if (status == NJU_CANCELLED)
    checkInterrupt();
  check(status);
  return ModelHandle(model);
}

SessionHandle ModelOptions::createSession(const nju_model *model,
                                          int64_t maxTokens,
                                          int32_t sequences) const {
  int64_t compiled = getSignature(model)["lm"]["max_tokens"];
  nju_session_options options = {};
  options.max_tokens = std::min(maxTokens, compiled);
  options.max_sequences = sequences;
  options.num_threads = threads;
  nju_session *session;
  check(nju_session_create(model, &options, &session));
  return SessionHandle(session);
}

nlohmann::json nju::run::getSignature(const nju_model *model) {
  return nlohmann::json::parse(nju_model_signature(model));
}

void nju::run::requireLanguageModel(const nju_model *model,
                                    const char *command) {
  if (nju_model_vocabulary(model))
    return;
  std::string name = getSignature(model)["name"];
  throw Failure("model '" + name + "' is no language model, so '" + command +
                "' does not apply: use 'nju-run run'");
}

size_t nju::run::getStepTokens(const nju_model *model) {
  return getSignature(model)["lm"]["max_batch_tokens"];
}

std::vector<float> nju::run::prefill(nju_session *session,
                                     const nju_model *model,
                                     const std::vector<int32_t> &tokens) {
  std::vector<float> logits(nju_model_vocabulary(model));
  // Looking into the signature takes longer than a step of a tiny model.
  size_t stepTokens = tokens.size() == 1 ? 1 : getStepTokens(model);
  for (size_t begin = 0; begin < tokens.size(); begin += stepTokens) {
    checkInterrupt();
    nju_batch batch = {};
    batch.num_tokens = std::min(stepTokens, tokens.size() - begin);
    batch.tokens = tokens.data() + begin;
    int32_t last = batch.num_tokens - 1;
    if (begin + batch.num_tokens == tokens.size()) {
      batch.num_rows = 1;
      batch.rows = &last;
    }
    check(nju_session_step(session, &batch, logits.data()));
  }
  return logits;
}

void nju::run::requireFit(const nju_model *model, size_t count,
                          const char *what) {
  nlohmann::json signature = getSignature(model);
  size_t most = signature["lm"]["max_tokens"];
  if (count <= most)
    return;
  throw Failure(std::string(what) + " has " + std::to_string(count) +
                " tokens, model '" + signature["name"].get<std::string>() +
                "' was compiled for sequences of at most " +
                std::to_string(most) +
                ": shorten it, or compile the model with a larger "
                "--max-tokens");
}

std::vector<int32_t> nju::run::parseTokens(const std::string &text,
                                           int64_t vocabulary) {
  if (text.empty())
    throw Failure("--tokens is empty, expected a list such as 1,5,9");
  std::vector<int32_t> tokens;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(',', begin), text.size());
    std::string item = text.substr(begin, end - begin);
    char *rest;
    errno = 0;
    long long value = std::strtoll(item.c_str(), &rest, 10);
    while (*rest == ' ' || *rest == '\n')
      ++rest;
    if (item.empty() || *rest || rest == item.c_str())
      throw Failure("'" + item +
                    "' in --tokens is not a number, expected a list such as "
                    "1,5,9");
    if (errno || value < 0 || value >= vocabulary)
      throw Failure("token " + item +
                    " in --tokens is outside the vocabulary "
                    "of 0 to " +
                    std::to_string(vocabulary - 1));
    tokens.push_back(value);
    begin = end + 1;
  }
  return tokens;
}

//===----------------------------------------------------------------------===//
// Output
//===----------------------------------------------------------------------===//

void nju::run::print(const std::string &text) {
  size_t written = 0;
  while (written < text.size()) {
    ssize_t count =
        ::write(STDOUT_FILENO, text.data() + written, text.size() - written);
    if (count >= 0)
      written += count;
    else if (errno == EPIPE)
      throw BrokenPipe();
    else if (errno != EINTR)
      throw Failure(std::string("cannot write to standard output: ") +
                    strerror(errno));
  }
}

/// Whether `path` is there and no file that a rename may replace.
static bool isSpecial(const std::string &path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode);
}

OutputFile::OutputFile(const std::string &path)
    : path(path),
      temporary(isSpecial(path) ? ""
                                : path + ".tmp" + std::to_string(getpid())),
      file(temporary.empty() ? fopen(path.c_str(), "we")
                             : fopen(temporary.c_str(), "wxe")) {
  if (!file)
    throw Failure("cannot create '" + path + "': " + strerror(errno));
}

OutputFile::~OutputFile() {
  if (!file)
    return;
  fclose(file);
  if (!temporary.empty())
    unlink(temporary.c_str());
}

void OutputFile::raise(const char *what) {
  throw Failure(std::string("cannot ") + what + " '" + path +
                "': " + strerror(errno));
}

void OutputFile::write(const void *data, size_t size) {
  if (size && fwrite(data, 1, size, file) != size)
    raise("write");
}

void OutputFile::commit() {
  if (fflush(file))
    raise("write");
  if (!temporary.empty() && rename(temporary.c_str(), path.c_str()))
    raise("create");
  fclose(file);
  file = nullptr;
}

std::string nju::run::formatBytes(double bytes) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  for (; bytes >= 1000 && unit < 4; ++unit)
    bytes /= 1000;
  char text[32];
  snprintf(text, sizeof(text), unit ? "%.2f %s" : "%.0f %s", bytes,
           units[unit]);
  return text;
}
