//===- Run.cpp - Running a whole graph ------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Model.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

using namespace nju;

namespace {

struct Free {
  void operator()(void *block) const { free(block); }
};

/// Sizes that names of dynamic dimensions stand for, in one run.
class NamedSizes {
public:
  /// The size bound to `name`, which becomes `size` if there is none yet.
  int64_t bind(const std::string &name, int64_t size) {
    for (const auto &entry : sizes)
      if (entry.first == name)
        return entry.second;
    sizes.emplace_back(name, size);
    return size;
  }

private:
  std::vector<std::pair<std::string, int64_t>> sizes;
};

/// An output on its way to the caller: DLPack's struct and its shape.
struct OwnedTensor {
  DLManagedTensor tensor;
  int64_t shape[NJU_ABI_MAX_RANK];
};

/// One call of nju_model_run.
class GraphRun {
public:
  GraphRun(const Model &model, int32_t numThreads)
      : model(model), signature(model.getSignature()), numThreads(numThreads) {}
  ~GraphRun();

  nju_status addInput(const DLTensor &tensor, size_t index);
  nju_status execute();
  /// Hands output `index` over.
  DLManagedTensor *takeOutput(size_t index);

private:
  nju_status checkType(const DLTensor &tensor, const TensorType &type) const;
  nju_status bindShape(const char *kind, const TensorType &type,
                       const int64_t *shape);
  nju_status makeContiguous(const DLTensor &tensor, const TensorType &type,
                            nju_abi_tensor &input);

  const Model &model;
  const Signature &signature;
  int32_t numThreads;
  NamedSizes names;
  std::vector<nju_abi_tensor> inputs, outputs;
  std::vector<std::unique_ptr<void, Free>> copies;
};

} // namespace

GraphRun::~GraphRun() {
  for (nju_abi_tensor &output : outputs)
    free(output.data);
}

static std::string describeShape(const TensorType &type) {
  std::string text = "[";
  for (const Dimension &dimension : type.shape) {
    text += text.size() > 1 ? ", " : "";
    text +=
        dimension.size >= 0 ? std::to_string(dimension.size) : dimension.name;
  }
  return text + "]";
}

