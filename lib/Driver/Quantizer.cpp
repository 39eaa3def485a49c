//===- Quantizer.cpp - Quantizes the weights of a model ---------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Quantizer.h"

#include "BitBudget.h"
#include "Calibration.h"
#include "UniformWeights.h"
#include "mlir/Pass/PassManager.h"
#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/Quantization/Calibrated.h"
#include "nju/Refinement/Generate.h"
#include "nju/Support/OutputFile.h"
#include "nju/Target/MatrixRows.h"
#include "nju/Transforms/Passes.h"
#include "nju/checksum.h"
#include "llvm/Support/Parallel.h"

using namespace mlir;
using namespace nju;

/// Solutions for the scales and descents on the codes, in turn.
static constexpr int kCalibrationRounds = 3;
/// Tokens that are taken unless an option says otherwise. Training learns few
/// tokens by heart.
static constexpr int64_t kCalibrationTokens = 8192, kRefinementTokens = 40960;

/// Changes when the same weights give another matrix than before.
static constexpr llvm::StringLiteral kMethod = "lcq method 5";

/// What `--calibration` is for text that the model says itself.
static constexpr llvm::StringLiteral kOwnText = "self";

Quantizer::Quantizer(const CompileOptions &options, Progress &progress)
    : options(options), progress(progress),
      store(options.output + ".quantizing") {}

/// Whether the model says the text that it is calibrated with.
static bool generatesText(const CompileOptions &options) {
  return options.calibration == kOwnText ||
         (options.calibration.empty() && options.refine);
}

/// Whether what the model computes is asked before or while it is quantized.
static bool measuresOutputs(const CompileOptions &options) {
  return (!options.calibration.empty() || options.refine) &&
         (options.emit == EmitKind::So || options.bitsPerWeight);
}

int Quantizer::countPhases(const CompileOptions &options) {
  if (!options.quantizes())
    return 0;
  return (options.emit == EmitKind::So) + options.bitsPerWeight.has_value() +
         (generatesText(options) && measuresOutputs(options));
}

static llvm::Expected<QuantizationPlan>
readPlan(const CompileOptions &options) {
  llvm::Expected<QuantizationPlan> plan = QuantizationPlan::get(
      options.quantize.empty() ? "none" : options.quantize);
  if (!plan)
    return llvm::createStringError("--quantize: " +
                                   llvm::toString(plan.takeError()));
  if (!options.quantizePlan.empty())
    if (llvm::Error error = plan->read(options.quantizePlan))
      return std::move(error);
  return plan;
}

llvm::Error Quantizer::check() {
  std::pair<bool, StringRef> given[] = {
      {!options.calibration.empty(), "--calibration"},
      {options.refine, "--refine"},
      {!options.savePlan.empty(), "--save-plan"}};
  for (auto [isGiven, name] : given)
    if (isGiven && !options.quantizes())
      return llvm::createStringError(
          name + " is for quantized weights, expected --quantize, "
                 "--quantize-plan or --bits-per-weight");
  if (options.bitsPerWeight) {
    if (!options.quantize.empty())
      return llvm::createStringError(
          "--bits-per-weight chooses the formats itself, expected no "
          "--quantize with it");
    if (!std::isfinite(*options.bitsPerWeight) || *options.bitsPerWeight <= 0)
      return llvm::createStringError(
          llvm::formatv("--bits-per-weight is {0}, expected a number above 0",
                        *options.bitsPerWeight)
              .str());
  }
  if (options.refineSteps && !options.refine)
    return llvm::createStringError(
        "--refine-steps says how long to refine, expected --refine");
  llvm::Expected<QuantizationPlan> read = readPlan(options);
  if (!read)
    return read.takeError();
  plan = std::move(*read);
  if (options.bitsPerWeight && plan.hasDefault())
    return llvm::createStringError(
        "--bits-per-weight chooses the formats of what the plan '" +
        options.quantizePlan +
        "' does not name, expected no \"default\" in it but none");
  return llvm::Error::success();
}

static RefineOptions refineOptionsOf(const CompileOptions &options) {
  RefineOptions refine;
  if (options.refineSteps) {
    refine.steps = options.refineSteps;
    refine.blockSteps = options.refineSteps / 5;
  }
  return refine;
}

