//===- bench-refine.cpp - Perplexity after refinement ---------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// Quantizes the products of a language model (all but its head), calibrated on
// a text, refines them, and prints a line of JSON after each phase: bits per
// weight and the perplexity of another text.
//
//   bench-refine [--steps N] [--block-steps N] [--rate N] [--seed N]
//       [--generate N] MODEL.onnx TOKENIZER CALIBRATION EVALUATION FORMAT
//       [COLUMNS:FORMAT...]
//
// FORMAT is that of LCQOptions; COLUMNS:FORMAT that of matrices with so many
// columns. CALIBRATION `-` is what the model says by itself (--generate N
// tokens of it); where there is a file, generated text is added to it. --rate
// multiplies the rates of training.
//
//===----------------------------------------------------------------------===//

#include "mlir/Pass/PassManager.h"
#include "nju/Driver/Compile.h"
#include "nju/Execution/Calibration.h"
#include "nju/Import/ONNX/Import.h"
#include "nju/Quantization/Calibrated.h"
#include "nju/Refinement/Generate.h"
#include "nju/Refinement/Refine.h"
#include "nju/Transforms/Pipelines.h"
#include "nju/nju.h"
#include "nju/tokenizer.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include <chrono>

using namespace mlir;
using namespace nju;
using Clock = std::chrono::steady_clock;

namespace {

struct Arguments {
  RefineOptions refine;
  int64_t generate = 0;
  std::vector<std::string> files;
  lcq::LCQOptions format;
  std::map<int64_t, lcq::LCQOptions> formats; ///< By columns.

