//===- NodeImporter.cpp - Imports one node -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeImporter.h"

using namespace mlir;
using namespace nju::onnx_import;

/// "Add" or "com.microsoft.Gelu".
static std::string qualifiedType(const onnx::NodeProto &node) {
  llvm::StringRef domain = canonicalDomain(node.domain());
  return (domain + (domain.empty() ? "" : ".") + node.op_type()).str();
}

static Location nodeLocation(MLIRContext *context, const Scope &scope,
                             const onnx::NodeProto &node) {
  std::string text =
      scope.prefix + nodeName(node) + " (" + qualifiedType(node) + ")";
  return NameLoc::get(StringAttr::get(context, text));
}

NodeImporter::NodeImporter(GraphImporter &importer, Scope &scope,
                           const onnx::NodeProto &proto, int64_t opset)
    : importer(importer), scope(scope), proto(proto), nodeOpset(opset),
      loc(nodeLocation(importer.getContext(), scope, proto)),
      outputs(proto.output_size()) {}

InFlightDiagnostic NodeImporter::emitError() {
  InFlightDiagnostic error = importer.emitError();
  // One error a node: later ones would only be consequences of it.
  if (failedAlready)
    error.abandon();
  failedAlready = true;
  error << "node '" << scope.prefix << nodeName(proto) << "' ("
        << qualifiedType(proto) << ", opset " << nodeOpset << "): ";
  return error;
}

//===----------------------------------------------------------------------===//
// The frame around a handler
//===----------------------------------------------------------------------===//

const OpEntry *NodeImporter::findEntry() {
  llvm::StringRef domain = canonicalDomain(proto.domain());
  llvm::StringRef domainName = domain.empty() ? "ai.onnx" : domain;
  const auto *entries = OpRegistry::get().lookup(domain, proto.op_type());
  if (!entries) {
    emitError() << "op '" << proto.op_type() << "' of domain '" << domainName
                << "' is not supported, and the model has no function of this "
                << "name";
    return nullptr;
  }
  if (nodeOpset == 0) {
    emitError() << "the model imports no opset of domain '" << domainName
                << "'";
    return nullptr;
  }
  for (const OpEntry &entry : *entries)
    if (entry.since <= nodeOpset)
      return &entry;
  emitError() << "is supported from opset " << entries->back().since
              << " of domain '" << domainName
              << "' on; export the model with a newer opset";
  return nullptr;
}

LogicalResult NodeImporter::checkInputs(const OpEntry &entry) {
  int count = proto.input_size();
  for (; count > 0 && proto.input(count - 1).empty();)
    --count;
  if (count < entry.inputs.min || count > entry.inputs.max) {
    InFlightDiagnostic error = emitError();
    error << "has " << count << " inputs, expected ";
    if (entry.inputs.max == Arity::kAny)
      return error << "at least " << entry.inputs.min;
    if (entry.inputs.max != entry.inputs.min)
      return error << entry.inputs.min << " to " << entry.inputs.max;
    return error << entry.inputs.min;
  }
  for (int i = 0; i < entry.inputs.min && !failedAlready; ++i)
    requireInput(i);
  return failure(failedAlready);
}

bool NodeImporter::requireInput(int index) {
  if (hasInput(index))
    return true;
  if (!failedAlready)
    emitError() << "has no input " << index << ", expected one";
  return false;
}

LogicalResult NodeImporter::checkAttributes() {
  for (const onnx::AttributeProto &attribute : proto.attribute())
    if (!usedAttributes.contains(attribute.name()))
      return emitError() << "has attribute '" << attribute.name()
                         << "', which is not supported in this opset";
  return success();
}

