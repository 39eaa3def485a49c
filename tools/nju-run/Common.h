//===- Common.h - What the commands of nju-run share ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUN_COMMON_H
#define NJU_RUN_COMMON_H

#include "nju/nju.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace nju::run {

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

/// Something the user can put right; main prints it and exits with 1.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The reader of standard output is gone; main ends quietly.
struct BrokenPipe {};

/// Throws the runtime's message unless `status` is NJU_OK.
void check(nju_status status);

//===----------------------------------------------------------------------===//
// Interruption
//===----------------------------------------------------------------------===//

/// From now on Ctrl-C (and SIGTERM, SIGHUP) sets a flag instead of ending the
/// process; a second one before the flag is cleared does end it.
void catchInterrupts();
bool isInterrupted();
/// Forgets a Ctrl-C; the other signals stay.
void clearInterrupt();
/// Throws Failure("interrupted") after Ctrl-C.
void checkInterrupt();

//===----------------------------------------------------------------------===//
// Values of options
//===----------------------------------------------------------------------===//

/// The largest `int`, where nothing else bounds an option.
inline constexpr uint64_t noLimit = 0x7fffffff;

/// Accepts whole numbers from `least` to `most`.
CLI::Validator wholeNumber(uint64_t least, uint64_t most = noLimit);

/// Accepts finite numbers from 0 to `most`.
CLI::Validator
realNumber(double most = std::numeric_limits<double>::infinity());

//===----------------------------------------------------------------------===//
// Models and sessions
//===----------------------------------------------------------------------===//

struct Release {
  void operator()(nju_model *model) const { nju_model_release(model); }
  void operator()(nju_session *session) const { nju_session_release(session); }
  void operator()(nju_sampler *sampler) const { nju_sampler_release(sampler); }
};
using ModelHandle = std::unique_ptr<nju_model, Release>;
using SessionHandle = std::unique_ptr<nju_session, Release>;
using SamplerHandle = std::unique_ptr<nju_sampler, Release>;

/// The options that every command has.
struct ModelOptions {
  std::string path;
  std::string weightsFile;
  std::string weights; ///< "load", "map" or empty
  std::string variant;
  bool verify = false;
  int threads = 0;

  void add(CLI::App &command);
  ModelHandle load() const;
  /// A session of `sequences` sequences; `maxTokens` 0 takes the compiled
  /// limit, and more than that is cut to it.
  SessionHandle createSession(const nju_model *model, int64_t maxTokens = 0,
                              int32_t sequences = 1) const;
};

/// The signature as JSON.
nlohmann::json getSignature(const nju_model *model);

/// Fails unless the model is a language model; `command` names who needs one.
void requireLanguageModel(const nju_model *model, const char *command);

/// Tokens one step takes, which is how long Ctrl-C may wait.
size_t getStepTokens(const nju_model *model);

/// Appends `tokens` to sequence 0, step by step; returns the logits of the last
/// one.
std::vector<float> prefill(nju_session *session, const nju_model *model,
                           const std::vector<int32_t> &tokens);

/// Fails if `count` tokens of `what` do not fit into a sequence of the model.
void requireFit(const nju_model *model, size_t count, const char *what);

/// Parses "1,5,9"; every number must be in the vocabulary.
std::vector<int32_t> parseTokens(const std::string &text, int64_t vocabulary);

//===----------------------------------------------------------------------===//
// Output
//===----------------------------------------------------------------------===//

/// Writes to standard output at once; throws BrokenPipe or Failure.
void print(const std::string &text);

/// A file that appears under its name only when it is complete. A device or a
/// pipe is written as it is.
class OutputFile {
public:
  explicit OutputFile(const std::string &path);
  ~OutputFile();
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;

  void write(const void *data, size_t size);
  /// Flushes, closes and renames.
  void commit();

private:
  [[noreturn]] void raise(const char *what);
  std::string path, temporary;
  FILE *file;
};

/// "1.5 GB", with powers of ten as bandwidths are given.
std::string formatBytes(double bytes);

//===----------------------------------------------------------------------===//
// Commands
//===----------------------------------------------------------------------===//

/// Each adds its command to `app`; the command's work is put into `work`.
using Work = std::function<void()>;
void addGenerateCommand(CLI::App &app, Work &work);
void addChatCommand(CLI::App &app, Work &work);
void addPerplexityCommand(CLI::App &app, Work &work);
void addInfoCommand(CLI::App &app, Work &work);
void addLogitsCommand(CLI::App &app, Work &work);
void addRunCommand(CLI::App &app, Work &work);
void addBenchCommand(CLI::App &app, Work &work);

} // namespace nju::run

#endif // NJU_RUN_COMMON_H