int64_t Quantizer::countTokens() const {
  if (options.calibrationTokens)
    return options.calibrationTokens;
  return options.refine ? kRefinementTokens : kCalibrationTokens;
}

/// The function that a model is run by.
static func::FuncOp programOf(ModuleOp module) {
  for (StringRef name : {"step", "main"})
    if (auto function = module.lookupSymbol<func::FuncOp>(name))
      return function;
  return nullptr;
}

/// Tokens of the model itself.
llvm::Error Quantizer::generateText(func::FuncOp step) {
  progress.begin("say the calibration text");
  GenerateOptions generate;
  generate.tokens = countTokens();
  // Tables of positions end there.
  if (std::optional<int64_t> most = getMostTokens(step))
    generate.length = std::min(generate.length, *most);
  generate.beginning = generate.end = findBeginningToken(options.input);
  FileParamSource source(step->getParentOfType<ModuleOp>());
  auto made =
      generateTokens(step, source, generate, [&](int64_t done, int64_t total) {
        progress.update(done, total);
      });
  if (!made)
    return llvm::createStringError("the model cannot say a text: " +
                                   llvm::toString(made.takeError()));
  tokens = std::move(*made);
  return llvm::Error::success();
}

/// Reads or makes what the model is to be run on, and keeps a copy of it for
/// that.
LogicalResult Quantizer::readTokens(ModuleOp module) {
  method = "no data";
  if (!measuresOutputs(options))
    return success();
  dense = module.clone();
  func::FuncOp program = programOf(*dense);
  if (generatesText(options)) {
    if (program.getName() != "step")
      return module.emitError()
             << "the graph is no language model and cannot say a text itself, "
             << "expected --calibration=FILE with a text or tokens";
    if (llvm::Error failed = generateText(program))
      return module.emitError() << llvm::toString(std::move(failed));
  } else {
    CalibrationOptions data{options.calibration, options.input, countTokens()};
    llvm::Expected<TokenBatch> read = CalibrationData(data).read(program);
    if (!read)
      return module.emitError() << llvm::toString(read.takeError());
    tokens = std::move(*read);
  }
  Checksum checksum;
  for (const std::vector<int32_t> &sequence : tokens.sequences) {
    uint64_t size = sequence.size();
    checksum.update(&size, sizeof(size));
    checksum.update(sequence.data(), size * sizeof(int32_t));
  }
  method = "tokens " + checksum.hex();
  if (options.refine)
    method +=
        llvm::formatv(", refined {0}", refineOptionsOf(options).steps).str();
  return success();
}

/// Chooses the formats of weights that the plan does not decide about.
llvm::Error
Quantizer::chooseByBudget(ModuleOp module, ArrayRef<QuantizableWeight> all,
                          MutableArrayRef<QuantizationPlan::Format> formats) {
  SmallVector<QuantizableWeight> weights;
  for (const QuantizableWeight &weight : all)
    if (!plan.decides(weight))
      weights.push_back(weight);
  if (weights.empty() && !all.empty())
    return llvm::createStringError(
        "the plan '" + options.quantizePlan +
        "' decides about all weights, expected some that "
        "--bits-per-weight can choose a format for");
  progress.begin("choose the bits of weights");
  auto show = [&](uint64_t done, uint64_t total) {
    progress.update(done, total);
  };
  BitBudget budget(*options.bitsPerWeight, weights);
  if (dense) {
    FileParamSource source(module);
    if (llvm::Error failed =
            budget.measureOutputs(programOf(module), tokens, source, show))
      return failed;
  } else if (llvm::Error failed = budget.measureWeights(show)) {
    return failed;
  }
  auto chosen = budget.choose();
  if (!chosen)
    return chosen.takeError();
  const QuantizationPlan::Format *next = chosen->data();
  for (auto [weight, format] : llvm::zip_equal(all, formats))
    if (!plan.decides(weight))
      format = *next++;
  return llvm::Error::success();
}