LogicalResult NodeImporter::defineOutputs() {
  for (int i = 0; i < proto.output_size(); ++i) {
    if (proto.output(i).empty())
      continue;
    ImportedValue &value = outputs[i];
    if (value.kind == ImportedValue::Absent) {
      value.kind = ImportedValue::Unsupported;
      value.what = "output " + std::to_string(i) + " of node '" + scope.prefix +
                   nodeName(proto) + "' (" + qualifiedType(proto) + ")";
    }
    if (failed(importer.define(scope, proto.output(i), std::move(value))))
      return failure();
  }
  return success();
}

LogicalResult NodeImporter::run() {
  const OpEntry *entry = findEntry();
  if (!entry || failed(checkInputs(*entry)))
    return failure();
  entry->handler(*this);
  if (failedAlready || failed(checkAttributes()))
    return failure();
  return defineOutputs();
}

//===----------------------------------------------------------------------===//
// Inputs and outputs
//===----------------------------------------------------------------------===//

const ImportedValue *NodeImporter::lookupInput(int index) {
  if (index >= proto.input_size() || proto.input(index).empty() ||
      failedAlready)
    return nullptr;
  const std::string &name = proto.input(index);
  FailureOr<const ImportedValue *> value = importer.lookup(scope, name);
  if (failed(value)) {
    failedAlready = true;
    return nullptr;
  }
  if (!*value) {
    emitError() << "input '" << name
                << "' is neither an input, an initializer nor an output of a "
                << "node";
    return nullptr;
  }
  if ((*value)->kind == ImportedValue::Unsupported) {
    emitError() << "uses " << (*value)->what << ", which is not supported";
    return nullptr;
  }
  return (*value)->kind == ImportedValue::Absent ? nullptr : *value;
}

bool NodeImporter::hasInput(int index) {
  // No op is made of an initializer by asking for it.
  return findInitializer(index) || lookupInput(index);
}

bool NodeImporter::wantsOutput(int index) const {
  return index < proto.output_size() && !proto.output(index).empty();
}

Value NodeImporter::input(int index) {
  const ImportedValue *value = lookupInput(index);
  if (!value)
    return {};
  if (value->kind == ImportedValue::Tensor)
    return value->tensor;
  if (value->kind == ImportedValue::Packed) {
    emitError() << "input '" << proto.input(index) << "' has element type "
                << dataTypeName(value->packed->data_type())
                << ", expected a float, integer or BOOL type of 8 to 64 bits";
    return {};
  }
  emitError() << "input '" << proto.input(index)
              << "' is a sequence, expected a tensor";
  return {};
}

SmallVector<Value> NodeImporter::inputs() {
  SmallVector<Value> values;
  for (int i = 0; i < numInputs(); ++i) {
    values.push_back(input(i));
    requireInput(i);
  }
  return values;
}

SmallVector<Value> NodeImporter::inputSequence(int index) {
  const ImportedValue *value = lookupInput(index);
  if (value && value->kind == ImportedValue::Sequence)
    return llvm::to_vector_of<Value>(value->sequence);
  if (!failedAlready)
    emitError() << "input '" << proto.input(index)
                << "' is a tensor, expected a sequence";
  return {};
}

void NodeImporter::setOutput(int index, Value value) {
  if (!value || index >= static_cast<int>(outputs.size()))
    return;
  outputs[index].kind = ImportedValue::Tensor;
  outputs[index].tensor = value;
}

void NodeImporter::setOutputSequence(int index, ArrayRef<Value> values) {
  if (index >= static_cast<int>(outputs.size()))
    return;
  outputs[index].kind = ImportedValue::Sequence;
  outputs[index].sequence.assign(values.begin(), values.end());
}

void NodeImporter::setOutput(int index, const ImportedValue &value) {
  if (index < static_cast<int>(outputs.size()))
    outputs[index] = value;
}

const onnx::TensorProto *NodeImporter::findInitializer(int index) const {
  if (index >= proto.input_size() || proto.input(index).empty() ||
      failedAlready)
    return nullptr;
  return GraphImporter::findInitializer(scope, proto.input(index));
}

