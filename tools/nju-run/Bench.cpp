//===- Bench.cpp - nju-run bench ------------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Common.h"

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>

using namespace nju::run;
using Json = nlohmann::json;

namespace {
struct BenchOptions {
  ModelOptions model;
  int prefill = 512;
  int decode = 32;
  int context = 0;
  int sequences = 1;
  int repetitions = 5;
  bool json = false;

  /// Tokens of each sequence at the end of a repetition.
  int64_t getTokens() const { return int64_t(context) + prefill + decode; }
};

/// Seconds of one repetition.
struct Times {
  double prefill = 0;
  double decode = 0;
};

/// Repeats the same work on one session. Everything that a repetition needs is
/// allocated and looked up before the clock runs: a step of a tiny model takes
/// less time than that.
class Workload {
public:
  Workload(const BenchOptions &options, const nju_model *model);
  Times measure();
  const nju_session *getSession() const { return session.get(); }

private:
  void restoreContext();
  void append(const std::vector<int32_t> &tokens, int count, int sequences);
  void decode();

  const BenchOptions &options;
  size_t vocabulary, stepTokens;
  SessionHandle session;
  SamplerHandle sampler;
  std::vector<int32_t> context, prompts; ///< prompts: one after the other
  std::vector<int32_t> members, rows;    ///< of one batch
  std::vector<int32_t> next;             ///< [sequences]
  std::vector<float> logits;             ///< [sequences, vocabulary]
};
} // namespace

static double getSeconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

/// A line of /proc/self/status that is a number of kilobytes, in bytes.
static uint64_t getProcessMemory(const char *name) {
  unsigned long long kilobytes = 0;
  char line[256];
  size_t length = strlen(name);
  FILE *file = fopen("/proc/self/status", "re");
  while (file && fgets(line, sizeof(line), file))
    if (!strncmp(line, name, length) && line[length] == ':' &&
        sscanf(line + length + 1, "%llu", &kilobytes) == 1)
      break;
  if (file)
    fclose(file);
  return kilobytes * 1024;
}

/// Tokens without a pattern, the same in every run.
static std::vector<int32_t> makeTokens(int64_t count, int64_t vocabulary,
                                       uint32_t state) {
  std::vector<int32_t> tokens(count);
  for (int32_t &token : tokens) {
    state = state * 1664525 + 1013904223;
    token = (uint64_t(state) * vocabulary) >> 32;
  }
  return tokens;
}

//===----------------------------------------------------------------------===//
// Work
//===----------------------------------------------------------------------===//

static SamplerHandle createGreedySampler() {
  nju_sampler *sampler;
  check(nju_sampler_create(nullptr, &sampler));
  return SamplerHandle(sampler);
}

Workload::Workload(const BenchOptions &options, const nju_model *model)
    : options(options), vocabulary(nju_model_vocabulary(model)),
      stepTokens(getStepTokens(model)),
      session(options.model.createSession(model, options.getTokens(),
                                          options.sequences)),
      sampler(createGreedySampler()),
      context(makeTokens(options.context, vocabulary, 2)),
      prompts(makeTokens(int64_t(options.prefill) * options.sequences,
                         vocabulary, 1)),
      members(stepTokens), rows(stepTokens), next(options.sequences),
      logits(vocabulary * options.sequences) {
  restoreContext();
}

/// Appends `count` tokens to each of the first `sequences` sequences, in steps
/// that are as full as the model takes them.
void Workload::append(const std::vector<int32_t> &tokens, int count,
                      int sequences) {
  size_t total = size_t(count) * sequences;
  float *out = logits.data();
  for (size_t begin = 0; begin < total; begin += stepTokens) {
    checkInterrupt();
    nju_batch batch = {};
    batch.num_tokens = std::min(stepTokens, total - begin);
    batch.tokens = tokens.data() + begin;
    batch.sequences = members.data();
    batch.rows = rows.data();
    for (size_t i = 0; i < batch.num_tokens; ++i) {
      members[i] = (begin + i) / count;
      if ((begin + i + 1) % count == 0)
        rows[batch.num_rows++] = i;
    }
    check(nju_session_step(session.get(), &batch, out));
    out += batch.num_rows * vocabulary;
  }
}

