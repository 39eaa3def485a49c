//===- Tape.cpp - Runs a part of a model back and forth -------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Tape.h"

#include "nju/Dialect/NJU/Analysis/Gradients.h"
#include "nju/Execution/ExecuteOp.h"
#include "nju/Support/MatrixProduct.h"

using namespace mlir;
using namespace nju;

/// An error that names the node of an op.
static llvm::Error fail(Operation *op, const llvm::Twine &what) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << op->getName() << " at ";
  op->getLoc().print(os);
  return llvm::createStringError(text + ": " + what);
}

static ParamOp getParam(Value weight) {
  auto ref = weight.getDefiningOp<ParamRefOp>();
  return ref ? SymbolTable::lookupNearestSymbolFrom<ParamOp>(ref,
                                                             ref.getParamAttr())
             : ParamOp();
}

static llvm::StringRef getParamName(Value value) {
  auto ref = value.getDefiningOp<ParamRefOp>();
  return ref ? ref.getParam() : StringRef();
}

llvm::StringRef nju::getWeightName(LinearOp op) {
  return getParamName(op.getWeight());
}

llvm::StringRef nju::getTableName(Operation *op) {
  if (auto embedding = dyn_cast<EmbeddingOp>(op))
    return getParamName(embedding.getWeight());
  auto gather = dyn_cast<GatherOp>(op);
  return gather && gather.getAxis() == 0 ? getParamName(gather.getInput())
                                         : StringRef();
}

//===----------------------------------------------------------------------===//
// GraphPart
//===----------------------------------------------------------------------===//

/// An error if a gradient stops at `op`, whose result is active.
static llvm::Error checkGradient(Operation *op, unsigned index) {
  auto linear = dyn_cast<LinearOp>(op);
  if (linear ? index == 0 : hasGradient(op, index))
    return llvm::Error::success();
  return fail(op, "has no gradient, but lies behind a weight that is to be "
                  "refined; quantize without refinement");
}

llvm::Expected<GraphPart> GraphPart::find(Value output, ArrayRef<Value> inputs,
                                          const llvm::StringSet<> &trained,
                                          const llvm::StringSet<> *lookedUp) {
  GraphPart part;
  part.output = output;
  llvm::DenseSet<Value> bound(inputs.begin(), inputs.end());
  llvm::DenseSet<Operation *> needed;
  SmallVector<Value> pending = {output};
  while (!pending.empty()) {
    Value value = pending.pop_back_val();
    Operation *op = value.getDefiningOp();
    if (!op || bound.contains(value) || !needed.insert(op).second)
      continue;
    for (Value operand : op->getOperands())
      pending.push_back(operand);
  }
  Operation *last = output.getDefiningOp();
  if (!last)
    return part;
  for (Operation &op : *last->getBlock()) {
    if (!needed.contains(&op))
      continue;
    part.ops.push_back(&op);
    if (op.getNumResults() != 1)
      return fail(&op, "expected one result");
    auto linear = dyn_cast<LinearOp>(op);
    bool isActive = linear && trained.contains(getWeightName(linear));
    if (isActive)
      part.trained.insert(&op);
    if (lookedUp && lookedUp->contains(getTableName(&op))) {
      part.lookUps.insert(&op);
      isActive = true;
    }
    for (OpOperand &operand : op.getOpOperands()) {
      if (!part.active.contains(operand.get()))
        continue;
      if (llvm::Error error = checkGradient(&op, operand.getOperandNumber()))
        return std::move(error);
      isActive = true;
    }
    if (isActive)
      part.active.insert(op.getResult(0));
  }
  return part;
}

//===----------------------------------------------------------------------===//
// ParamCache
//===----------------------------------------------------------------------===//

llvm::Expected<HostTensor> ParamCache::read(ParamOp param) {
  HostTensor &known = tensors[param];
  if (!known) {
    llvm::Expected<HostTensor> tensor = source.read(param);
    if (!tensor)
      return tensor.takeError();
    known = *tensor;
  }
  return known;
}