/// The data of an op that is a constant or a weight as it is stored.
static Attribute storedData(Value value) {
  if (auto constant = value.getDefiningOp<nju::ConstantOp>())
    return constant.getValue();
  auto ref = value.getDefiningOp<nju::ParamRefOp>();
  auto param = ref ? SymbolTable::lookupNearestSymbolFrom<nju::ParamOp>(
                         ref, ref.getParamAttr())
                   : nju::ParamOp();
  return param ? param.getData() : Attribute();
}

std::optional<StoredTensor> NodeImporter::storedInput(int index) {
  // The initializer itself where there is one: its name stays free.
  const onnx::TensorProto *tensor = findInitializer(index);
  const ImportedValue *value = tensor ? nullptr : lookupInput(index);
  if (value && value->kind == ImportedValue::Packed)
    tensor = value->packed;
  StoredTensor stored;
  stored.name = index < proto.input_size() ? proto.input(index) : "";
  if (tensor) {
    auto emit = [&]() {
      return emitError() << "input '" << stored.name << "' ";
    };
    FailureOr<Attribute> data =
        loadStored(*tensor, importer.getSource(), importer.getContext(), emit);
    if (failed(data))
      return std::nullopt;
    stored.data = *data;
    stored.shape.assign(tensor->dims().begin(), tensor->dims().end());
    stored.packed = packedType(tensor->data_type());
    if (!stored.packed)
      stored.type =
          onnx_import::elementType(tensor->data_type(), importer.getContext());
  } else if (value && value->kind == ImportedValue::Tensor) {
    // A reshape leaves the bytes as they are.
    Value source = value->tensor;
    while (auto reshape = source.getDefiningOp<nju::ReshapeOp>())
      source = reshape.getInput();
    stored.data = storedData(source);
    auto type = llvm::cast<RankedTensorType>(value->tensor.getType());
    stored.shape.assign(type.getShape().begin(), type.getShape().end());
    stored.type = type.getElementType();
  }
  // What came quantized is a weight, but no tensor of the model.
  if (!isa_and_present<FileDataAttr, ElementsAttr>(stored.data))
    return std::nullopt;
  if (stored.type && stored.type.isInteger(8))
    stored.packed = PackedType{8, !stored.type.isUnsignedInteger()};
  return stored;
}

llvm::StringRef NodeImporter::outputName(int index) const {
  return index < proto.output_size() ? llvm::StringRef(proto.output(index))
                                     : llvm::StringRef();
}