/// Asks that weights which came quantized stay so. Where no kernel has its
/// format, one is dequantized when it is written.
LogicalResult Quantizer::keepExact(ArrayRef<QuantizableWeight> weights) {
  for (const QuantizableWeight &weight : weights) {
    ParamOp param = weight.param;
    auto format = chooseExactFormat(weight);
    if (!format)
      return param.emitError() << "cannot read weight '" << param.getSymName()
                               << "': " << llvm::toString(format.takeError());
    if (!*format)
      continue;
    param->setAttr(kQuantizeAttr, **format);
    param->setAttr(kExactAttr, UnitAttr::get(param.getContext()));
  }
  return success();
}

/// What came quantized, for the report.
void Quantizer::addExactCosts(ModuleOp module) {
  for (auto param : module.getOps<ParamOp>()) {
    auto data = dyn_cast<UniformDataAttr>(param.getData());
    bool isExact = param.getExact() && param.getPart() == LCQPart::Codes;
    if (!data || (param.getFormat() && !isExact))
      continue;
    QuantizedWeightCosts cost;
    cost.name = param.getSymName().str();
    cost.elements = data.getType().getNumElements();
    cost.bytes = getWeightBytes(cast<RankedTensorType>(param.getType()));
    cost.origin = isExact ? QuantizedWeightCosts::Origin::AsGiven
                          : QuantizedWeightCosts::Origin::Dequantized;
    cost.format =
        llvm::formatv("dequantized to f32: {0} bits", data.getCodes().getBits())
            .str();
    if (isExact) {
      SmallVector<int64_t> shape = param.getMatrixShape();
      cost.format = describeExact(*param.getFormat());
      for (LCQPart part : {LCQPart::Basis, LCQPart::Factors})
        cost.bytes += getWeightBytes(
            param.getFormat()->getPartType(part, shape[0], shape[1]));
    }
    costs.push_back(std::move(cost));
  }
}

/// A budget chooses for each matrix, but the experts of a product have one
/// kernel: all take the format with the fewest bits of them.
static void alignExperts(ModuleOp module, ArrayRef<QuantizableWeight> weights,
                         MutableArrayRef<QuantizationPlan::Format> formats) {
  llvm::StringMap<QuantizationPlan::Format *> byName;
  for (auto [weight, format] : llvm::zip_equal(weights, formats)) {
    ParamOp param = weight.param;
    byName[param.getSymName()] = &format;
  }
  module.walk([&](ExpertLinearOp op) {
    QuantizationPlan::Format fewest;
    SmallVector<QuantizationPlan::Format *> own;
    for (Value weight : op.getWeights()) {
      auto ref = weight.getDefiningOp<ParamRefOp>();
      QuantizationPlan::Format *format =
          ref ? byName.lookup(ref.getParam()) : nullptr;
      if (!format || !*format)
        return;
      own.push_back(format);
      if (!fewest || (*format)->bits < fewest->bits)
        fewest = **format;
    }
    for (QuantizationPlan::Format *format : own)
      *format = fewest;
  });
}

LogicalResult Quantizer::rewrite(ModuleOp module, bool hasKernels) {
  // What came quantized is changed by a plan that names it, and nothing else.
  SmallVector<QuantizableWeight> weights, exact;
  for (QuantizableWeight &weight : collectQuantizableWeights(module)) {
    bool isKept = isa<UniformDataAttr>(weight.param.getData()) &&
                  !plan.names(weight.param.getSymName());
    (isKept ? exact : weights).push_back(weight);
  }
  // What is wrong with the plan is said before the model says a text.
  auto formats = plan.choose(weights);
  if (!formats)
    return module.emitError() << llvm::toString(formats.takeError());
  if (failed(readTokens(module)) || (hasKernels && failed(keepExact(exact))))
    return failure();
  if (options.bitsPerWeight) {
    if (llvm::Error failed = chooseByBudget(module, weights, *formats))
      return module.emitError() << llvm::toString(std::move(failed));
    alignExperts(module, weights, *formats);
  }
  for (auto [weight, format] : llvm::zip_equal(weights, *formats))
    if (format)
      weight.param->setAttr(kQuantizeAttr,
                            toAttr(module.getContext(), *format));
  if (options.savePlan == "-")
    llvm::outs() << printPlan(weights, *formats);
  else if (!options.savePlan.empty())
    if (llvm::Error failed =
            writeFile(options.savePlan, printPlan(weights, *formats)))
      return module.emitError() << llvm::toString(std::move(failed));
  PassManager manager(module.getContext());
  manager.addPass(createQuantizeWeights());
  if (failed(manager.run(module)))
    return failure();
  addExactCosts(module);
  return success();
}

