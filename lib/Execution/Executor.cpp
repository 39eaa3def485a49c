//===- Executor.cpp - Runs a model on the host ----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Execution/Executor.h"

#include "nju/Execution/ExecuteOp.h"

using namespace mlir;
using namespace nju;

ExecutionListener::~ExecutionListener() = default;

//===----------------------------------------------------------------------===//
// What is run
//===----------------------------------------------------------------------===//

/// The param that a packed weight of `nju.linear` or `nju.embedding` is.
ParamOp Executor::findParam(Value weight) {
  auto ref = weight.getDefiningOp<ParamRefOp>();
  if (!ref)
    return nullptr;
  ParamOp param = function->getParentOfType<ModuleOp>().lookupSymbol<ParamOp>(
      ref.getParam());
  return param && param.getPanels() ? param : nullptr;
}

/// Adds the ops that a value depends on.
void Executor::addNeeded(Value value, llvm::DenseSet<Operation *> &needed) {
  SmallVector<Value> stack = {value};
  while (!stack.empty()) {
    Operation *op = stack.pop_back_val().getDefiningOp();
    if (!op || !needed.insert(op).second)
      continue;
    stack.append(op->operand_begin(), op->operand_end());
  }
}

/// Finds the ops to be run and how often each value and weight is used.
void Executor::plan(bool forListener) {
  Block &body = function.getBody().front();
  llvm::DenseSet<Operation *> needed;
  products.clear();
  if (listener)
    for (auto linear : body.getOps<LinearOp>())
      if (findParam(linear.getWeight()))
        products[linear.getInput()].push_back(linear);
  if (forListener) {
    for (auto &entry : products)
      addNeeded(entry.first, needed);
  } else {
    for (Value result : body.getTerminator()->getOperands())
      addNeeded(result, needed);
    needed.insert(body.getTerminator());
  }
  ops.clear();
  usesLeft.clear();
  weightUsesLeft.clear();
  for (Operation &op : body) {
    if (!needed.contains(&op))
      continue;
    for (Value operand : op.getOperands()) {
      ParamOp packed = findParam(operand);
      packed ? ++weightUsesLeft[packed] : ++usesLeft[operand];
    }
    auto ref = dyn_cast<ParamRefOp>(op);
    if (!op.hasTrait<OpTrait::IsTerminator>() && !(ref && findParam(ref)))
      ops.push_back(&op);
  }
}

//===----------------------------------------------------------------------===//
// Values in memory
//===----------------------------------------------------------------------===//

/// Adds `values` values, or takes them away, to those that share the memory.
void Executor::count(const HostTensor &tensor, int64_t values) {
  LiveBytes &entry = live[tensor.bytes()];
  if (entry.values == 0) {
    entry.bytes = tensor.getNumBytes();
    liveBytes += entry.bytes;
    statistics.peakBytes = std::max(statistics.peakBytes, liveBytes);
  }
  entry.values += values;
  if (entry.values == 0) {
    liveBytes -= entry.bytes;
    live.erase(tensor.bytes());
  }
}

/// The memory belongs to values of this run alone.
void Executor::own(const HostTensor &tensor) {
  live[tensor.bytes()].isOwn = true;
}

llvm::Error Executor::set(Value value, RunTensors tensors) {
  for (const HostTensor &tensor : tensors)
    count(tensor, 1);
  RunTensors &runs = values[value] = std::move(tensors);
  if (products.contains(value))
    if (llvm::Error failed = announce(value, runs))
      return failed;
  if (usesLeft.lookup(value) == 0) {
    usesLeft[value] = 1;
    release(value);
  }
  return llvm::Error::success();
}

/// One use less.
void Executor::release(Value value) {
  auto found = values.find(value);
  if (--usesLeft[value] > 0 || found == values.end())
    return;
  for (const HostTensor &tensor : found->second)
    count(tensor, -1);
  values.erase(found);
}

llvm::Expected<WeightMatrix> Executor::readWeight(ParamOp param) {
  WeightMatrix &weight = weights[param];
  if (weight)
    return weight;
  llvm::Expected<WeightMatrix> read = params.readMatrix(param);
  if (!read)
    return read.takeError();
  statistics.weightBytes += read->getData().getNumBytes();
  count(read->getData(), 1);
  return weight = *read;
}

/// Drops a weight that nothing is going to use.
void Executor::releaseWeight(ParamOp param) {
  auto found = weights.find(param);
  if (found == weights.end() || weightUsesLeft.lookup(param) > 0)
    return;
  count(found->second.getData(), -1);
  weights.erase(found);
  auto other = replaced.find(param);
  if (other == replaced.end())
    return;
  count(other->second.getData(), -1);
  replaced.erase(other);
}

