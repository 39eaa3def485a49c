//===- GraphImporter.cpp - Imports graphs and functions -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphImporter.h"
#include "NodeImporter.h"
#include "mlir/IR/Verifier.h"
#include "nju/Dialect/NJU/IR/ModelFolder.h"

using namespace mlir;
using namespace nju::onnx_import;

/// Deepest nesting of function calls and subgraphs.
constexpr unsigned kMaxCallDepth = 64;

llvm::StringRef nju::onnx_import::canonicalDomain(llvm::StringRef domain) {
  return domain == "ai.onnx" ? llvm::StringRef() : domain;
}

static std::string functionKey(llvm::StringRef domain, llvm::StringRef name,
                               llvm::StringRef overload) {
  return (canonicalDomain(domain) + "::" + name + "::" + overload).str();
}

GraphImporter::GraphImporter(const onnx::ModelProto &model,
                             const ModelSource &source, MLIRContext *context,
                             const ONNXImportOptions &options)
    : builder(context), model(model), source(source), options(options) {
  // Symbols that later passes make.
  for (llvm::StringRef name : {"main", "step", "train_step"})
    symbols.insert(name);
}

InFlightDiagnostic GraphImporter::emitError() {
  return mlir::emitError(builder.getUnknownLoc()) << source.path << ": ";
}

InFlightDiagnostic GraphImporter::emitWarning() {
  return mlir::emitWarning(builder.getUnknownLoc()) << source.path << ": ";
}

LogicalResult GraphImporter::spend(uint64_t count) {
  numOps += count;
  if (numOps <= options.maxOps)
    return success();
  return emitError() << "becomes more than " << options.maxOps
                     << " operations with its functions inlined";
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

std::string GraphImporter::uniqueSymbol(llvm::StringRef name) {
  std::string base = name.empty() ? "weight" : name.str(), symbol = base;
  for (unsigned i = 0; !symbols.insert(symbol).second; ++i)
    symbol = base + "_" + std::to_string(i);
  return symbol;
}

LogicalResult GraphImporter::define(Scope &scope, llvm::StringRef name,
                                    ImportedValue value) {
  if (failed(spend(value.sequence.size())))
    return failure();
  if (!scope.initializers.contains(name) &&
      scope.values.try_emplace(name, std::move(value)).second)
    return success();
  return emitError() << "'" << name << "' is the name of two values";
}

FailureOr<const ImportedValue *> GraphImporter::lookup(Scope &innermost,
                                                       llvm::StringRef name) {
  for (Scope *scope = &innermost; scope; scope = scope->parent) {
    if (auto it = scope->values.find(name); it != scope->values.end())
      return &it->second;
    auto initializer = scope->initializers.find(name);
    if (initializer == scope->initializers.end())
      continue;
    if (packedType(initializer->second->data_type())) {
      ImportedValue &value = scope->values[name];
      value.kind = ImportedValue::Packed;
      value.packed = initializer->second;
      return &value;
    }
    FailureOr<Value> tensor = importTensor(
        *initializer->second, name,
        NameLoc::get(builder.getStringAttr(scope->prefix + name)),
        [&]() { return emitError() << "initializer '" << name << "' "; });
    if (failed(tensor))
      return failure();
    ImportedValue &value = scope->values[name];
    value.kind = ImportedValue::Tensor;
    value.tensor = *tensor;
    return &value;
  }
  return nullptr;
}

const onnx::TensorProto *GraphImporter::findInitializer(const Scope &innermost,
                                                        llvm::StringRef name) {
  for (const Scope *scope = &innermost; scope; scope = scope->parent) {
    if (scope->values.contains(name))
      return nullptr;
    if (const onnx::TensorProto *tensor = scope->initializers.lookup(name))
      return tensor;
  }
  return nullptr;
}

nju::ParamOp GraphImporter::createParam(llvm::StringRef name, Type type,
                                        Attribute data, Location loc) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(main);
  return ParamOp::create(builder, loc, uniqueSymbol(name), type, data,
                         DenseI64ArrayAttr(), IntegerAttr(), StringAttr());
}

Value GraphImporter::referTo(ParamOp param, Location loc) {
  Value ref =
      ParamRefOp::create(builder, loc, param.getType(),
                         FlatSymbolRefAttr::get(param.getSymNameAttr()));
  (void)shapes.infer(ref.getDefiningOp());
  return ref;
}

Value GraphImporter::importUniform(UniformDataAttr data, llvm::StringRef name,
                                   Location loc) {
  ParamOp &param = uniformParams[data];
  if (!param)
    param = createParam(name, data.getType(), data, loc);
  return referTo(param, loc);
}