/// All sequences share the context: it is computed once and copied.
void Workload::restoreContext() {
  if (nju_session_length(session.get(), 0) < options.context)
    append(context, options.context, 1);
  check(nju_session_trim(session.get(), 0, options.context));
  for (int i = 1; i < options.sequences; ++i)
    if (nju_session_length(session.get(), i) < options.context)
      check(nju_session_fork(session.get(), 0, i, options.context));
    else
      check(nju_session_trim(session.get(), i, options.context));
}

/// One token of every sequence.
void Workload::decode() {
  for (int i = 0; i < options.sequences; ++i)
    check(nju_sampler_sample(sampler.get(), logits.data() + i * vocabulary,
                             vocabulary, nullptr, 0, &next[i]));
  append(next, 1, options.sequences);
}

Times Workload::measure() {
  restoreContext();
  Times times;
  double start = getSeconds();
  append(prompts, options.prefill, options.sequences);
  times.prefill = getSeconds() - start;
  start = getSeconds();
  for (int i = 0; i < options.decode; ++i)
    decode();
  times.decode = getSeconds() - start;
  return times;
}

//===----------------------------------------------------------------------===//
// Report
//===----------------------------------------------------------------------===//

static double getMedian(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle]
                           : (values[middle - 1] + values[middle]) / 2;
}

static Json makeMemoryReport(const nju_session *session) {
  nju_memory memory = nju_session_memory(session);
  return {{"peak_rss", getProcessMemory("VmHWM")},
          {"rss_anonymous", getProcessMemory("RssAnon")},
          {"rss_file", getProcessMemory("RssFile")},
          {"weights", memory.weights},
          {"cache", memory.cache},
          {"arena", memory.arena},
          {"counted", memory.weights + memory.cache + memory.arena}};
}

static Json makeReport(const BenchOptions &options, const Json &signature,
                       const nju_session *session,
                       const std::vector<Times> &all) {
  std::vector<double> prefills, decodes;
  for (const Times &times : all) {
    prefills.push_back(times.prefill);
    decodes.push_back(times.decode);
  }
  const Json &lm = signature["lm"];
  Json report = {{"model", signature["name"]},
                 {"threads", nju_session_limits(session).num_threads},
                 {"repetitions", options.repetitions},
                 {"sequences", options.sequences},
                 {"context_tokens", options.context},
                 {"prefill_tokens", options.prefill},
                 {"decode_tokens", options.decode}};
  for (const char *key : {"bytes_per_token", "flops_per_token"})
    report[key] = lm.contains(key) ? lm[key] : Json();
  if (options.prefill) {
    double rate =
        double(options.prefill) * options.sequences / getMedian(prefills);
    report["prefill_tokens_per_second"] = rate;
    report["prefill_seconds"] = prefills;
    if (lm.contains("flops_per_token"))
      report["prefill_flops_per_second"] =
          rate * lm["flops_per_token"].get<double>();
  }
  if (options.decode) {
    // A step reads the weights once for all sequences.
    double steps = options.decode / getMedian(decodes);
    report["decode_steps_per_second"] = steps;
    report["decode_seconds"] = decodes;
    report["decode_tokens_per_second"] = steps * options.sequences;
    if (lm.contains("bytes_per_token"))
      report["decode_bytes_per_second"] =
          steps * lm["bytes_per_token"].get<double>();
  }
  report["memory"] = makeMemoryReport(session);
  return report;
}

