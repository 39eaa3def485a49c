//===- Run.cpp - nju-run run ----------------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Common.h"
#include "Npy.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <sys/stat.h>

using namespace nju::run;

namespace {
struct RunOptions {
  ModelOptions model;
  std::vector<std::string> inputs;
  std::string outputDir = ".";
};

struct ReleaseTensor {
  void operator()(DLManagedTensor *tensor) const { tensor->deleter(tensor); }
};
using Outputs = std::vector<std::unique_ptr<DLManagedTensor, ReleaseTensor>>;
} // namespace

/// NumPy has no bf16 of its own: f32 arrays are rounded, to the nearest even.
static void roundToBF16(NpyArray &array) {
  size_t count = array.data.size() / sizeof(float);
  std::vector<uint8_t> rounded(count * sizeof(uint16_t));
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, array.data.data() + i * sizeof bits, sizeof bits);
    bool isNaN = (bits & 0x7fffffff) > 0x7f800000;
    uint32_t up = isNaN ? 0 : 0x7fff + ((bits >> 16) & 1);
    auto half = static_cast<uint16_t>(((bits + up) >> 16) | (isNaN ? 0x40 : 0));
    memcpy(rounded.data() + i * sizeof half, &half, sizeof half);
  }
  array.data = std::move(rounded);
  array.type = {kDLBfloat, 16, 1};
}

/// Reads the files of `--input NAME=FILE` and puts them into the signature's
/// order.
static std::vector<NpyArray> readInputs(const std::vector<std::string> &inputs,
                                        const nlohmann::json &signature) {
  std::map<std::string, std::string> files;
  for (const std::string &input : inputs) {
    size_t equals = input.find('=');
    if (equals == std::string::npos)
      throw Failure("--input '" + input + "' is not of the form NAME=FILE.npy");
    if (!files.emplace(input.substr(0, equals), input.substr(equals + 1))
             .second)
      throw Failure("input '" + input.substr(0, equals) + "' is given twice");
  }
  std::vector<NpyArray> arrays;
  std::string names;
  for (const auto &entry : signature["inputs"]) {
    std::string name = entry["name"];
    names += (names.empty() ? "" : ", ") + name;
    auto it = files.find(name);
    if (it == files.end())
      throw Failure("input '" + name + "' is missing: add --input " + name +
                    "=FILE.npy");
    arrays.push_back(readNpy(it->second));
    DLDataType type = arrays.back().type;
    if (entry["type"] == "bf16" && type.code == kDLFloat && type.bits == 32)
      roundToBF16(arrays.back());
    files.erase(it);
  }
  if (!files.empty())
    throw Failure("the model has no input '" + files.begin()->first +
                  "', its inputs are: " + names);
  return arrays;
}

/// A file name for an output: names may contain what file names must not.
static std::string getFileName(std::string name) {
  for (char &c : name)
    if (c == '/' || static_cast<unsigned char>(c) < ' ')
      c = '_';
  return (name.empty() || name[0] == '.' ? "_" + name : name) + ".npy";
}

static void writeOutputs(const Outputs &outputs,
                         const nlohmann::json &signature,
                         const std::string &folder) {
  if (mkdir(folder.c_str(), 0777) && errno != EEXIST)
    throw Failure("cannot create folder '" + folder + "': " + strerror(errno));
  for (size_t i = 0; i < outputs.size(); ++i)
    writeNpy(folder + "/" + getFileName(signature["outputs"][i]["name"]),
             outputs[i]->dl_tensor);
}

static void runGraph(const RunOptions &options) {
  ModelHandle model = options.model.load();
  nlohmann::json signature = getSignature(model.get());
  if (nju_model_vocabulary(model.get()))
    throw Failure("model '" + signature["name"].get<std::string>() +
                  "' is a language model: use 'nju-run generate' or 'nju-run "
                  "logits'");
  std::vector<NpyArray> arrays = readInputs(options.inputs, signature);
  std::vector<DLTensor> inputs;
  for (NpyArray &array : arrays)
    inputs.push_back(array.getTensor());
  checkInterrupt();
  std::vector<DLManagedTensor *> raw(signature["outputs"].size());
  check(nju_model_run(model.get(), inputs.data(), inputs.size(),
                      options.model.threads, raw.size(), raw.data()));
  Outputs outputs;
  for (DLManagedTensor *tensor : raw)
    outputs.emplace_back(tensor);
  checkInterrupt();
  writeOutputs(outputs, signature, options.outputDir);
}

void nju::run::addRunCommand(CLI::App &app, Work &work) {
  CLI::App *command = app.add_subcommand(
      "run", "run a model that is no language model on .npy files");
  auto options = std::make_shared<RunOptions>();
  options->model.add(*command);
  command
      ->add_option("--input", options->inputs,
                   "an input's value; once for each input")
      ->type_name("NAME=FILE.npy");
  command
      ->add_option("--output-dir", options->outputDir,
                   "folder for the outputs, one OUTPUT.npy each (default: the "
                   "present folder)")
      ->type_name("DIR");
  command->footer(
      "bf16 arrays have NumPy type V2 (two raw bytes); for a bf16 input an\n"
      "f4 array does as well.\n\n"
      "Example:\n"
      "  nju-run run model.so --input x=x.npy --input mask=m.npy "
      "--output-dir out");
  command->callback(
      [options, &work] { work = [options] { runGraph(*options); }; });
}