/// A use of a weight is over; it was in memory beside the results.
void Executor::finishWeight(ParamOp param, const RunTensors &results) {
  for (const HostTensor &result : results)
    count(result, 1);
  --weightUsesLeft[param];
  releaseWeight(param);
  for (const HostTensor &result : results)
    count(result, -1);
}

/// Tells the listener of an input and the weights that it feeds.
llvm::Error Executor::announce(Value input, const RunTensors &runs) {
  llvm::SmallVector<ExecutionListener::Weight> fed;
  for (LinearOp linear : products.lookup(input)) {
    ParamOp param = findParam(linear.getWeight());
    if (llvm::any_of(fed, [&](auto &weight) { return weight.param == param; }))
      continue;
    llvm::Expected<WeightMatrix> weight = readWeight(param);
    if (!weight)
      return weight.takeError();
    fed.push_back({param, *weight});
  }
  // The listener may keep what it is given.
  for (const HostTensor &run : runs)
    live[run.bytes()].isOwn = false;
  if (llvm::Error failed = listener->onProducts(input, getReplaced(runs),
                                                getOriginal(runs), fed))
    return failed;
  for (ExecutionListener::Weight &weight : fed) {
    if (llvm::Error failed = replace(weight))
      return failed;
    releaseWeight(weight.param);
  }
  return llvm::Error::success();
}

/// Takes what the listener left in the place of a weight.
llvm::Error Executor::replace(ExecutionListener::Weight &weight) {
  const WeightMatrix &own = weights[weight.param];
  if (weight.matrix.getDepth() != own.getDepth() ||
      weight.matrix.getColumns() != own.getColumns())
    return llvm::createStringError("weight '" + weight.param.getSymName() +
                                   "' was replaced by one of another shape");
  if (weight.matrix.getData().bytes() == own.getData().bytes())
    return llvm::Error::success();
  count(weight.matrix.getData(), 1);
  auto [known, isNew] = replaced.try_emplace(weight.param, weight.matrix);
  if (!isNew) {
    count(known->second.getData(), -1);
    known->second = weight.matrix;
  }
  return llvm::Error::success();
}