/// The name of the codes of a param's matrix.
static StringRef matrixName(ParamOp param) {
  StringRef name = param.getSymName();
  if (*param.getPart() != LCQPart::Codes)
    name.consume_back("." + stringifyLCQPart(*param.getPart()).str());
  return name;
}

/// What the values of a matrix depend on.
llvm::Expected<std::string> Quantizer::keyOf(ParamOp param) const {
  llvm::Expected<std::string> source = describeWeightSource(param);
  if (!source)
    return source.takeError();
  return llvm::formatv("{0}\n{1}\n{2}\n{3}", kMethod,
                       fromAttr(*param.getFormat()).str(), *source, method)
      .str();
}

/// Bytes of a job, as progress.
static uint64_t bytesOf(ParamOp codes) {
  return getWeightBytes(cast<RankedTensorType>(codes.getType()));
}

static LogicalResult reportFailure(ParamOp param, llvm::Error error) {
  return param.emitError() << "cannot quantize weight '" << param.getSymName()
                           << "': " << llvm::toString(std::move(error));
}

/// Stores a matrix in the form of the kernels.
llvm::Error Quantizer::save(Job &job, const lcq::QuantizedMatrix &matrix,
                            const lcq::QuantizationError &error,
                            std::optional<double> outputError) {
  llvm::Expected<lcq::PackedMatrix> packed = lcq::pack(matrix);
  if (!packed)
    return packed.takeError();
  lcq::StoredMatrix stored;
  stored.basis = std::move(packed->basis);
  stored.factors = std::move(packed->factors);
  stored.codes = std::move(packed->stream);
  stored.weights = error;
  stored.outputError = outputError;
  if (llvm::Error failed = store.save(job.codes.getSymName(), job.key, stored))
    return failed;
  job.isDone = true;
  addCosts(job, stored);
  return llvm::Error::success();
}

void Quantizer::addCosts(Job &job, const lcq::StoredMatrix &matrix) {
  QuantizedWeightCosts cost;
  cost.name = job.codes.getSymName().str();
  cost.format = fromAttr(*job.codes.getFormat()).str();
  SmallVector<int64_t> shape = job.codes.getMatrixShape();
  cost.elements = shape[0] * shape[1];
  cost.bytes = matrix.basis.size() + matrix.codes.size() +
               matrix.factors.size() * sizeof(float);
  cost.weightError = matrix.weights.getRelative();
  cost.outputError = matrix.outputError;
  costs.push_back(std::move(cost));
  doneBytes += bytesOf(job.codes);
  progress.update(doneBytes, totalBytes);
}

bool Quantizer::isDone(const Job &job) { return job.isDone; }

Quantizer::Job *Quantizer::findJob(StringRef matrix) {
  auto *job = llvm::find_if(
      jobs, [&](Job &job) { return job.codes.getSymName() == matrix; });
  return job == jobs.end() ? nullptr : job;
}

/// The matrices, which change the inputs of each other, for keys.
std::string Quantizer::describeMatrices() const {
  Checksum checksum;
  for (const Job &job : jobs) {
    ParamOp codes = job.codes;
    std::string text = llvm::formatv("{0}: {1}\n", codes.getSymName(),
                                     fromAttr(*codes.getFormat()).str());
    checksum.update(text.data(), text.size());
  }
  return ", among " + checksum.hex();
}

/// All matrices that are written. Those in the folder are done.
LogicalResult Quantizer::makeJobs(ModuleOp module) {
  for (auto param : module.getOps<ParamOp>())
    if (param.getPart() == LCQPart::Codes && !param.getExact() &&
        getWeightOffset(param)) {
      jobs.push_back({param, "", false});
      totalBytes += bytesOf(param);
    }
  if (dense)
    method += describeMatrices();
  for (Job &job : jobs) {
    llvm::Expected<std::string> key = keyOf(job.codes);
    if (!key)
      return reportFailure(job.codes, key.takeError());
    job.key = std::move(*key);
    if (auto known = store.load(job.codes.getSymName(), job.key)) {
      job.isDone = true;
      addCosts(job, *known);
    }
  }
  // Refinement trains all matrices together.
  if (options.refine && !llvm::all_of(jobs, isDone)) {
    for (Job &job : jobs)
      job.isDone = false;
    llvm::erase_if(costs, [](const QuantizedWeightCosts &cost) {
      return cost.origin == QuantizedWeightCosts::Origin::Quantized;
    });
    doneBytes = 0;
  }
  return success();
}