  const lcq::LCQOptions &getFormat(int64_t columns) const {
    auto found = formats.find(columns);
    return found == formats.end() ? format : found->second;
  }
};

[[noreturn]] void fail(const llvm::Twine &message) {
  llvm::errs() << "bench-refine: error: " << message << "\n";
  std::exit(1);
}

template <typename T>
T expect(llvm::Expected<T> value) {
  if (!value)
    fail(llvm::toString(value.takeError()));
  return std::move(*value);
}

void expect(llvm::Error error) {
  if (error)
    fail(llvm::toString(std::move(error)));
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

/// The documents of a text, each with the token that begins one.
TokenBatch readText(nju_tokenizer *tokenizer, const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    fail("cannot read '" + path + "': " + buffer.getError().message());
  TokenBatch batch;
  llvm::SmallVector<llvm::StringRef> documents;
  (*buffer)->getBuffer().split(documents, "<|endoftext|>");
  for (llvm::StringRef document : documents) {
    document = document.ltrim();
    if (document.empty())
      continue;
    std::vector<int32_t> tokens(document.size() + 16);
    size_t count = 0;
    if (nju_tokenizer_encode(tokenizer, document.data(), document.size(), 0,
                             tokens.size() - 1, tokens.data() + 1,
                             &count) != NJU_OK)
      fail(nju_last_error_message());
    tokens[0] = nju_tokenizer_bos(tokenizer);
    tokens.resize(count + 1);
    batch.sequences.push_back(std::move(tokens));
  }
  return batch;
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

WeightMatrix dequantize(const lcq::QuantizedMatrix &matrix,
                        MLIRContext *context) {
  HostTensor tensor = HostTensor::uninitialized(Float32Type::get(context),
                                                {matrix.rows, matrix.columns});
  llvm::copy(matrix.dequantize(), tensor.mutableElements<float>().data());
  return WeightMatrix(tensor, /*isTransposed=*/true);
}

/// The model's params with those that were quantized.
class QuantizedSource : public ParamSource {
public:
  QuantizedSource(ParamSource &source, const QuantizedParams &matrices)
      : source(source), matrices(matrices) {}
  llvm::Expected<HostTensor> read(ParamOp param) override {
    return source.read(param);
  }
  llvm::Expected<WeightMatrix> readMatrix(ParamOp param) override {
    auto found = matrices.find(param.getSymName().str());
    if (found == matrices.end())
      return source.readMatrix(param);
    return dequantize(found->second, param.getContext());
  }

private:
  ParamSource &source;
  const QuantizedParams &matrices;
};

/// Quantizes each weight for the inputs that it gets in full precision.
class Quantizer : public CalibrationConsumer {
public:
  Quantizer(const Arguments &arguments, int64_t vocabulary,
            QuantizedParams &matrices)
      : arguments(arguments), vocabulary(vocabulary), matrices(matrices) {}

  llvm::Error
  consume(InputMoments &moments,
          llvm::MutableArrayRef<ExecutionListener::Weight> weights) override {
    for (ExecutionListener::Weight &weight : weights) {
      const WeightMatrix &own = weight.matrix;
      if (own.getColumns() == vocabulary)
        continue;
      Type f32 = Float32Type::get(weight.param.getContext());
      HostTensor data = own.getData().converted(f32);
      lcq::StridedWeights rows(data.bytes(), lcq::WeightType::F32,
                               own.getColumns(), own.getDepth(),
                               own.getColumnStride(), own.getDepthStride());
      auto matrix =
          lcq::quantizeCalibrated(rows, llvm::ArrayRef<float>(moments.moments),
                                  arguments.getFormat(own.getDepth()));
      if (!matrix)
        return matrix.takeError();
      matrices[weight.param.getSymName().str()] = std::move(*matrix);
    }
    return llvm::Error::success();
  }

private:
  const Arguments &arguments;
  int64_t vocabulary;
  QuantizedParams &matrices;
};

//===----------------------------------------------------------------------===//
// Perplexity
//===----------------------------------------------------------------------===//

/// Nats of the tokens of each sequence after its first.
double getNats(const HostTensor &logits, const TokenBatch &batch) {
  int64_t columns = logits.getShape().back(), row = 0;
  const float *values = logits.elements<float>().data();
  double nats = 0;
  for (const std::vector<int32_t> &sequence : batch.sequences)
    for (size_t i = 0; i < sequence.size(); ++i, ++row) {
      if (i + 1 == sequence.size())
        continue;
      const float *own = values + row * columns;
      double largest = *std::max_element(own, own + columns), sum = 0;
      for (int64_t c = 0; c < columns; ++c)
        sum += std::exp(own[c] - largest);
      nats += std::log(sum) + largest - own[sequence[i + 1]];
    }
  return nats;
}

double getPerplexity(func::FuncOp step, const TokenBatch &text,
                     ParamSource &params) {
  constexpr size_t kSequences = 16;
  double nats = 0;
  int64_t count = 0;
  for (size_t begin = 0; begin < text.sequences.size(); begin += kSequences) {
    TokenBatch batch;
    size_t end = std::min(begin + kSequences, text.sequences.size());
    batch.sequences.assign(text.sequences.begin() + begin,
                           text.sequences.begin() + end);
    Executor executor(step, params);
    auto results = expect(executor.run(expect(makeArguments(step, batch))));
    nats += getNats(results[0].front(), batch);
    count += batch.countTokens() - int64_t(batch.sequences.size());
  }
  return std::exp(nats / double(count));
}

void print(const char *phase, func::FuncOp step, const TokenBatch &text,
           ParamSource &params, const QuantizedParams &matrices,
           double seconds) {
  double bits = 0, count = 0;
  for (auto &[name, matrix] : matrices) {
    double own = double(matrix.rows) * double(matrix.columns);
    bits += matrix.getBitsPerWeight() * own;
    count += own;
  }
  QuantizedSource source(params, matrices);
  llvm::outs() << llvm::formatv(
      "{{\"phase\": \"{0}\", \"bits_per_weight\": {1:f4}, \"perplexity\": "
      "{2:f4}, \"seconds\": {3:f1}}\n",
      phase, count > 0 ? bits / count : 32., getPerplexity(step, text, source),
      seconds);
  llvm::outs().flush();
}

//===----------------------------------------------------------------------===//
// Program
//===----------------------------------------------------------------------===//

Arguments parse(int argc, char **argv) {
  Arguments result;
  double rate = 1;
  int at = 1;
  for (; at + 1 < argc && llvm::StringRef(argv[at]).starts_with("--");
       at += 2) {
    llvm::StringRef name = argv[at];
    double value = std::atof(argv[at + 1]);
    if (name == "--steps")
      result.refine.steps = int(value);
    else if (name == "--block-steps")
      result.refine.blockSteps = int(value);
    else if (name == "--rate")
      rate = value;
    else if (name == "--seed")
      result.refine.seed = unsigned(value);
    else if (name == "--generate")
      result.generate = int64_t(value);
    else
      fail("unknown option " + name);
  }
  for (auto *rates : {result.refine.rates, result.refine.blockRates})
    for (unsigned bits = lcq::kMinBits; bits <= lcq::kMaxBits; ++bits)
      rates[bits] = rates[bits] * rate;
  for (; at < argc && result.files.size() < 4; ++at)
    result.files.push_back(argv[at]);
  if (at == argc)
    fail("expected MODEL.onnx TOKENIZER CALIBRATION EVALUATION FORMAT");
  result.format = expect(lcq::LCQOptions::parse(argv[at++]));
  for (; at < argc; ++at) {
    auto [columns, format] = llvm::StringRef(argv[at]).split(':');
    result.formats[std::atoll(columns.data())] =
        expect(lcq::LCQOptions::parse(format));
  }
  return result;
}

OwningOpRef<ModuleOp> readModel(const std::string &path, MLIRContext &context) {
  OwningOpRef<ModuleOp> module = importONNX(path, &context);
  PassManager manager(&context);
  buildGraphPipeline(manager, {});
  if (!module || failed(manager.run(*module)))
    fail("cannot read the model '" + path + "'");
  return module;
}

} // namespace

int main(int argc, char **argv) {
  Arguments arguments = parse(argc, argv);
  DialectRegistry registry;
  registerCompilerDialects(registry);
  MLIRContext context(registry);
  OwningOpRef<ModuleOp> module = readModel(arguments.files[0], context);
  auto step = module->lookupSymbol<func::FuncOp>("step");
  if (!step)
    fail("'" + arguments.files[0] + "' is no language model");
  int64_t vocabulary =
      cast<RankedTensorType>(step.getResultTypes()[0]).getShape().back();
  nju_tokenizer *tokenizer = nullptr;
  if (nju_tokenizer_load(arguments.files[1].c_str(), &tokenizer) != NJU_OK)
    fail(nju_last_error_message());
  TokenBatch evaluation = readText(tokenizer, arguments.files[3]), calibration;
  if (arguments.files[2] != "-")
    calibration = readText(tokenizer, arguments.files[2]);
  FileParamSource params(*module);
  Clock::time_point start = Clock::now();
  auto getSeconds = [&] {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  QuantizedParams matrices;
  print("full precision", step, evaluation, params, matrices, getSeconds());
  if (arguments.generate > 0) {
    GenerateOptions options;
    options.tokens = arguments.generate;
    options.beginning = options.end = nju_tokenizer_bos(tokenizer);
    options.seed = arguments.refine.seed;
    TokenBatch generated = expect(generateTokens(step, params, options));
    llvm::append_range(calibration.sequences, generated.sequences);
    print("generated", step, generated, params, matrices, getSeconds());
  }
  nju_tokenizer_release(tokenizer);
  Quantizer quantizer(arguments, vocabulary, matrices);
  expect(runCalibration(step, calibration, params, quantizer));
  print("calibrated", step, evaluation, params, matrices, getSeconds());
  RefineReport report;
  bool inModel = false;
  expect(refine(step, calibration, params, matrices, arguments.refine, &report,
                [&](const RefineProgress &progress) {
                  if (progress.block < progress.blocks || inModel)
                    return;
                  // The blocks are done: `matrices` holds what they gave.
                  inModel = true;
                  print("blocks", step, evaluation, params, matrices,
                        getSeconds());
                }));
  print("refined", step, evaluation, params, matrices, getSeconds());
  for (const RefineLoss &loss : report.blocks)
    llvm::outs() << llvm::formatv("block {0:f6} -> {1:f6}\n", loss.before,
                                  loss.after);
  llvm::outs() << llvm::formatv("model {0:f6} -> {1:f6}\n", report.model.before,
                                report.model.after);
  return 0;
}