FailureOr<Value> GraphImporter::importTensor(const onnx::TensorProto &tensor,
                                             llvm::StringRef name, Location loc,
                                             EmitError emitTensorError) {
  ParamOp &param = params[&tensor];
  if (!param) {
    FailureOr<Attribute> value =
        loadTensor(tensor, source, getContext(), emitTensorError);
    if (failed(value))
      return failure();
    auto elements = dyn_cast<ElementsAttr>(*value);
    if (elements &&
        isConstant(cast<RankedTensorType>(elements.getShapedType()))) {
      Value constant = ConstantOp::create(builder, loc, elements);
      (void)shapes.infer(constant.getDefiningOp());
      return constant;
    }
    Type type = elements ? elements.getShapedType()
                         : Type(cast<FileDataAttr>(*value).getType());
    param = createParam(name, type, *value, loc);
  }
  return referTo(param, loc);
}

//===----------------------------------------------------------------------===//
// The model
//===----------------------------------------------------------------------===//

LogicalResult GraphImporter::importOpsets(
    const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto> &from,
    OpsetMap &opsets) {
  for (const onnx::OperatorSetIdProto &opset : from) {
    llvm::StringRef domain = canonicalDomain(opset.domain());
    int64_t newest = domain.empty()         ? kMaxOpset
                     : domain == kMicrosoft ? kMaxMicrosoftOpset
                                            : opset.version();
    if (opset.version() < 1 || opset.version() > newest)
      return emitError() << "uses opset " << opset.version() << " of "
                         << (domain.empty() ? "ai.onnx" : domain)
                         << ", expected 1 to " << newest
                         << "; export the model with an older opset";
    opsets[domain] = opset.version();
  }
  return success();
}

LogicalResult GraphImporter::importFunctions() {
  for (const onnx::FunctionProto &proto : model.functions()) {
    std::string key =
        functionKey(proto.domain(), proto.name(), proto.overload());
    auto [it, isNew] = functions.try_emplace(key);
    if (!isNew)
      return emitError() << "has two functions '" << proto.name()
                         << "' of domain '" << proto.domain() << "'";
    it->second.proto = &proto;
    it->second.opsets = opsets;
    if (failed(importOpsets(proto.opset_import(), it->second.opsets)))
      return failure();
  }
  return success();
}

LogicalResult GraphImporter::importInitializers(const onnx::GraphProto &graph,
                                                Scope &scope) {
  if (graph.sparse_initializer_size() > 0)
    return emitError() << "sparse initializer '"
                       << graph.sparse_initializer(0).values().name()
                       << "' is not supported; expected a dense one";
  for (const onnx::TensorProto &tensor : graph.initializer())
    if (!scope.initializers.try_emplace(tensor.name(), &tensor).second)
      return emitError() << "'" << tensor.name()
                         << "' is the name of two initializers";
  return success();
}

OwningOpRef<ModuleOp> GraphImporter::importModel() {
  Location loc = NameLoc::get(builder.getStringAttr(source.fileName));
  module = ModuleOp::create(loc);
  setModelFolder(*module, source.folder);
  builder.setInsertionPointToEnd(module->getBody());
  main = func::FuncOp::create(builder, loc, "main",
                              builder.getFunctionType({}, {}));
  builder.setInsertionPointToEnd(main.addEntryBlock());
  if (model.opset_import_size() == 0) {
    emitError() << "says no opset; expected an ONNX model of IR version 3 or "
                << "newer";
    return {};
  }
  Scope scope;
  scope.opsets = &opsets;
  const onnx::GraphProto &graph = model.graph();
  if (failed(importOpsets(model.opset_import(), opsets)) ||
      failed(importFunctions()) || failed(importInitializers(graph, scope)) ||
      failed(importInputs(graph, scope)) ||
      failed(importNodes(graph.node(), scope)) ||
      failed(importOutputs(graph, scope)))
    return {};
  eraseDeadOps();
  if (failed(narrowInputs()) || failed(verify(*module)))
    return {};
  return std::move(module);
}

/// Dimensions of `argument` that a concatenation needs to be a number.
static bool narrowInput(BlockArgument argument) {
  auto type = cast<RankedTensorType>(argument.getType());
  SmallVector<int64_t> shape(type.getShape());
  for (Operation *user : argument.getUsers()) {
    auto concat = dyn_cast<nju::ConcatOp>(user);
    if (!concat)
      continue;
    for (auto [i, dim] : llvm::enumerate(concat.getType().getShape()))
      if (i != concat.getAxis() && ShapedType::isDynamic(shape[i]))
        shape[i] = dim;
  }
  argument.setType(type.clone(shape));
  return argument.getType() != type;
}

