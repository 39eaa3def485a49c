//===- Report.cpp - What a compiled model costs -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Report.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/OpenMP/OpenMPDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "nju/Dialect/NJU/IR/CacheLayout.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/Support/HostRates.h"
#include "nju/Target/Signature.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace nju;

/// A fixed width for the report's left column.
static constexpr int kLabelWidth = 22;

static std::string formatBytes(double bytes) {
  const char *units[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  for (; bytes >= 1000 && unit < 4; ++unit)
    bytes /= 1000;
  std::string text;
  llvm::raw_string_ostream(text)
      << llvm::format(unit == 0 ? "%.0f %s" : "%.2f %s", bytes, units[unit]);
  return text;
}

static StringRef kindOfQuantized(ArrayRef<Operation *> users) {
  if (llvm::any_of(users, llvm::IsaPred<ExpertLinearOp>))
    return "quantized experts";
  bool isMatrix = llvm::any_of(users, llvm::IsaPred<LCQMatMulOp>);
  bool isTable = llvm::any_of(users, llvm::IsaPred<DequantizeOp>);
  if (isMatrix)
    return isTable ? "quantized tied embeddings" : "quantized matrices";
  return "quantized embeddings";
}

/// Whether the weight is the model's, and not a table that was derived.
static bool isOfModel(ParamOp param) {
  return isa<FileDataAttr, UniformDataAttr>(param.getData());
}

/// How the graph uses a weight: the report's kinds.
static StringRef kindOfUse(ParamOp param, ArrayRef<Operation *> users) {
  if (!isOfModel(param))
    return "tables";
  if (param.getFormat())
    return kindOfQuantized(users);
  if (llvm::any_of(users, llvm::IsaPred<EmbeddingOp>))
    return "tied embeddings";
  if (llvm::any_of(users, llvm::IsaPred<ExpertLinearOp>))
    return "experts";
  if (llvm::any_of(users, llvm::IsaPred<LinearOp>))
    return "matrices";
  if (llvm::any_of(users, llvm::IsaPred<GatherOp>))
    return "embeddings";
  return "vectors and others";
}

/// A linear whose input hangs on the wanted rows only is the output head.
static bool followsRows(Value input, Value rows) {
  llvm::SmallVector<Value> work{input};
  llvm::DenseSet<Value> seen;
  while (!work.empty()) {
    Value value = work.pop_back_val();
    if (!seen.insert(value).second)
      continue;
    Operation *op = value.getDefiningOp();
    if (auto gather = dyn_cast_or_null<GatherOp>(op)) {
      llvm::SmallVector<Value> indices{gather.getIndices()};
      while (Operation *def = indices.back().getDefiningOp()) {
        if (def->getNumOperands() == 0)
          break;
        indices.push_back(def->getOperand(0));
      }
      if (indices.back() == rows)
        return true;
    }
    if (op && !isa<CachedAttentionOp>(op))
      llvm::append_range(work, op->getOperands());
  }
  return false;
}

static void addStepCosts(func::FuncOp step, ModelCosts &costs) {
  Value rows = step.getNumArguments() > 3 ? step.getArgument(3) : Value();
  step.walk([&](Operation *op) {
    int64_t flops = countFlops(op);
    if (flops > 0)
      (rows && followsRows(op->getOperand(0), rows) ? costs.flopsOfRow
                                                    : costs.flopsOfToken) +=
          flops;
  });
}

static void addLimits(ModuleOp module, ModelCosts &costs) {
  auto lm = module->getAttrOfType<DictionaryAttr>("nju.lm");
  if (!lm)
    return;
  costs.languageModel = true;
  auto number = [&](StringRef name) -> int64_t {
    auto attr = lm.getAs<IntegerAttr>(name);
    return attr ? attr.getInt() : 0;
  };
  costs.maxTokens = number("max_tokens");
  costs.maxSequences = number("max_sequences");
  costs.maxBatchTokens = number("max_batch_tokens");
  if (ArrayAttr layers = getCacheLayers(module)) {
    costs.cacheBytesOfToken = getCacheBytes(layers.getValue());
    for (Attribute layer : layers)
      if (std::optional<CacheLayout> layout = getCacheLayout(layer))
        costs.cacheType = stringifyCacheType(layout->type).str();
  }
}

static void addWeights(ModuleOp module, ModelCosts &costs) {
  SymbolTable symbols(module);
  llvm::MapVector<ParamOp, llvm::SmallVector<Operation *>> users;
  module.walk([&](ParamRefOp ref) {
    if (auto param = symbols.lookup<ParamOp>(ref.getParam()))
      llvm::append_range(users[param], ref->getUsers());
  });
  for (auto &[param, ops] : users) {
    int64_t bytes = getWeightBytes(cast<RankedTensorType>(param.getType()));
    StringRef kind = kindOfUse(param, ops);
    costs.weightBytes[kind.str()] += bytes;
    costs.weightTotal += bytes;
    if (isOfModel(param) &&
        param.getPart().value_or(LCQPart::Codes) == LCQPart::Codes)
      costs.parameters += param.getDataType().getNumElements();
    // A token reads one row of an embedding or a table.
    if (kind == "embeddings" || kind == "quantized embeddings" ||
        kind == "tables")
      bytes /= std::max<int64_t>(
          1, cast<RankedTensorType>(param.getType()).getDimSize(0));
    // And those of the experts that it chooses.
    if (auto experts = dyn_cast<ExpertLinearOp>(ops.front()))
      bytes = bytes * experts.getNumChosen() / experts.getNumExperts();
    costs.decodeBytes += bytes;
  }
}

ModelCosts nju::computeCosts(ModuleOp module) {
  ModelCosts costs;
  addLimits(module, costs);
  addWeights(module, costs);
  module.walk([&](Operation *op) {
    if (isa<RMSNormOp, LayerNormOp, RopeOp, AttentionOp, CachedAttentionOp,
            SwiGLUOp, GeluOp, SiluOp, LinearOp, ExpertLinearOp, LCQMatMulOp,
            MatMulOp>(op))
      ++costs.ops[op->getName().stripDialect().str()];
  });
  if (auto step = module.lookupSymbol<func::FuncOp>("step"))
    addStepCosts(step, costs);
  return costs;
}

LoweredCosts nju::readLoweredCosts(ModuleOp module) {
  LoweredCosts costs;
  auto number = [&](StringRef name) -> int64_t {
    auto attr = module->getAttrOfType<IntegerAttr>(name);
    return attr ? attr.getInt() : 0;
  };
  costs.arenaBytes = number("nju.arena_bytes");
  costs.arenaLowerBound = number("nju.arena_lower_bound");
  for (StringRef name : {"step", "main"})
    if (auto function = module.lookupSymbol<func::FuncOp>(name))
      function.walk([&](Operation *op) {
        costs.launches += isa<func::CallOp>(op);
        if (isa<omp::BarrierOp>(op))
          ++(isa<scf::IfOp>(op->getParentOp()) ? costs.batchBarriers
                                               : costs.barriers);
      });
  module.walk([&](func::FuncOp function) {
    costs.kernels += function.isPrivate() && !function.isDeclaration();
  });
  return costs;
}

namespace {
/// Prints aligned lines.
struct Lines {
  llvm::raw_ostream &os;
  llvm::raw_ostream &line(StringRef label) {
    return os << label
              << std::string(std::max<int>(1, kLabelWidth - static_cast<int>(
                                                                label.size())),
                             ' ');
  }
};
} // namespace

/// One floor: bytes over bandwidth or operations over rate, and which binds.
static void printFloor(Lines lines, StringRef label, int64_t tokens,
                       double bytes, double flops, const HostRates &host) {
  double memory = bytes / host.bytesPerSecond;
  double compute = flops / host.flopsPerSecond;
  double seconds = std::max(memory, compute);
  if (seconds <= 0)
    return;
  lines.line(label) << formatBytes(bytes) << " read, "
                    << llvm::format("%.3g", flops / 1e9) << " GFLOP: at least "
                    << llvm::format("%.3g ms (%s), %.4g tokens/s\n",
                                    seconds * 1e3,
                                    memory > compute ? "memory" : "arithmetic",
                                    tokens / seconds);
}

static void printMemory(Lines lines, const ModelCosts &costs,
                        const LoweredCosts &lowered) {
  lines.line("weights") << formatBytes(costs.weightTotal) << ", "
                        << costs.parameters << " parameters\n";
  for (const auto &[kind, bytes] : costs.weightBytes)
    lines.line("  " + kind) << formatBytes(bytes) << "\n";
  if (!costs.languageModel)
    return;
  int64_t sequence = costs.cacheBytesOfToken * costs.maxTokens;
  lines.line("key/value cache")
      << costs.cacheType << ", " << formatBytes(costs.cacheBytesOfToken)
      << " a token, " << formatBytes(sequence) << " a sequence of "
      << costs.maxTokens << " tokens, at most "
      << formatBytes(sequence * costs.maxSequences) << " for "
      << costs.maxSequences << "\n";
  lines.line("scratch arena")
      << formatBytes(lowered.arenaBytes) << " (lower bound "
      << formatBytes(lowered.arenaLowerBound) << ") for "
      << costs.maxBatchTokens << " tokens a step\n";
}

/// Of how many matrices the errors are listed, the worst first.
static constexpr size_t kListedMatrices = 8;

static double errorOf(const QuantizedWeightCosts &costs) {
  return costs.outputError ? std::sqrt(*costs.outputError) : costs.weightError;
}

/// The matrices that lost most.
static void printErrors(Lines lines,
                        std::vector<QuantizedWeightCosts> quantized) {
  llvm::sort(quantized, [](const auto &a, const auto &b) {
    return std::make_pair(-errorOf(a), a.name) <
           std::make_pair(-errorOf(b), b.name);
  });
  lines.line("largest errors")
      << (quantized.front().outputError ? "of outputs" : "of weights")
      << ", relative:\n";
  for (const QuantizedWeightCosts &weight :
       ArrayRef(quantized).take_front(kListedMatrices))
    lines.line("  " + weight.name)
        << llvm::format("%.4f, %.3f bits\n", errorOf(weight),
                        8.0 * weight.bytes / weight.elements);
}

/// Bits of the quantized weights, everything that is stored for them counted,
/// and what was lost.
static void printQuantized(Lines lines,
                           ArrayRef<QuantizedWeightCosts> weights) {
  using Origin = QuantizedWeightCosts::Origin;
  double bits = 0, elements = 0;
  size_t count = 0;
  std::map<std::string, int64_t> formats;
  std::vector<QuantizedWeightCosts> lossy;
  for (const QuantizedWeightCosts &weight : weights) {
    ++formats[weight.format];
    if (weight.origin == Origin::Dequantized)
      continue;
    if (weight.origin == Origin::Quantized)
      lossy.push_back(weight);
    bits += 8.0 * weight.bytes;
    elements += weight.elements;
    ++count;
  }
  if (count > 0)
    lines.line("quantized")
        << count << " matrices, " << llvm::format("%.3f", bits / elements)
        << " bits per weight\n";
  else if (!formats.empty())
    lines.line("quantized") << "no matrices\n";
  for (const auto &[format, count] : formats)
    lines.line("  " + format) << count << " matrices\n";
  if (!lossy.empty())
    printErrors(lines, std::move(lossy));
}

void nju::printReport(const ModelCosts &costs, const LoweredCosts &lowered,
                      ArrayRef<QuantizedWeightCosts> quantized,
                      std::optional<RefineLoss> refinement, bool listsFormats,
                      llvm::raw_ostream &os) {
  Lines lines{os};
  lines.line("kind") << (costs.languageModel ? "causal language model (step)\n"
                                             : "graph (run)\n");
  auto &structure = lines.line("structure");
  bool first = true;
  for (const auto &[name, count] : costs.ops) {
    structure << (first ? "" : ", ") << count << " " << name;
    first = false;
  }
  structure << "\n";
  printMemory(lines, costs, lowered);
  printQuantized(lines, quantized);
  if (refinement)
    lines.line("refined")
        << (costs.languageModel
                ? "divergence from full precision, nats a token: "
                : "squared error of outputs, relative: ")
        << llvm::format("%.4f before, %.4f after\n", refinement->before,
                        refinement->after);
  if (listsFormats)
    for (const QuantizedWeightCosts &weight : quantized)
      lines.line("format of " + weight.name) << weight.format << "\n";
  if (!lowered.processors.empty())
    lines.line("code for") << lowered.processors << "\n";
  lines.line("launches") << lowered.launches << " of " << lowered.kernels
                         << " kernels\n";
  if (!costs.languageModel)
    return;
  lines.line("barriers") << lowered.barriers << " for one token, "
                         << lowered.barriers + lowered.batchBarriers
                         << " for several\n";
  HostRates host = measureHostRates();
  lines.line("this machine")
      << host.threads << " threads, "
      << llvm::format("%.1f GB/s read, %.0f GFLOP/s f32 (measured now)\n",
                      host.bytesPerSecond / 1e9, host.flopsPerSecond / 1e9);
  double flops = costs.flopsOfToken + costs.flopsOfRow;
  printFloor(lines, "floor of decode", 1, costs.decodeBytes, flops, host);
  int64_t tokens = std::min<int64_t>(512, costs.maxTokens);
  printFloor(lines, "floor of prefill " + std::to_string(tokens), tokens,
             costs.decodeBytes,
             double(costs.flopsOfToken) * tokens + costs.flopsOfRow, host);
}
