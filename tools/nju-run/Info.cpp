//===- Info.cpp - nju-run info --------------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Common.h"
#include "nju/abi.h"

#include <cstdio>

using namespace nju::run;
using Json = nlohmann::json;

namespace {
struct InfoOptions {
  ModelOptions model;
  bool json = false;
};
} // namespace

static std::string describeTensor(const Json &tensor) {
  std::string text = "  " + tensor["name"].get<std::string>() + ": " +
                     tensor["type"].get<std::string>() + " [";
  const char *separator = "";
  for (const Json &dimension : tensor["shape"]) {
    text += separator;
    text +=
        dimension.is_string() ? dimension.get<std::string>() : dimension.dump();
    separator = ", ";
  }
  return text + "]\n";
}

static std::string describeLine(const char *label, const std::string &value) {
  char text[32];
  snprintf(text, sizeof(text), "%-18s", label);
  return text + value + "\n";
}

/// Bytes of the cache of one sequence for each token.
static double getCacheBytesPerToken(const Json &lm) {
  double bytes = 0;
  for (const Json &layer : lm["cache"])
    bytes += layer["heads"].get<double>() *
             (layer["key_block_bytes"].get<double>() +
              layer["value_block_bytes"].get<double>()) /
             NJU_ABI_CACHE_BLOCK;
  return bytes;
}

static std::string describeTarget(const Json &target, const char *runs) {
  std::string text = describeLine("target:", target["name"]);
  for (const Json &variant : target["variants"]) {
    text += "  " + variant["name"].get<std::string>() + ":";
    for (const Json &feature : variant["features"])
      text += " " + feature.get<std::string>();
    text += variant["features"].empty() ? " the base alone\n" : "\n";
  }
  return text + describeLine("runs here:", runs);
}

static std::string describeLanguageModel(const Json &lm) {
  double perToken = getCacheBytesPerToken(lm);
  std::string text;
  for (const char *key :
       {"vocabulary", "max_tokens", "max_sequences", "max_batch_tokens"})
    text += describeLine((std::string(key) + ":").c_str(), lm[key].dump());
  text += describeLine("layers:", std::to_string(lm["cache"].size()));
  std::string type;
  if (!lm["cache"].empty())
    type = lm["cache"][0]["type"].get<std::string>() + ", ";
  text += describeLine(
      "cache:", type + formatBytes(perToken) + " a token, " +
                    formatBytes(perToken * lm["max_tokens"].get<double>()) +
                    " a full sequence");
  text += describeLine("scratch:", formatBytes(lm["arena_bytes"]));
  if (lm.contains("bytes_per_token"))
    text += describeLine("weights read:",
                         formatBytes(lm["bytes_per_token"]) + " a token");
  if (lm.contains("flops_per_token"))
    text +=
        describeLine("operations:", lm["flops_per_token"].dump() + " a token");
  return text;
}

static void printInfo(const InfoOptions &options) {
  ModelHandle model = options.model.load();
  Json signature = getSignature(model.get());
  if (options.json) {
    print(signature.dump(2) + "\n");
    return;
  }
  bool isLanguageModel = signature["kind"] == "lm";
  std::string text = describeLine("name:", signature["name"]);
  text += describeLine("kind:", isLanguageModel ? "language model" : "graph");
  text += describeLine("ABI:", signature["abi"].dump());
  if (signature.contains("compiler"))
    text += describeLine("compiler:",
                         "nju " + signature["compiler"].get<std::string>());
  text += describeTarget(signature["target"], nju_model_variant(model.get()));
  const Json &weights = signature["weights"];
  text += describeLine(
      "weights:", weights.is_null() ? "none"
                                    : weights["file"].get<std::string>() +
                                          ", " + formatBytes(weights["bytes"]));
  if (isLanguageModel)
    text += describeLanguageModel(signature["lm"]);
  for (const char *kind : {"inputs", "outputs"}) {
    text += std::string(kind) + ":\n";
    for (const Json &tensor : signature[kind])
      text += describeTensor(tensor);
  }
  print(text);
}

void nju::run::addInfoCommand(CLI::App &app, Work &work) {
  CLI::App *command =
      app.add_subcommand("info", "print what a model is and needs");
  auto options = std::make_shared<InfoOptions>();
  // Nothing is computed with them.
  options->model.weights = "map";
  options->model.add(*command);
  command->add_flag("--json", options->json,
                    "print the signature as JSON (docs/abi.md)");
  command->footer("Examples:\n"
                  "  nju-run info model.so\n"
                  "  nju-run info model.so --json");
  command->callback(
      [options, &work] { work = [options] { printInfo(*options); }; });
}