ArrayRef<HostTensor> Executor::getOriginal(ArrayRef<HostTensor> runs) const {
  return runs.size() > numRuns ? runs.take_front(numRuns) : runs;
}
ArrayRef<HostTensor> Executor::getReplaced(ArrayRef<HostTensor> runs) const {
  return runs.size() > numRuns ? runs.drop_front(numRuns) : runs;
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

llvm::Expected<RunTensors> Executor::computeLinear(LinearOp op) {
  ParamOp param = findParam(op.getWeight());
  llvm::Expected<WeightMatrix> weight = readWeight(param);
  if (!weight)
    return weight.takeError();
  HostTensor bias;
  if (op.getBias()) {
    const RunTensors &runs = values[op.getBias()];
    if (runs.size() > 1)
      return llvm::createStringError("its bias depends on the tokens");
    bias = runs[0];
  }
  auto results = multiply(op, param, bias);
  if (results) {
    finishWeight(param, *results);
    llvm::for_each(*results, [&](auto &result) { own(result); });
  }
  return results;
}

/// The products with a weight, and if it was replaced those with what is in its
/// place.
llvm::Expected<RunTensors> Executor::multiply(LinearOp op, ParamOp param,
                                              const HostTensor &bias) {
  const RunTensors &inputs = values[op.getInput()];
  auto other = replaced.find(param);
  if (other == replaced.end())
    return executeLinear(op, inputs, weights[param], bias);
  auto results = executeLinear(op, getOriginal(inputs), weights[param], bias);
  if (!results)
    return results;
  auto others = executeLinear(op, getReplaced(inputs), other->second, bias);
  if (!others)
    return others;
  for (RunTensors *tensors : {&*results, &*others})
    if (tensors->size() == 1)
      tensors->resize(numRuns, HostTensor(tensors->front()));
  results->append(others->begin(), others->end());
  return results;
}

llvm::Expected<RunTensors> Executor::computeEmbedding(EmbeddingOp op) {
  ParamOp param = findParam(op.getWeight());
  llvm::Expected<WeightMatrix> weight = readWeight(param);
  if (!weight)
    return weight.takeError();
  RunTensors results;
  for (const HostTensor &indices : values[op.getIndices()]) {
    llvm::Expected<HostTensor> rows = executeEmbedding(op, *weight, indices);
    if (!rows)
      return rows.takeError();
    results.push_back(*rows);
  }
  finishWeight(param, results);
  return results;
}

/// Weights that experts have are read as tokens choose them.
llvm::Expected<RunTensors> Executor::computeExperts(ExpertLinearOp op) {
  auto paramOf = [&](int64_t expert) {
    return findParam(op.getWeights()[expert]);
  };
  const RunTensors &inputs = values[op.getInput()],
                   &choices = values[op.getChoices()];
  RunTensors results;
  for (size_t run = 0, runs = std::max(inputs.size(), choices.size());
       run < runs; ++run) {
    llvm::Expected<HostTensor> result = executeExperts(
        op, inputs[run % inputs.size()], choices[run % choices.size()],
        [&](int64_t expert) { return readWeight(paramOf(expert)); });
    if (!result)
      return result.takeError();
    own(*result);
    results.push_back(*result);
  }
  for (size_t expert = 0; expert < op.getWeights().size(); ++expert)
    finishWeight(paramOf(expert), results);
  return results;
}

llvm::Expected<RunTensors> Executor::compute(Operation *op) {
  if (auto linear = dyn_cast<LinearOp>(op);
      linear && findParam(linear.getWeight()))
    return computeLinear(linear);
  if (auto experts = dyn_cast<ExpertLinearOp>(op);
      experts && llvm::all_of(experts.getWeights(),
                              [&](Value weight) { return findParam(weight); }))
    return computeExperts(experts);
  if (auto embedding = dyn_cast<EmbeddingOp>(op);
      embedding && findParam(embedding.getWeight()))
    return computeEmbedding(embedding);
  if (auto ref = dyn_cast<ParamRefOp>(op)) {
    auto param = function->getParentOfType<ModuleOp>().lookupSymbol<ParamOp>(
        ref.getParam());
    llvm::Expected<HostTensor> tensor = params.read(param);
    if (!tensor)
      return tensor.takeError();
    statistics.weightBytes += tensor->getNumBytes();
    return RunTensors{*tensor};
  }
  size_t runs = 1;
  for (Value operand : op->getOperands())
    runs = std::max<size_t>(runs, values[operand].size());
  RunTensors results;
  for (size_t run = 0; run < runs; ++run) {
    SmallVector<HostTensor> operands;
    for (Value operand : op->getOperands()) {
      const RunTensors &tensors = values[operand];
      operands.push_back(tensors[run % tensors.size()]);
    }
    const HostTensor *room = findRoom(op, operands, runs);
    llvm::Expected<HostTensor> result = executeOp(op, operands, room);
    if (!result)
      return result.takeError();
    if (!operands.empty() && llvm::none_of(operands, [&](auto &operand) {
          return operand.bytes() == result->bytes();
        }))
      own(*result);
    results.push_back(*result);
  }
  return results;
}

/// An operand that only this op reads, once, and whose memory was made for it.
const HostTensor *
Executor::findRoom(Operation *op, ArrayRef<HostTensor> operands, size_t runs) {
  for (auto [value, tensor] : llvm::zip(op->getOperands(), operands)) {
    auto found = live.find(tensor.bytes());
    if (usesLeft.lookup(value) == 1 && values[value].size() == runs &&
        found != live.end() && found->second.values == 1 && found->second.isOwn)
      return &tensor;
  }
  return nullptr;
}

/// What a diagnostic calls an op.
static std::string nameOf(Operation *op) {
  if (auto name = dyn_cast<NameLoc>(op->getLoc()))
    return name.getName().str();
  return "'" + op->getName().getStringRef().str() + "'";
}

llvm::Error Executor::runOp(Operation *op) {
  llvm::Expected<RunTensors> results = compute(op);
  if (!results)
    return llvm::createStringError(nameOf(op) + ": " +
                                   llvm::toString(results.takeError()));
  if (llvm::Error failed = set(op->getResult(0), std::move(*results)))
    return failed;
  for (Value operand : op->getOperands())
    if (!findParam(operand))
      release(operand);
  return llvm::Error::success();
}

llvm::Error Executor::runOps(llvm::SmallVector<RunTensors> arguments) {
  values.clear();
  weights.clear();
  replaced.clear();
  live.clear();
  liveBytes = 0;
  statistics = ExecutionStatistics();
  numRuns = 1;
  for (const RunTensors &argument : arguments)
    numRuns = std::max<size_t>(numRuns, argument.size());
  for (auto [argument, runs] : llvm::zip(function.getArguments(), arguments))
    if (llvm::Error failed = set(argument, std::move(runs)))
      return failed;
  for (Operation *op : ops)
    if (llvm::Error failed = runOp(op))
      return failed;
  return llvm::Error::success();
}

llvm::Expected<llvm::SmallVector<RunTensors>>
Executor::run(llvm::SmallVector<RunTensors> arguments) {
  plan(/*forListener=*/false);
  if (llvm::Error failed = runOps(std::move(arguments)))
    return failed;
  llvm::SmallVector<RunTensors> results;
  for (Value result : function.getBody().front().getTerminator()->getOperands())
    results.emplace_back(getReplaced(values[result]));
  values.clear();
  return results;
}

llvm::Error Executor::runForListener(llvm::SmallVector<RunTensors> arguments) {
  plan(/*forListener=*/true);
  return runOps(std::move(arguments));
}
