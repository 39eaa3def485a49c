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
#include <cstdio>
#include <cstring>

using namespace nju::run;
using Json = nlohmann::json;

namespace {
struct BenchOptions {
  ModelOptions model;
  int prefill = 512;
  int decode = 32;
  int repetitions = 5;
  bool json = false;
};

/// Seconds of one repetition.
struct Times {
  double prefill = 0;
  double decode = 0;
};
} // namespace

static double getSeconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

/// Peak of this process's resident memory in bytes.
static uint64_t getPeakMemory() {
  unsigned long long kilobytes = 0;
  char line[256];
  FILE *file = fopen("/proc/self/status", "re");
  while (file && fgets(line, sizeof(line), file))
    if (sscanf(line, "VmHWM: %llu", &kilobytes) == 1)
      break;
  if (file)
    fclose(file);
  return kilobytes * 1024;
}

/// Tokens without a pattern, the same in every run.
static std::vector<int32_t> makeTokens(int count, int64_t vocabulary) {
  std::vector<int32_t> tokens(count);
  uint32_t state = 1;
  for (int32_t &token : tokens) {
    state = state * 1664525 + 1013904223;
    token = (uint64_t(state) * vocabulary) >> 32;
  }
  return tokens;
}

static Times measure(nju_session *session, const nju_model *model,
                     nju_sampler *sampler, const BenchOptions &options) {
  int64_t vocabulary = nju_model_vocabulary(model);
  std::vector<int32_t> tokens = makeTokens(options.prefill, vocabulary);
  Times times;
  check(nju_session_trim(session, 0, 0));
  double start = getSeconds();
  std::vector<float> logits(vocabulary, 0);
  if (!tokens.empty())
    logits = prefill(session, model, tokens);
  times.prefill = getSeconds() - start;
  start = getSeconds();
  for (int i = 0; i < options.decode; ++i) {
    checkInterrupt();
    int32_t token;
    check(nju_sampler_sample(sampler, logits.data(), vocabulary, nullptr, 0,
                             &token));
    int32_t row = 0;
    nju_batch batch = {};
    batch.num_tokens = 1;
    batch.tokens = &token;
    batch.num_rows = 1;
    batch.rows = &row;
    check(nju_session_step(session, &batch, logits.data()));
  }
  times.decode = getSeconds() - start;
  return times;
}

static double getMedian(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle]
                           : (values[middle - 1] + values[middle]) / 2;
}

static Json makeReport(const BenchOptions &options, const Json &signature,
                       nju_session *session, const std::vector<Times> &all) {
  std::vector<double> prefills, decodes;
  for (const Times &times : all) {
    prefills.push_back(times.prefill);
    decodes.push_back(times.decode);
  }
  const Json &lm = signature["lm"];
  Json report = {{"model", signature["name"]},
                 {"target", signature["target"]["cpu"]},
                 {"threads", nju_session_limits(session).num_threads},
                 {"repetitions", options.repetitions},
                 {"prefill_tokens", options.prefill},
                 {"decode_tokens", options.decode}};
  for (const char *key : {"bytes_per_token", "flops_per_token"})
    report[key] = lm.contains(key) ? lm[key] : Json();
  if (options.prefill) {
    double rate = options.prefill / getMedian(prefills);
    report["prefill_tokens_per_second"] = rate;
    if (lm.contains("flops_per_token"))
      report["prefill_flops_per_second"] =
          rate * lm["flops_per_token"].get<double>();
  }
  if (options.decode) {
    double rate = options.decode / getMedian(decodes);
    report["decode_tokens_per_second"] = rate;
    if (lm.contains("bytes_per_token"))
      report["decode_bytes_per_second"] =
          rate * lm["bytes_per_token"].get<double>();
  }
  nju_memory memory = nju_session_memory(session);
  report["memory"] = {{"peak_rss", getPeakMemory()},
                      {"weights", memory.weights},
                      {"cache", memory.cache},
                      {"arena", memory.arena}};
  return report;
}

static void printTable(const Json &report) {
  char text[512];
  std::string table = "model " + report["model"].get<std::string>() + ", " +
                      report["threads"].dump() + " threads, median of " +
                      report["repetitions"].dump() + "\n";
  for (const char *phase : {"prefill", "decode"}) {
    std::string key = std::string(phase) + "_tokens_per_second";
    if (!report.contains(key))
      continue;
    snprintf(text, sizeof(text), "%-8s %6d tokens %12.2f tokens/s", phase,
             report[std::string(phase) + "_tokens"].get<int>(),
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
    table += "weights  " + formatBytes(report["bytes_per_token"]) +
             " read a token\n";
  print(table);
}

static void runBench(const BenchOptions &options) {
  if (options.prefill + options.decode == 0)
    throw Failure("nothing to measure: --prefill and --decode are both 0");
  ModelHandle model = options.model.load();
  requireLanguageModel(model.get(), "bench");
  Json signature = getSignature(model.get());
  int64_t needed = int64_t(options.prefill) + options.decode;
  int64_t maxTokens = signature["lm"]["max_tokens"];
  if (needed > maxTokens)
    throw Failure("--prefill and --decode need " + std::to_string(needed) +
                  " tokens, the model was compiled for " +
                  std::to_string(maxTokens));
  SessionHandle session = options.model.createSession(model.get(), needed);
  nju_sampler *rawSampler;
  check(nju_sampler_create(nullptr, &rawSampler));
  SamplerHandle sampler(rawSampler);
  // Once without looking at the clock: pages and threads come into being.
  measure(session.get(), model.get(), sampler.get(), options);
  std::vector<Times> all;
  for (int i = 0; i < options.repetitions; ++i)
    all.push_back(measure(session.get(), model.get(), sampler.get(), options));
  Json report = makeReport(options, signature, session.get(), all);
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
      ->add_option("--repetitions", options->repetitions,
                   "measurements; the median counts")
      ->type_name("N")
      ->capture_default_str()
      ->check(wholeNumber(1));
  command->add_flag("--json", options->json, "print the figures as JSON");
  command->footer(
      "Tokens are read and written per second in one sequence, after one run "
      "to\nwarm up. Weight bytes read and operations done per second are these "
      "rates\ntimes what the compiler counted for a token.\n\n"
      "Example:\n"
      "  nju-run bench model.so --prefill 512 --decode 32 --threads 2 --json");
  command->callback(
      [options, &work] { work = [options] { runBench(*options); }; });
}