static void printTable(const Json &report) {
  char text[512];
  std::string table = "model " + report["model"].get<std::string>() + ", " +
                      report["threads"].dump() + " threads, median of " +
                      report["repetitions"].dump();
  if (report["sequences"] != 1)
    table += ", " + report["sequences"].dump() + " sequences at once";
  if (report["context_tokens"] != 0)
    table += ", after " + report["context_tokens"].dump() + " tokens";
  table += "\n";
  for (const char *phase : {"prefill", "decode"}) {
    std::string key = std::string(phase) + "_tokens_per_second";
    if (!report.contains(key))
      continue;
    snprintf(text, sizeof(text), "%-8s %6" PRId64 " tokens %12.2f tokens/s",
             phase,
             report[std::string(phase) + "_tokens"].get<int64_t>() *
                 report["sequences"].get<int64_t>(),
             report[key].get<double>());
    table += text;
    if (report.contains("prefill_flops_per_second") && phase[0] == 'p')
      snprintf(text, sizeof(text), " %10.2f GFLOP/s",
               report["prefill_flops_per_second"].get<double>() / 1e9);
    else if (report.contains("decode_bytes_per_second") && phase[0] == 'd')
      snprintf(text, sizeof(text), " %10.2f GB/s",
               report["decode_bytes_per_second"].get<double>() / 1e9);
    else
      text[0] = 0;
    table += std::string(text) + "\n";
  }
  const Json &memory = report["memory"];
  table += "memory   peak " + formatBytes(memory["peak_rss"]) + ": weights " +
           formatBytes(memory["weights"]) + ", cache " +
           formatBytes(memory["cache"]) + ", scratch " +
           formatBytes(memory["arena"]) + "\n";
  if (!report["bytes_per_token"].is_null())
    table +=
        "weights  " + formatBytes(report["bytes_per_token"]) + " read a step\n";
  print(table);
}

/// What the model was compiled for bounds what can be measured.
static void checkLimits(const BenchOptions &options, const Json &lm) {
  int64_t maxTokens = lm["max_tokens"], maxSequences = lm["max_sequences"];
  if (options.getTokens() > maxTokens)
    throw Failure(
        std::string(options.context ? "--context, " : "") +
        "--prefill and --decode need " + std::to_string(options.getTokens()) +
        " tokens, the model was compiled for " + std::to_string(maxTokens));
  if (options.sequences > maxSequences)
    throw Failure("--sequences is " + std::to_string(options.sequences) +
                  ", the model was compiled for " +
                  std::to_string(maxSequences) +
                  ": compile it with a larger --max-sequences");
}

static void runBench(const BenchOptions &options) {
  if (options.prefill + options.decode == 0)
    throw Failure("nothing to measure: --prefill and --decode are both 0");
  ModelHandle model = options.model.load();
  requireLanguageModel(model.get(), "bench");
  Json signature = getSignature(model.get());
  checkLimits(options, signature["lm"]);
  Workload workload(options, model.get());
  // Once without looking at the clock: pages and threads come into being.
  workload.measure();
  std::vector<Times> all;
  all.reserve(options.repetitions);
  for (int i = 0; i < options.repetitions; ++i)
    all.push_back(workload.measure());
  Json report = makeReport(options, signature, workload.getSession(), all);
  report["target"] = nju_model_variant(model.get());
  if (options.json)
    print(report.dump(2) + "\n");
  else
    printTable(report);
}

void nju::run::addBenchCommand(CLI::App &app, Work &work) {
  CLI::App *command = app.add_subcommand(
      "bench", "measure how fast a language model reads and writes");
  auto options = std::make_shared<BenchOptions>();
  options->model.add(*command);
  command->add_option("--prefill", options->prefill, "tokens of the prompt")
      ->type_name("N")
      ->capture_default_str()
      ->check(wholeNumber(0));
  command->add_option("--decode", options->decode, "tokens generated after it")
      ->type_name("N")
      ->capture_default_str()
      ->check(wholeNumber(0));
  command
      ->add_option("--sequences", options->sequences,
                   "sequences at once, each with its own prompt")
      ->type_name("N")
      ->capture_default_str()
      ->check(wholeNumber(1));
  command
      ->add_option("--context", options->context,
                   "tokens that every sequence holds already, not timed")
      ->type_name("N")
      ->capture_default_str()
      ->check(wholeNumber(0));
  command
      ->add_option("--repetitions", options->repetitions,
                   "measurements; the median counts")
      ->type_name("N")
      ->capture_default_str()
      ->check(wholeNumber(1));
  command->add_flag("--json", options->json, "print the figures as JSON");
  command->footer(
      "Tokens are read and written per second, of all sequences together, "
      "after one\nrun to warm up. Weight bytes read a second are the steps a "
      "second times what\nthe compiler counted for a step, operations the "
      "tokens a second times what it\ncounted for a token.\n\n"
      "Example:\n"
      "  nju-run bench model.so --prefill 512 --decode 32 --threads 2 --json\n"
      "  nju-run bench model.so --prefill 0 --context 1900 --sequences 8");
  command->callback(
      [options, &work] { work = [options] { runBench(*options); }; });
}