/// Inputs of caches may have names for dimensions that can only be one number.
LogicalResult GraphImporter::narrowInputs() {
  bool isNarrowed = false;
  for (BlockArgument argument : main.getArguments())
    isNarrowed |= narrowInput(argument);
  return success(!isNarrowed ||
                 succeeded(ShapeInference().inferFunction(main)));
}

void GraphImporter::eraseDeadOps() {
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(main.getBody().front())))
    if (isOpTriviallyDead(&op)) {
      shapes.forget(&op);
      op.erase();
    }
  llvm::StringSet<> used;
  main.walk([&](ParamRefOp op) { used.insert(op.getParam()); });
  for (ParamOp param : llvm::make_early_inc_range(module->getOps<ParamOp>()))
    if (!used.contains(param.getSymName()))
      param.erase();
}

//===----------------------------------------------------------------------===//
// Inputs and outputs
//===----------------------------------------------------------------------===//

/// The tensor type of a graph input; `names` get the names of its dimensions.
static FailureOr<RankedTensorType>
readInputType(const onnx::ValueInfoProto &input, MLIRContext *context,
              llvm::SmallVectorImpl<std::string> &names, EmitError emitError) {
  if (!input.type().has_tensor_type()) {
    emitError() << "is no tensor, expected one";
    return failure();
  }
  const onnx::TypeProto::Tensor &type = input.type().tensor_type();
  Type element = elementType(type.elem_type(), context);
  if (!element) {
    emitError() << "has element type " << dataTypeName(type.elem_type())
                << ", expected a float, integer or BOOL type of 8 to 64 bits";
    return failure();
  }
  if (!type.has_shape()) {
    emitError() << "has no shape; export the model with the ranks of its "
                << "inputs";
    return failure();
  }
  if (type.shape().dim_size() > kMaxRank) {
    emitError() << "has rank " << type.shape().dim_size()
                << ", expected at most " << kMaxRank;
    return failure();
  }
  SmallVector<int64_t> shape;
  for (const auto &dim : type.shape().dim()) {
    if (dim.has_dim_value() && dim.dim_value() < 0) {
      emitError() << "has a dimension of " << dim.dim_value()
                  << ", expected 0 or more, or a name";
      return failure();
    }
    shape.push_back(dim.has_dim_value() ? dim.dim_value()
                                        : ShapedType::kDynamic);
    names.push_back(dim.has_dim_value() ? "" : dim.dim_param());
  }
  auto isStatic = [](int64_t dim) { return !ShapedType::isDynamic(dim); };
  if (failed(countElements(
          llvm::to_vector(llvm::make_filter_range(shape, isStatic))))) {
    emitError() << "has dimensions whose product is too large for any memory";
    return failure();
  }
  return RankedTensorType::get(shape, element);
}

LogicalResult GraphImporter::importInput(const onnx::ValueInfoProto &input,
                                         Scope &scope) {
  SmallVector<std::string> names;
  FailureOr<RankedTensorType> type =
      readInputType(input, getContext(), names, [&]() {
        return emitError() << "input '" << input.name() << "' ";
      });
  if (failed(type))
    return failure();
  ImportedValue value;
  value.kind = ImportedValue::Tensor;
  value.tensor = main.getBody().front().addArgument(
      *type, NameLoc::get(builder.getStringAttr(input.name())));
  shapes.addArgument(value.tensor, names);
  return define(scope, input.name(), value);
}

LogicalResult GraphImporter::importInputs(const onnx::GraphProto &graph,
                                          Scope &scope) {
  SmallVector<const onnx::ValueInfoProto *> arguments;
  for (const onnx::ValueInfoProto &input : graph.input()) {
    // An input of IR version 3 that has a value is a weight.
    if (scope.initializers.contains(input.name()))
      continue;
    if (failed(importInput(input, scope)))
      return failure();
    arguments.push_back(&input);
  }
  main.setFunctionType(
      builder.getFunctionType(main.getBody().getArgumentTypes(), {}));
  for (auto [i, input] : llvm::enumerate(arguments)) {
    SmallVector<llvm::StringRef> names;
    for (const auto &dim : input->type().tensor_type().shape().dim())
      names.push_back(dim.has_dim_value() ? llvm::StringRef()
                                          : llvm::StringRef(dim.dim_param()));
    main.setArgAttr(i, "nju.name", builder.getStringAttr(input->name()));
    main.setArgAttr(i, "nju.dims", builder.getStrArrayAttr(names));
  }
  return success();
}