llvm::Expected<WeightMatrix> ParamCache::readMatrix(ParamOp param) {
  WeightMatrix &known = matrices[param];
  if (!known) {
    llvm::Expected<WeightMatrix> matrix = source.readMatrix(param);
    if (!matrix)
      return matrix.takeError();
    known = *matrix;
  }
  return known;
}

void ParamCache::clear() {
  tensors.clear();
  matrices.clear();
}

//===----------------------------------------------------------------------===//
// Forward
//===----------------------------------------------------------------------===//

llvm::Expected<WeightMatrix> Tape::getMatrix(Value weight,
                                             const MatrixMap &matrices) {
  ParamOp param = getParam(weight);
  if (!param)
    return fail(weight.getDefiningOp(), "expected the weight to be a param");
  auto replaced = matrices.find(param.getSymName());
  return replaced != matrices.end() ? replaced->second
                                    : params.readMatrix(param);
}

llvm::Expected<HostTensor> Tape::compute(Operation *op,
                                         const MatrixMap &matrices) {
  if (isa<ParamRefOp>(op)) {
    // Packed weights are read by what uses them.
    bool isPacked = llvm::all_of(op->getUsers(), [](Operation *user) {
      return isa<LinearOp, EmbeddingOp>(user);
    });
    ParamOp param = getParam(op->getResult(0));
    if (isPacked && param.getPanels())
      return HostTensor();
    return params.read(param);
  }
  if (auto linear = dyn_cast<LinearOp>(op)) {
    auto matrix = getMatrix(linear.getWeight(), matrices);
    if (!matrix)
      return matrix.takeError();
    HostTensor bias =
        linear.getBias() ? values.lookup(linear.getBias()) : HostTensor();
    auto results = executeLinear(linear, {values.lookup(linear.getInput())},
                                 *matrix, bias);
    if (!results)
      return results.takeError();
    return results->front();
  }
  if (auto embedding = dyn_cast<EmbeddingOp>(op)) {
    auto matrix = getMatrix(embedding.getWeight(), matrices);
    if (!matrix)
      return matrix.takeError();
    return executeEmbedding(embedding, *matrix,
                            values.lookup(embedding.getIndices()));
  }
  SmallVector<HostTensor> operands;
  for (Value operand : op->getOperands())
    operands.push_back(values.lookup(operand));
  auto cached = dyn_cast<CachedAttentionOp>(op);
  return cached && attention ? attention(cached, operands)
                             : executeOp(op, operands);
}

llvm::Expected<HostTensor> Tape::forward(const ValueMap &inputs,
                                         const MatrixMap &matrices,
                                         bool keepsValues) {
  values = inputs;
  gradientsOfValues.clear();
  llvm::DenseMap<Value, int64_t> usesLeft;
  for (Operation *op : part.getOps())
    for (Value operand : op->getOperands())
      ++usesLeft[operand];
  ++usesLeft[part.getOutput()];
  for (Operation *op : part.getOps()) {
    // A bound value stands for its op.
    Value result = op->getResult(0);
    auto tensor = compute(op, matrices);
    if (!tensor)
      return fail(op, llvm::toString(tensor.takeError()));
    values[result] = *tensor;
    for (Value operand : op->getOperands()) {
      bool isStored = keepsValues && part.isActive(result);
      // What an active op reads is needed on the way back.
      if (isStored)
        ++usesLeft[operand];
      if (--usesLeft[operand] == 0)
        values.erase(operand);
    }
  }
  HostTensor output = values.lookup(part.getOutput());
  if (!keepsValues)
    values.clear();
  return output;
}

//===----------------------------------------------------------------------===//
// Backward
//===----------------------------------------------------------------------===//