static std::string describeShape(const int64_t *shape, int rank) {
  std::string text = "[";
  for (int i = 0; i < rank; ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// "f32", or the code of DLPack where a type has no name.
static std::string describeType(DLDataType type) {
  std::string bits = std::to_string(type.bits);
  if (type.lanes != 1)
    return "vector of " + std::to_string(type.lanes);
  switch (type.code) {
  case kDLInt:
    return "i" + bits;
  case kDLUInt:
    return "u" + bits;
  case kDLFloat:
    return "f" + bits;
  case kDLBfloat:
    return "bf" + bits;
  case NJU_DL_BOOL:
    return "i1";
  default:
    return "DLPack code " + std::to_string(type.code) + " with " + bits +
           " bits";
  }
}

//===----------------------------------------------------------------------===//
// Inputs
//===----------------------------------------------------------------------===//

nju_status GraphRun::checkType(const DLTensor &tensor,
                               const TensorType &type) const {
  const char *name = type.name.c_str();
  if (tensor.device.device_type != kDLCPU)
    return fail(NJU_INVALID_ARGUMENT,
                "input '%s' is on device type %d, expected the CPU (%d)", name,
                int(tensor.device.device_type), int(kDLCPU));
  bool isBool = type.type->code == NJU_DL_BOOL;
  if ((tensor.dtype.code != type.type->code &&
       !(isBool && tensor.dtype.code == kDLUInt)) ||
      tensor.dtype.bits != type.type->bits || tensor.dtype.lanes != 1)
    return fail(NJU_INVALID_ARGUMENT,
                "input '%s' has elements of type %s, expected %s", name,
                describeType(tensor.dtype).c_str(), type.type->name);
  if (tensor.ndim != int(type.shape.size()))
    return fail(NJU_INVALID_ARGUMENT,
                "input '%s' has %d dimensions, expected %zu: %s", name,
                tensor.ndim, type.shape.size(), describeShape(type).c_str());
  return NJU_OK;
}

/// Compares a shape with the signature and binds its named dimensions.
nju_status GraphRun::bindShape(const char *kind, const TensorType &type,
                               const int64_t *shape) {
  int rank = type.shape.size();
  int64_t bytes = type.type->getSize();
  for (int i = 0; i < rank; ++i) {
    const Dimension &dimension = type.shape[i];
    if (shape[i] < 0 || __builtin_mul_overflow(bytes, shape[i], &bytes))
      return fail(NJU_INVALID_ARGUMENT, "%s '%s' has the impossible shape %s",
                  kind, type.name.c_str(), describeShape(shape, rank).c_str());
    int64_t expected = dimension.size;
    if (expected < 0)
      expected = dimension.name.empty() ? shape[i]
                                        : names.bind(dimension.name, shape[i]);
    if (shape[i] == expected)
      continue;
    if (dimension.size >= 0)
      return fail(NJU_INVALID_ARGUMENT, "%s '%s' has shape %s, expected %s",
                  kind, type.name.c_str(), describeShape(shape, rank).c_str(),
                  describeShape(type).c_str());
    return fail(NJU_INVALID_ARGUMENT,
                "%s '%s' has shape %s, but dimension '%s' is %" PRId64
                " already",
                kind, type.name.c_str(), describeShape(shape, rank).c_str(),
                dimension.name.c_str(), expected);
  }
  return NJU_OK;
}

static bool isContiguous(const DLTensor &tensor) {
  if (!tensor.strides)
    return true;
  int64_t stride = 1;
  for (int i = tensor.ndim - 1; i >= 0; --i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != stride)
      return false;
    stride *= tensor.shape[i];
  }
  return true;
}

/// Copies a strided tensor into row-major order, one innermost row at a time.
static void copyStrided(const DLTensor &tensor, const uint8_t *source,
                        size_t size, uint8_t *target) {
  int last = tensor.ndim - 1;
  int64_t index[NJU_ABI_MAX_RANK] = {};
  for (;;) {
    const uint8_t *row = source;
    for (int i = 0; i < last; ++i)
      row += index[i] * tensor.strides[i] * int64_t(size);
    for (int64_t i = 0; i < tensor.shape[last]; ++i, target += size)
      memcpy(target, row + i * tensor.strides[last] * int64_t(size), size);
    int axis = last - 1;
    while (axis >= 0 && ++index[axis] == tensor.shape[axis])
      index[axis--] = 0;
    if (axis < 0)
      return;
  }
}

nju_status GraphRun::makeContiguous(const DLTensor &tensor,
                                    const TensorType &type,
                                    nju_abi_tensor &input) {
  size_t size = type.type->getSize();
  size_t count = 1;
  for (int i = 0; i < tensor.ndim; ++i)
    count *= tensor.shape[i];
  auto *data = static_cast<uint8_t *>(tensor.data) + tensor.byte_offset;
  if (count && !tensor.data)
    return fail(NJU_INVALID_ARGUMENT, "input '%s' has no data",
                type.name.c_str());
  bool isAligned = reinterpret_cast<uintptr_t>(data) % size == 0;
  if (count == 0 || (isAligned && isContiguous(tensor))) {
    input.data = data;
    return NJU_OK;
  }
  copies.emplace_back(malloc(count * size));
  if (!copies.back())
    return fail(NJU_RESOURCE_EXHAUSTED,
                "no memory to copy input '%s' of %zu bytes", type.name.c_str(),
                count * size);
  input.data = copies.back().get();
  if (isContiguous(tensor))
    memcpy(input.data, data, count * size);
  else
    copyStrided(tensor, data, size, static_cast<uint8_t *>(input.data));
  return NJU_OK;
}

nju_status GraphRun::addInput(const DLTensor &tensor, size_t index) {
  const TensorType &type = signature.inputs[index];
  if (nju_status status = checkType(tensor, type))
    return status;
  if (tensor.ndim && !tensor.shape)
    return fail(NJU_INVALID_ARGUMENT, "input '%s' has no shape",
                type.name.c_str());
  if (nju_status status = bindShape("input", type, tensor.shape))
    return status;
  nju_abi_tensor input = {};
  std::copy(tensor.shape, tensor.shape + tensor.ndim, input.shape);
  if (nju_status status = makeContiguous(tensor, type, input))
    return status;
  inputs.push_back(input);
  return NJU_OK;
}

//===----------------------------------------------------------------------===//
// Execution and outputs
//===----------------------------------------------------------------------===//

/// The message with its numbers.
static std::string describeError(const nju_abi_run_args &args) {
  std::string text = args.error;
  for (int i = 0; i < 2; ++i) {
    std::string place = "{" + std::to_string(i) + "}";
    // The last: the message may begin with a name that looks like one.
    if (size_t at = text.rfind(place); at != std::string::npos)
      text.replace(at, place.size(), std::to_string(args.error_values[i]));
  }
  return text;
}

nju_status GraphRun::execute() {
  outputs.resize(signature.outputs.size());
  nju_abi_run_args args = {};
  args.inputs = inputs.data();
  args.outputs = outputs.data();
  args.weights = model.getWeights();
  args.num_threads = numThreads;
  int32_t code = model.getCode().run(&args);
  if (code && args.error)
    return fail(NJU_INVALID_ARGUMENT,
                "the inputs of model '%s' contradict each other: %s",
                signature.name.c_str(), describeError(args).c_str());
  if (code)
    return fail(NJU_INTERNAL, "the run of model '%s' failed with code %" PRId32,
                signature.name.c_str(), code);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (bindShape("output", signature.outputs[i], outputs[i].shape))
      return fail(NJU_INTERNAL, "model '%s' made a wrong output: %s",
                  signature.name.c_str(), nju_last_error_message());
  return NJU_OK;
}

static void deleteOwnedTensor(DLManagedTensor *tensor) {
  auto *owned = static_cast<OwnedTensor *>(tensor->manager_ctx);
  free(owned->tensor.dl_tensor.data);
  delete owned;
}

DLManagedTensor *GraphRun::takeOutput(size_t index) {
  const TensorType &type = signature.outputs[index];
  auto *owned = new OwnedTensor();
  std::copy(std::begin(outputs[index].shape), std::end(outputs[index].shape),
            owned->shape);
  DLTensor &tensor = owned->tensor.dl_tensor;
  tensor.data = outputs[index].data;
  tensor.device = {kDLCPU, 0};
  tensor.ndim = type.shape.size();
  tensor.dtype = {type.type->code, type.type->bits, 1};
  tensor.shape = owned->shape;
  owned->tensor.manager_ctx = owned;
  owned->tensor.deleter = deleteOwnedTensor;
  outputs[index].data = nullptr;
  return &owned->tensor;
}

static nju_status checkCounts(const Signature &signature,
                              const DLTensor *inputs, size_t numInputs,
                              size_t numOutputs) {
  if (signature.isLanguageModel)
    return fail(NJU_INVALID_ARGUMENT,
                "model '%s' is a language model: create a session",
                signature.name.c_str());
  if (numInputs != signature.inputs.size())
    return fail(NJU_INVALID_ARGUMENT,
                "got %zu inputs, model '%s' has %zu of them", numInputs,
                signature.name.c_str(), signature.inputs.size());
  if (numOutputs != signature.outputs.size())
    return fail(NJU_INVALID_ARGUMENT,
                "got room for %zu outputs, model '%s' has %zu of them",
                numOutputs, signature.name.c_str(), signature.outputs.size());
  if (numInputs && !inputs)
    return fail(NJU_INVALID_ARGUMENT, "inputs are NULL");
  return NJU_OK;
}

nju_status nju_model_run(const nju_model *model, const DLTensor *inputs,
                         size_t num_inputs, int num_threads, size_t num_outputs,
                         DLManagedTensor **out_outputs) {
  if (num_outputs && !out_outputs)
    return fail(NJU_INVALID_ARGUMENT, "out_outputs is NULL");
  std::fill_n(out_outputs, num_outputs, nullptr);
  if (!model)
    return fail(NJU_INVALID_ARGUMENT, "model is NULL");
  nju_status status = guard([&] {
    const Signature &signature = model->model->getSignature();
    if (nju_status status =
            checkCounts(signature, inputs, num_inputs, num_outputs))
      return status;
    int32_t numThreads;
    if (nju_status status = resolveThreads(num_threads, numThreads))
      return status;
    GraphRun run(*model->model, numThreads);
    for (size_t i = 0; i < num_inputs; ++i)
      if (nju_status status = run.addInput(inputs[i], i))
        return status;
    if (nju_status status = run.execute())
      return status;
    for (size_t i = 0; i < num_outputs; ++i)
      out_outputs[i] = run.takeOutput(i);
    return NJU_OK;
  });
  for (size_t i = 0; status && i < num_outputs; ++i)
    if (out_outputs[i]) {
      out_outputs[i]->deleter(out_outputs[i]);
      out_outputs[i] = nullptr;
    }
  return status;
}