/// The declared type of an output, if it has one: exporters leave it out or
/// write dimensions that the graph does not have.
LogicalResult GraphImporter::checkOutput(const onnx::ValueInfoProto &output,
                                         Value value) {
  if (!output.type().has_tensor_type())
    return success();
  const onnx::TypeProto::Tensor &declared = output.type().tensor_type();
  auto type = cast<RankedTensorType>(value.getType());
  if (declared.elem_type() != onnx::TensorProto::UNDEFINED &&
      elementType(declared.elem_type(), getContext()) != type.getElementType())
    return emitError() << "output '" << output.name() << "' is declared as "
                       << dataTypeName(declared.elem_type())
                       << ", but the graph computes " << type;
  if (!declared.has_shape())
    return success();
  const auto &dims = declared.shape().dim();
  bool fits = dims.size() == type.getRank();
  for (int i = 0; fits && i < dims.size(); ++i)
    fits = !dims[i].has_dim_value() || type.isDynamicDim(i) ||
           dims[i].dim_value() == type.getDimSize(i);
  if (!fits)
    emitWarning() << "output '" << output.name()
                  << "' is declared with other dimensions than " << type
                  << ", which the graph computes";
  return success();
}

LogicalResult GraphImporter::checkIsTensor(llvm::StringRef output,
                                           const ImportedValue *value) {
  if (!value || value->kind == ImportedValue::Absent)
    return emitError() << "output '" << output << "' is computed by no node";
  if (value->kind == ImportedValue::Sequence)
    return emitError() << "output '" << output
                       << "' is a sequence, expected a tensor";
  if (value->kind == ImportedValue::Packed)
    return emitError() << "output '" << output << "' has element type "
                       << dataTypeName(value->packed->data_type())
                       << ", expected a float, integer or BOOL type of 8 to "
                       << "64 bits";
  if (value->kind == ImportedValue::Unsupported)
    return emitError() << "output '" << output << "' is " << value->what
                       << ", which is not supported";
  return success();
}