llvm::Error Quantizer::quantizeWithoutData(Job &job) {
  auto rows = openWeightRows(job.codes);
  if (!rows)
    return rows.takeError();
  lcq::QuantizationError error;
  llvm::Expected<lcq::QuantizedMatrix> matrix =
      lcq::quantizeDataFree(**rows, fromAttr(*job.codes.getFormat()), &error);
  if (!matrix)
    return matrix.takeError();
  return save(job, *matrix, error);
}

/// Quantizes a matrix for the inputs that it has.
llvm::Expected<lcq::QuantizedMatrix>
Quantizer::calibrate(Job &job, const InputMoments &moments) {
  auto rows = openWeightRows(job.codes);
  if (!rows)
    return rows.takeError();
  lcq::CalibrationReport report;
  llvm::Expected<lcq::QuantizedMatrix> matrix = lcq::quantizeCalibrated(
      **rows, llvm::ArrayRef<float>(moments.moments),
      fromAttr(*job.codes.getFormat()), kCalibrationRounds, &report,
      {moments.deviation, moments.numRows});
  if (!matrix)
    return matrix.takeError();
  double error =
      report.zeroObjective > 0 ? report.objective / report.zeroObjective : 0.0;
  if (options.refine)
    matrices[job.codes.getSymName().str()] = *matrix;
  else if (llvm::Error failed = save(job, *matrix, report.weights, error))
    return std::move(failed);
  return matrix;
}

/// A finished matrix in the form of the kernels.
llvm::Expected<lcq::StoredMatrix> Quantizer::load(const Job &job) const {
  ParamOp codes = job.codes;
  std::optional<lcq::StoredMatrix> stored =
      store.load(codes.getSymName(), job.key);
  if (!stored)
    return llvm::createStringError("its quantized form is no longer in '" +
                                   store.getFolder() + "'");
  return std::move(*stored);
}

/// A finished matrix as it was saved.
llvm::Expected<lcq::QuantizedMatrix>
Quantizer::loadMatrix(const Job &job) const {
  llvm::Expected<lcq::StoredMatrix> stored = load(job);
  if (!stored)
    return stored.takeError();
  ParamOp codes = job.codes;
  SmallVector<int64_t> shape = codes.getMatrixShape();
  auto layout = lcq::PackedLayout::get(lcq::QuantizedMatrix::create(
      /*rows=*/shape[1], /*columns=*/shape[0], fromAttr(*codes.getFormat())));
  if (!layout)
    return layout.takeError();
  return lcq::unpack({*layout, std::move(stored->basis),
                      std::move(stored->factors), std::move(stored->codes)});
}

static WeightMatrix dequantize(const lcq::QuantizedMatrix &matrix,
                               MLIRContext *context) {
  HostTensor weights(Float32Type::get(context), {matrix.rows, matrix.columns});
  auto values = weights.mutableElements<float>();
  llvm::parallelFor(0, matrix.rows, [&](size_t row) {
    matrix.dequantizeRow(row,
                         values.slice(row * matrix.columns, matrix.columns));
  });
  return WeightMatrix(std::move(weights), /*isTransposed=*/true);
}

bool Quantizer::needsMoments(
    llvm::ArrayRef<ExecutionListener::Weight> weights) {
  return llvm::any_of(weights, [&](ExecutionListener::Weight weight) {
    Job *job = findJob(weight.param.getSymName());
    return job && !job->isDone;
  });
}

llvm::Error
Quantizer::consume(InputMoments &moments,
                   llvm::MutableArrayRef<ExecutionListener::Weight> weights) {
  for (ExecutionListener::Weight &weight : weights) {
    Job *job = findJob(weight.param.getSymName());
    if (!job)
      continue;
    auto matrix = job->isDone ? loadMatrix(*job) : calibrate(*job, moments);
    if (!matrix)
      return matrix.takeError();
    weight.matrix = dequantize(*matrix, weight.param.getContext());
  }
  return llvm::Error::success();
}