void NodeImporter::forwardInput(int inputIndex, int outputIndex) {
  if (const ImportedValue *value = lookupInput(inputIndex))
    setOutput(outputIndex, *value);
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

const onnx::AttributeProto *
nju::onnx_import::resolveAttribute(const onnx::NodeProto &node,
                                   llvm::StringRef name, const Scope &scope) {
  for (const onnx::AttributeProto &attribute : node.attribute()) {
    if (attribute.name() != name)
      continue;
    if (attribute.ref_attr_name().empty())
      return &attribute;
    return scope.attributes
               ? scope.attributes->lookup(attribute.ref_attr_name())
               : nullptr;
  }
  return nullptr;
}

/// The type of an attribute; old files leave it out.
static onnx::AttributeProto::AttributeType
attributeType(const onnx::AttributeProto &attribute) {
  using Attribute = onnx::AttributeProto;
  if (attribute.type() != Attribute::UNDEFINED)
    return attribute.type();
  return attribute.has_i()             ? Attribute::INT
         : attribute.has_f()           ? Attribute::FLOAT
         : attribute.has_s()           ? Attribute::STRING
         : attribute.has_t()           ? Attribute::TENSOR
         : attribute.has_g()           ? Attribute::GRAPH
         : attribute.ints_size() > 0   ? Attribute::INTS
         : attribute.floats_size() > 0 ? Attribute::FLOATS
                                       : Attribute::UNDEFINED;
}

const onnx::AttributeProto *
NodeImporter::findAttr(llvm::StringRef name,
                       onnx::AttributeProto::AttributeType type) {
  usedAttributes.insert(name);
  const onnx::AttributeProto *attribute = resolveAttribute(proto, name, scope);
  if (!attribute || failedAlready)
    return nullptr;
  onnx::AttributeProto::AttributeType found = attributeType(*attribute);
  if (found == type)
    return attribute;
  emitError() << "attribute '" << name << "' is of type "
              << onnx::AttributeProto::AttributeType_Name(found)
              << ", expected "
              << onnx::AttributeProto::AttributeType_Name(type);
  return nullptr;
}

std::optional<int64_t> NodeImporter::intAttr(llvm::StringRef name) {
  const auto *attribute = findAttr(name, onnx::AttributeProto::INT);
  return attribute ? std::optional<int64_t>(attribute->i()) : std::nullopt;
}

int64_t NodeImporter::intAttr(llvm::StringRef name, int64_t defaultValue) {
  return intAttr(name).value_or(defaultValue);
}

bool NodeImporter::boolAttr(llvm::StringRef name, bool defaultValue) {
  return intAttr(name, defaultValue) != 0;
}

std::optional<double> NodeImporter::floatAttr(llvm::StringRef name) {
  const auto *attribute = findAttr(name, onnx::AttributeProto::FLOAT);
  return attribute ? std::optional<double>(attribute->f()) : std::nullopt;
}

double NodeImporter::floatAttr(llvm::StringRef name, double defaultValue) {
  return floatAttr(name).value_or(defaultValue);
}

std::string NodeImporter::stringAttr(llvm::StringRef name,
                                     llvm::StringRef defaultValue) {
  const auto *attribute = findAttr(name, onnx::AttributeProto::STRING);
  return attribute ? attribute->s() : defaultValue.str();
}

std::optional<SmallVector<int64_t>>
NodeImporter::intsAttr(llvm::StringRef name) {
  const auto *attribute = findAttr(name, onnx::AttributeProto::INTS);
  if (!attribute)
    return std::nullopt;
  return SmallVector<int64_t>(attribute->ints().begin(),
                              attribute->ints().end());
}

std::optional<SmallVector<float>>
NodeImporter::floatsAttr(llvm::StringRef name) {
  const auto *attribute = findAttr(name, onnx::AttributeProto::FLOATS);
  if (!attribute)
    return std::nullopt;
  return SmallVector<float>(attribute->floats().begin(),
                            attribute->floats().end());
}

const onnx::TensorProto *NodeImporter::tensorAttr(llvm::StringRef name) {
  const auto *attribute = findAttr(name, onnx::AttributeProto::TENSOR);
  return attribute ? &attribute->t() : nullptr;
}

const onnx::GraphProto *NodeImporter::graphAttr(llvm::StringRef name) {
  const auto *attribute = findAttr(name, onnx::AttributeProto::GRAPH);
  return attribute ? &attribute->g() : nullptr;
}

Value NodeImporter::importTensor(const onnx::TensorProto &tensor,
                                 llvm::StringRef name) {
  FailureOr<Value> value = importer.importTensor(
      tensor, name, loc, [&]() { return emitError() << "tensor "; });
  failedAlready |= failed(value);
  return failed(value) ? Value() : *value;
}

//===----------------------------------------------------------------------===//
// What is known of values
//===----------------------------------------------------------------------===//

Type NodeImporter::elementType(Value value) const {
  return value ? llvm::cast<RankedTensorType>(value.getType()).getElementType()
               : Type();
}

int64_t NodeImporter::rank(Value value) const {
  return value ? llvm::cast<RankedTensorType>(value.getType()).getRank() : 0;
}

SmallVector<nju::SymbolicExpr> NodeImporter::dims(Value value) {
  if (!value)
    return {};
  return llvm::to_vector(importer.shapes.dims(value));
}

std::optional<int64_t> NodeImporter::staticDim(Value value, int64_t index) {
  if (!value || index < 0 || index >= rank(value))
    return std::nullopt;
  int64_t dim = llvm::cast<RankedTensorType>(value.getType()).getDimSize(index);
  return ShapedType::isDynamic(dim) ? std::nullopt
                                    : std::optional<int64_t>(dim);
}

std::optional<SmallVector<int64_t>> NodeImporter::constantInts(Value value) {
  if (!value || !elementType(value).isInteger() || rank(value) > 1)
    return std::nullopt;
  if (auto constant = value.getDefiningOp<ConstantOp>()) {
    SmallVector<int64_t> values;
    bool isSigned = !elementType(value).isUnsignedInteger() &&
                    !elementType(value).isInteger(1);
    for (APInt element : constant.getValue().getValues<APInt>())
      values.push_back(isSigned ? element.getSExtValue()
                                : static_cast<int64_t>(element.getZExtValue()));
    return values;
  }
  return importer.shapes.constantContent(value);
}

SmallVector<int64_t> NodeImporter::requireInts(int index,
                                               llvm::StringRef what) {
  Value value = input(index);
  if (!value)
    return {};
  if (auto values = constantInts(value))
    return *values;
  emitError() << "input " << index << " (" << what << ") is " << value.getType()
              << " and depends on the model's inputs; expected constant "
              << "integers";
  return {};
}

int64_t NodeImporter::requireInt(int index, llvm::StringRef what) {
  SmallVector<int64_t> values = requireInts(index, what);
  if (values.size() == 1)
    return values[0];
  if (!failedAlready)
    emitError() << "input " << index << " (" << what << ") has "
                << values.size() << " elements, expected 1";
  return 0;
}

int64_t NodeImporter::normalizeAxis(int64_t axis, int64_t size,
                                    llvm::StringRef what) {
  if (axis >= -size && axis < size)
    return axis < 0 ? axis + size : axis;
  emitError() << what << " is " << axis << ", expected " << -size << " to "
              << size - 1;
  return 0;
}

SmallVector<int64_t> NodeImporter::normalizeAxes(ArrayRef<int64_t> axes,
                                                 int64_t size) {
  SmallVector<int64_t> result;
  for (int64_t axis : axes) {
    result.push_back(normalizeAxis(axis, size));
    if (failedAlready)
      return {};
  }
  llvm::sort(result);
  if (auto it = std::adjacent_find(result.begin(), result.end());
      it != result.end())
    emitError() << "axis " << *it << " is listed twice";
  return result;
}

bool NodeImporter::checkType(Value value, Type type, llvm::StringRef what) {
  if (!value || elementType(value) == type)
    return value != nullptr;
  emitError() << what << " is " << value.getType() << ", expected a tensor of "
              << type;
  return false;
}

bool NodeImporter::checkFloat(Value value, llvm::StringRef what) {
  if (!value || isa<FloatType>(elementType(value)))
    return value != nullptr;
  emitError() << what << " is " << value.getType()
              << ", expected a tensor of floats";
  return false;
}

bool NodeImporter::checkInteger(Value value, llvm::StringRef what) {
  if (!value)
    return false;
  Type type = elementType(value);
  if (isa<IntegerType>(type) && !type.isInteger(1))
    return true;
  emitError() << what << " is " << value.getType()
              << ", expected a tensor of integers";
  return false;
}

bool NodeImporter::checkRank(Value value, int64_t expected,
                             llvm::StringRef what) {
  if (!value || rank(value) == expected)
    return value != nullptr;
  emitError() << what << " is " << value.getType() << ", expected rank "
              << expected;
  return false;
}

bool NodeImporter::checkSameType(ArrayRef<Value> values) {
  for (Value value : values) {
    if (!value || !values[0])
      return false;
    if (elementType(value) == elementType(values[0]))
      continue;
    emitError() << "has inputs " << values[0].getType() << " and "
                << value.getType() << ", expected one element type";
    return false;
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

NamedAttribute NodeImporter::unit(llvm::StringRef name) {
  return attrs().getNamedAttr(name, attrs().getUnitAttr());
}

NamedAttribute NodeImporter::i64(llvm::StringRef name, int64_t value) {
  return attrs().getNamedAttr(name, attrs().getI64IntegerAttr(value));
}

NamedAttribute NodeImporter::f64(llvm::StringRef name, double value) {
  return attrs().getNamedAttr(name, attrs().getF64FloatAttr(value));
}

NamedAttribute NodeImporter::array(llvm::StringRef name,
                                   ArrayRef<int64_t> value) {
  return attrs().getNamedAttr(name, attrs().getDenseI64ArrayAttr(value));
}

/// Infers and checks an op; reports its diagnostics as errors of the node.
LogicalResult NodeImporter::inferType(Operation *op) {
  std::string message;
  {
    ScopedDiagnosticHandler handler(importer.getContext(), [&](Diagnostic &d) {
      if (message.empty())
        message = d.str();
    });
    if (succeeded(importer.shapes.infer(op)) &&
        succeeded(op->getName().verifyInvariants(op)))
      message.clear();
    else if (message.empty())
      message = "operands that do not fit";
  }
  if (!message.empty())
    return emitError() << message;
  auto type = llvm::cast<RankedTensorType>(op->getResult(0).getType());
  if (type.getRank() > kMaxRank)
    return emitError() << "has a result of rank " << type.getRank()
                       << ", expected at most " << kMaxRank;
  SmallVector<int64_t> shape;
  for (int64_t dim : type.getShape())
    if (!ShapedType::isDynamic(dim))
      shape.push_back(dim);
  if (failed(countElements(shape)))
    return emitError() << "has a result of " << type
                       << ", which is too large for any memory";
  return success();
}

Value NodeImporter::createOp(llvm::StringRef name, ValueRange operands,
                             Attributes attributes, Type resultType) {
  if (failedAlready || llvm::is_contained(operands, Value()))
    return {};
  if (failed(importer.spend(1))) {
    failedAlready = true;
    return {};
  }
  if (!resultType)
    resultType = elementType(operands[0]);
  OperationState state(loc, name, operands,
                       {RankedTensorType::get({}, resultType)}, attributes);
  Operation *op = importer.builder.create(state);
  if (succeeded(inferType(op)))
    return op->getResult(0);
  importer.shapes.forget(op);
  op->erase();
  return {};
}

Value NodeImporter::elements(ElementsAttr value) {
  auto op = ConstantOp::create(importer.builder, loc, value);
  if (failed(inferType(op)))
    return {};
  return op;
}

Value NodeImporter::constant(ArrayRef<int64_t> values) {
  return elements(attrs().getI64TensorAttr(values));
}

Value NodeImporter::scalar(Type type, double value) {
  if (!type)
    return {};
  Attribute element =
      isa<FloatType>(type)
          ? Attribute(attrs().getFloatAttr(type, value))
          : attrs().getIntegerAttr(type, static_cast<int64_t>(value));
  return elements(
      DenseElementsAttr::get(RankedTensorType::get({}, type), element));
}

Value NodeImporter::index(int64_t value) {
  return elements(DenseElementsAttr::get(
      RankedTensorType::get({}, attrs().getI64Type()), value));
}

Value NodeImporter::cast(Value value, Type type) {
  if (!value || elementType(value) == type)
    return value;
  return create<CastOp>(value, {}, type);
}

Value NodeImporter::compare(ComparePredicate predicate, Value lhs, Value rhs) {
  return create<CompareOp>(
      {lhs, rhs},
      attrs().getNamedAttr("predicate", ComparePredicateAttr::get(
                                            importer.getContext(), predicate)),
      attrs().getI1Type());
}

Value NodeImporter::reshape(Value value, ArrayRef<int64_t> shape,
                            bool allowZero) {
  SmallVector<NamedAttribute> attributes;
  if (allowZero)
    attributes.push_back(unit("allow_zero"));
  return create<ReshapeOp>({value, constant(shape)}, attributes);
}

Value NodeImporter::reshape(Value value, ArrayRef<Value> dims) {
  Value shape = dims.empty() ? constant(ArrayRef<int64_t>())
                             : concat(llvm::to_vector(dims), 0);
  return create<ReshapeOp>({value, shape}, unit("allow_zero"));
}

Value NodeImporter::reshapeLike(Value value, Value like) {
  return create<ReshapeOp>({value, shapeOf(like)}, unit("allow_zero"));
}

Value NodeImporter::transpose(Value value, ArrayRef<int64_t> permutation) {
  bool isIdentity = true;
  for (auto [i, dim] : llvm::enumerate(permutation))
    isIdentity &= static_cast<int64_t>(i) == dim;
  return isIdentity
             ? value
             : create<TransposeOp>(value, array("permutation", permutation));
}

Value NodeImporter::squeeze(Value value, ArrayRef<int64_t> axes) {
  return axes.empty() ? value : create<SqueezeOp>(value, array("axes", axes));
}

Value NodeImporter::unsqueeze(Value value, ArrayRef<int64_t> axes) {
  return axes.empty() ? value : create<UnsqueezeOp>(value, array("axes", axes));
}

Value NodeImporter::alongAxis(Value vector, int64_t axis, int64_t rank) {
  return unsqueeze(vector, llvm::to_vector(llvm::seq<int64_t>(
                               1, std::max<int64_t>(rank - axis, 1))));
}

Value NodeImporter::concat(ValueRange values, int64_t axis) {
  return values.size() == 1 ? values[0]
                            : create<ConcatOp>(values, i64("axis", axis));
}

Value NodeImporter::slice(Value value, int64_t axis, int64_t start, int64_t end,
                          int64_t step) {
  return create<SliceOp>(
      {value, constant({start}), constant({end}), constant({step})},
      array("axes", {axis}));
}

Value NodeImporter::slice(Value value, int64_t axis, Value start, Value end) {
  return create<SliceOp>({value, start, end, constant({1})},
                         array("axes", {axis}));
}

/// The product of static dimensions, or -1 if one is dynamic.
static int64_t productOf(ArrayRef<int64_t> dims) {
  int64_t product = 1;
  for (int64_t dim : dims) {
    if (ShapedType::isDynamic(dim))
      return -1;
    product *= dim;
  }
  return product;
}

Value NodeImporter::flatten(Value value, int64_t axis) {
  if (!value || failedAlready)
    return {};
  ArrayRef<int64_t> shape =
      llvm::cast<RankedTensorType>(value.getType()).getShape();
  int64_t rows = productOf(shape.take_front(axis));
  int64_t columns = productOf(shape.drop_front(axis));
  if (rows >= 0 || columns >= 0)
    return reshape(value, {rows, columns}, /*allowZero=*/true);
  Value dims = shapeOf(value);
  Value leading = reduce<ReduceProdOp>(slice(dims, 0, 0, axis), {0}, true);
  return create<ReshapeOp>({value, concat({leading, constant({-1})}, 0)},
                           unit("allow_zero"));
}

Value NodeImporter::shapeOf(Value value) {
  return create<ShapeOfOp>(value, {}, attrs().getI64Type());
}

Value NodeImporter::dimVector(Value value, int64_t index) {
  if (auto dim = staticDim(value, index))
    return constant({*dim});
  return slice(shapeOf(value), 0, index, index + 1);
}

Value NodeImporter::dimScalar(Value value, int64_t index) {
  return squeeze(dimVector(value, index), {0});
}

Value NodeImporter::iota(Value count) {
  return create<RangeOp>({index(0), count, index(1)});
}