LogicalResult GraphImporter::importOutputs(const onnx::GraphProto &graph,
                                           Scope &scope) {
  if (graph.output_size() == 0)
    return emitError() << "the graph has no outputs";
  SmallVector<Value> results;
  llvm::StringSet<> names;
  for (const onnx::ValueInfoProto &output : graph.output()) {
    FailureOr<const ImportedValue *> value = lookup(scope, output.name());
    if (failed(value))
      return failure();
    if (failed(checkIsTensor(output.name(), *value)))
      return failure();
    if (!names.insert(output.name()).second)
      return emitError() << "output '" << output.name() << "' is listed twice";
    results.push_back((*value)->tensor);
    if (failed(checkOutput(output, results.back())))
      return failure();
  }
  func::ReturnOp::create(builder, builder.getUnknownLoc(), results);
  main.setFunctionType(builder.getFunctionType(
      main.getBody().getArgumentTypes(), ValueRange(results).getTypes()));
  for (auto [i, result] : llvm::enumerate(results)) {
    const onnx::ValueInfoProto &output = graph.output(static_cast<int>(i));
    const auto &declared = output.type().tensor_type().shape().dim();
    SmallVector<std::string> dims;
    for (SymbolicExpr dim : shapes.dims(result)) {
      auto index = static_cast<int>(dims.size());
      bool isNamed = index < declared.size() && !dim.isKnown();
      dims.push_back(dim.isConstant() ? ""
                     : isNamed        ? declared[index].dim_param()
                     : dim.isKnown()  ? dim.str()
                                      : "");
    }
    main.setResultAttr(i, "nju.name", builder.getStringAttr(output.name()));
    main.setResultAttr(
        i, "nju.dims",
        builder.getStrArrayAttr(llvm::to_vector_of<llvm::StringRef>(dims)));
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

LogicalResult GraphImporter::importNodes(const NodeList &nodes, Scope &scope) {
  auto order = orderNodes(nodes, [&]() { return emitError(); });
  if (failed(order))
    return failure();
  for (const onnx::NodeProto *node : *order)
    if (failed(importNode(*node, scope)))
      return failure();
  return success();
}

LogicalResult GraphImporter::importNode(const onnx::NodeProto &node,
                                        Scope &scope) {
  if (failed(spend(1)))
    return failure();
  auto function = functions.find(
      functionKey(node.domain(), node.op_type(), node.overload()));
  if (function != functions.end())
    return importCall(node, *function->second.proto, scope);
  llvm::StringRef domain = canonicalDomain(node.domain());
  auto opset = scope.opsets->find(domain);
  // Exporters that write ops of ONNX Runtime do not always import its domain.
  int64_t version = opset != scope.opsets->end() ? opset->second
                    : domain == kMicrosoft       ? kMaxMicrosoftOpset
                                                 : 0;
  return NodeImporter(*this, scope, node, version).run();
}

FailureOr<llvm::SmallVector<ImportedValue>>
GraphImporter::importSubgraph(const onnx::GraphProto &graph, Scope &outer) {
  Scope scope;
  scope.parent = &outer;
  scope.opsets = outer.opsets;
  scope.attributes = outer.attributes;
  scope.prefix = outer.prefix;
  scope.depth = outer.depth + 1;
  if (scope.depth > kMaxCallDepth) {
    emitError() << "subgraphs and functions are nested more than "
                << kMaxCallDepth << " deep";
    return failure();
  }
  if (failed(importInitializers(graph, scope)) ||
      failed(importNodes(graph.node(), scope)))
    return failure();
  SmallVector<ImportedValue> results;
  for (const onnx::ValueInfoProto &output : graph.output()) {
    FailureOr<const ImportedValue *> value = lookup(scope, output.name());
    if (failed(value))
      return failure();
    if (!*value) {
      emitError() << "output '" << output.name() << "' of the subgraph '"
                  << graph.name() << "' is computed by no node";
      return failure();
    }
    results.push_back(**value);
  }
  return results;
}

FailureOr<AttributeMap>
GraphImporter::bindAttributes(const onnx::NodeProto &node,
                              const onnx::FunctionProto &function,
                              Scope &caller, EmitError emitCallError) {
  AttributeMap attributes;
  for (const onnx::AttributeProto &attribute : function.attribute_proto())
    attributes[attribute.name()] = &attribute;
  llvm::StringSet<> known;
  for (const onnx::AttributeProto &attribute : function.attribute_proto())
    known.insert(attribute.name());
  for (const std::string &name : function.attribute())
    known.insert(name);
  for (const onnx::AttributeProto &attribute : node.attribute()) {
    if (!known.contains(attribute.name())) {
      emitCallError() << "has attribute '" << attribute.name()
                      << "', which the function does not have";
      return failure();
    }
    if (const onnx::AttributeProto *value =
            resolveAttribute(node, attribute.name(), caller))
      attributes[attribute.name()] = value;
  }
  return attributes;
}

LogicalResult GraphImporter::importCall(const onnx::NodeProto &node,
                                        const onnx::FunctionProto &proto,
                                        Scope &caller) {
  std::string name = caller.prefix + nodeName(node);
  auto emitCallError = [&]() {
    return emitError() << "node '" << name << "' (function " << proto.domain()
                       << "." << proto.name() << "): ";
  };
  Function &function =
      functions
          .find(functionKey(proto.domain(), proto.name(), proto.overload()))
          ->second;
  if (function.isActive || caller.depth + 1 > kMaxCallDepth)
    return emitCallError() << "is called by itself or more than "
                           << kMaxCallDepth << " calls deep";
  if (node.input_size() > proto.input_size() ||
      node.output_size() > proto.output_size())
    return emitCallError() << "is called with " << node.input_size()
                           << " inputs and " << node.output_size()
                           << " outputs, expected at most "
                           << proto.input_size() << " and "
                           << proto.output_size();
  FailureOr<AttributeMap> attributes =
      bindAttributes(node, proto, caller, emitCallError);
  if (failed(attributes))
    return failure();
  Scope scope;
  scope.opsets = &function.opsets;
  scope.attributes = &*attributes;
  scope.prefix = name + "/";
  scope.depth = caller.depth + 1;
  for (int i = 0; i < proto.input_size(); ++i) {
    ImportedValue argument;
    if (i < node.input_size() && !node.input(i).empty()) {
      FailureOr<const ImportedValue *> value = lookup(caller, node.input(i));
      if (failed(value))
        return failure();
      if (!*value)
        return emitCallError() << "input '" << node.input(i)
                               << "' is neither an input, an initializer nor "
                               << "an output of a node";
      argument = **value;
    }
    if (failed(define(scope, proto.input(i), argument)))
      return failure();
  }
  function.isActive = true;
  LogicalResult result = importNodes(proto.node(), scope);
  function.isActive = false;
  if (failed(result))
    return failure();
  for (int i = 0; i < node.output_size(); ++i) {
    FailureOr<const ImportedValue *> value = lookup(scope, proto.output(i));
    if (failed(value))
      return failure();
    if (!*value)
      return emitCallError() << "output '" << proto.output(i)
                             << "' of the function is computed by no node";
    if (!node.output(i).empty() &&
        failed(define(caller, node.output(i), **value)))
      return failure();
  }
  return success();
}