static llvm::Expected<lcq::QuantizationError>
compare(ParamOp codes, const lcq::QuantizedMatrix &matrix) {
  auto rows = openWeightRows(codes);
  if (!rows)
    return rows.takeError();
  lcq::QuantizationError error;
  std::vector<float> weights(matrix.columns), values(matrix.columns);
  for (int64_t row = 0; row < matrix.rows; ++row) {
    if (llvm::Error failed = (*rows)->read(row, row + 1, weights))
      return std::move(failed);
    matrix.dequantizeRow(row, values);
    for (auto [weight, value] : llvm::zip_equal(weights, values)) {
      double difference = double(weight) - value;
      error.squares += double(weight) * weight;
      error.errors += difference * difference;
    }
  }
  return error;
}

/// Trains what calibration gave, and stores it.
llvm::Error Quantizer::refineMatrices(ParamSource &source) {
  auto show = [&](const RefineProgress &at) {
    double part = at.steps ? double(at.step) / at.steps : 0.0;
    std::string what =
        at.block == at.blocks
            ? "whole model"
            : llvm::formatv("block {0} of {1}", at.block + 1, at.blocks).str();
    // Calibration counts as another block.
    progress.update(
        totalBytes * (1 + at.block + part) / (at.blocks + 2), totalBytes,
        llvm::formatv("{0}, loss {1:F4}", what, at.heldOutLoss).str());
  };
  RefineReport report;
  if (llvm::Error error = refine(programOf(*dense), tokens, source, matrices,
                                 refineOptionsOf(options), &report, show))
    return error;
  refinement = report.model;
  for (Job &job : jobs) {
    auto refined = matrices.find(job.codes.getSymName().str());
    if (refined == matrices.end())
      continue;
    auto error = compare(job.codes, refined->second);
    if (!error)
      return error.takeError();
    if (llvm::Error failed = save(job, refined->second, *error))
      return failed;
    matrices.erase(refined);
  }
  return llvm::Error::success();
}

/// Runs the model for moments, and trains.
llvm::Error Quantizer::run() {
  FileParamSource source(*dense);
  if (llvm::Error error =
          runCalibration(programOf(*dense), tokens, source, *this))
    return error;
  return options.refine ? refineMatrices(source) : llvm::Error::success();
}

LogicalResult Quantizer::quantize(ModuleOp module) {
  progress.begin("quantize the weights");
  if (failed(makeJobs(module)))
    return failure();
  if (dense && !llvm::all_of(jobs, isDone))
    if (llvm::Error error = run())
      return module.emitError()
             << "cannot calibrate: " << llvm::toString(std::move(error));
  // What no product multiplies has no moments.
  for (Job &job : jobs)
    if (!job.isDone)
      if (llvm::Error error = quantizeWithoutData(job))
        return reportFailure(job.codes, std::move(error));
  return success();
}

llvm::Expected<llvm::ArrayRef<char>> Quantizer::get(ParamOp param) {
  StringRef name = matrixName(param);
  if (currentName != name && param.getExact()) {
    llvm::Expected<lcq::PackedMatrix> packed = packExact(param);
    if (!packed)
      return packed.takeError();
    current = {std::move(packed->basis),
               std::move(packed->factors),
               std::move(packed->stream),
               {},
               std::nullopt};
    currentName = name.str();
  }
  if (currentName != name) {
    Job *job = findJob(name);
    assert(job && "a matrix of the file was not quantized");
    llvm::Expected<lcq::StoredMatrix> stored = load(*job);
    if (!stored)
      return stored.takeError();
    current = std::move(*stored);
    currentName = name.str();
  }
  auto bytes = [](const auto &elements) {
    return llvm::ArrayRef<char>(reinterpret_cast<const char *>(elements.data()),
                                elements.size() * sizeof(elements.front()));
  };
  switch (*param.getPart()) {
  case LCQPart::Codes:
    return bytes(current.codes);
  case LCQPart::Basis:
    return bytes(current.basis);
  case LCQPart::Factors:
    break;
  }
  return bytes(current.factors);
}