void Tape::addGradient(Value value, HostTensor gradient) {
  HostTensor &known = gradientsOfValues[value];
  if (!known) {
    known = std::move(gradient);
    return;
  }
  // Tensors may share their data with others: the sum is a new one.
  HostTensor sum =
      HostTensor::uninitialized(known.getElementType(), known.getShape());
  const float *a = known.elements<float>().data(),
              *b = gradient.elements<float>().data();
  float *to = sum.mutableElements<float>().data();
  for (int64_t i = 0, count = sum.getNumElements(); i < count; ++i)
    to[i] = a[i] + b[i];
  known = std::move(sum);
}

llvm::Error Tape::backwardLinear(LinearOp op, const HostTensor &gradient,
                                 const MatrixMap &matrices,
                                 GradientMap &result) {
  auto matrix = getMatrix(op.getWeight(), matrices);
  if (!matrix)
    return matrix.takeError();
  int64_t depth = matrix->getDepth(), columns = matrix->getColumns();
  int64_t rows = gradient.getNumElements() / std::max<int64_t>(1, columns);
  const float *g = gradient.elements<float>().data();
  HostTensor x = values.lookup(op.getInput());
  if (part.isTrained(op) && observer) {
    observer(op, gradient, x);
  } else if (part.isTrained(op)) {
    // dW' = G' X
    std::vector<float> &sum = result[getWeightName(op)];
    sum.resize(columns * depth);
    multiplyMatrices(columns, depth, rows, {g, 1, columns},
                     {x.elements<float>().data(), depth}, sum.data(), depth,
                     ProductMode::Add);
  }
  if (part.isActive(op.getInput())) {
    // dX = G W'
    HostTensor target =
        HostTensor::uninitialized(x.getElementType(), x.getShape());
    HostTensor f32 = matrix->getData().converted(x.getElementType());
    const float *w = f32.elements<float>().data();
    multiplyMatrices(rows, depth, columns, {g, columns},
                     {w, matrix->getColumnStride(), matrix->getDepthStride()},
                     target.mutableElements<float>().data(), depth);
    addGradient(op.getInput(), std::move(target));
  }
  return llvm::Error::success();
}

llvm::Error Tape::backwardOp(Operation *op, const HostTensor &gradient) {
  SmallVector<HostTensor> operands;
  SmallVector<bool> wanted;
  for (Value operand : op->getOperands()) {
    operands.push_back(values.lookup(operand));
    wanted.push_back(part.isActive(operand));
  }
  std::string reason;
  auto gradients = gradientOp(op, operands, values.lookup(op->getResult(0)),
                              gradient, wanted, reason);
  if (failed(gradients))
    return fail(op, reason);
  for (auto [operand, tensor, isWanted] :
       llvm::zip(op->getOperands(), *gradients, wanted))
    if (isWanted)
      addGradient(operand, std::move(tensor));
  return llvm::Error::success();
}

llvm::Error Tape::backward(HostTensor gradient, const MatrixMap &matrices,
                           GradientMap &gradients) {
  gradientsOfValues.clear();
  gradientsOfValues[part.getOutput()] = std::move(gradient);
  for (Operation *op : llvm::reverse(part.getOps())) {
    auto found = gradientsOfValues.find(op->getResult(0));
    if (found == gradientsOfValues.end() || !part.isActive(op->getResult(0)))
      continue;
    HostTensor own = std::move(found->second);
    gradientsOfValues.erase(found);
    if (part.isLookUp(op)) {
      if (observer)
        observer(op, own, HostTensor());
      continue;
    }
    auto linear = dyn_cast<LinearOp>(op);
    llvm::Error error = linear
                            ? backwardLinear(linear, own, matrices, gradients)
                            : backwardOp(op, own);
    if (error)
      return error;
    // Nothing after this op reads its result any more.
    values.erase(op->getResult(0));
  }
  values.clear();
  gradientsOfValues.clear();
  return llvm::Error::success();
}
