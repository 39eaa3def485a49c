//===- PackWeights.cpp - Weights in the layout of kernels -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "PatternUtils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/PatternMatch.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Transforms/Passes.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/FormatVariadic.h"

namespace nju {
#define GEN_PASS_DEF_PACKWEIGHTS
#include "nju/Transforms/Passes.h.inc"
} // namespace nju

using namespace mlir;
using namespace nju;

namespace {

/// A param as a value of the graph sees it: through transposes and casts.
struct WeightView {
  ParamOp param;
  /// Dimension i of the view is dimension permutation[i] of the param's data.
  SmallVector<int64_t> permutation;
};

/// How a param stores a view.
struct Layout {
  RankedTensorType type;
  DenseI64ArrayAttr permutation;
  IntegerAttr panels;
  /// Tells params apart: the data and all of the above.
  Attribute key;
};

bool isIdentity(ArrayRef<int64_t> permutation) {
  for (auto [i, dim] : llvm::enumerate(permutation))
    if (static_cast<int64_t>(i) != dim)
      return false;
  return true;
}

/// `outer` after `inner`: which dimension of the innermost tensor dimension i
/// of the outermost is.
void compose(SmallVectorImpl<int64_t> &outer, ArrayRef<int64_t> inner) {
  for (int64_t &dim : outer)
    dim = inner[dim];
}

/// A cast that keeps every value as it is.
bool isWidening(CastOp cast) {
  Type from = getElementTypeOrSelf(cast.getInput());
  Type to = getElementTypeOrSelf(cast.getType());
  return isa<FloatType>(from) && isa<FloatType>(to) &&
         (from == to ||
          from.getIntOrFloatBitWidth() < to.getIntOrFloatBitWidth());
}

class PackWeights : public nju::impl::PackWeightsBase<PackWeights> {
public:
  using PackWeightsBase::PackWeightsBase;

  void runOnOperation() override {
    symbols.emplace(getOperation());
    forEachOp<MatMulOp>([&](MatMulOp op) { packMatMul(op); });
    forEachOp<ExpertMatMulOp>([&](ExpertMatMulOp op) { packExperts(op); });
    forEachOp<GatherOp>([&](GatherOp op) { lookUpStored(op); });
    forEachOp<CastOp>([&](CastOp op) { absorb(op); });
    forEachOp<TransposeOp>([&](TransposeOp op) { absorb(op); });
    eraseDeadOps();
    eraseUnusedParams();
    restoreNames();
    orderParams();
    layouts.clear();
    slices.clear();
    wantedNames.clear();
    symbols.reset();
  }

private:
  template <typename OpTy, typename Function>
  void forEachOp(Function function) {
    SmallVector<OpTy> ops;
    getOperation().walk([&](OpTy op) { ops.push_back(op); });
    for (OpTy op : ops)
      function(op);
  }

  std::optional<WeightView> viewOf(Value value);
  std::optional<WeightView> constantView(ConstantOp constant);
  ParamOp sliceOf(GatherOp gather);
  Value createRef(OpBuilder &builder, Location loc, const WeightView &view,
                  Type elementType, std::optional<int64_t> panels = {});
  Value biasOf(OpBuilder &builder, Value value, int64_t columns);
  Value lookUpPacked(OpBuilder &builder, GatherOp gather,
                     const WeightView &view);
  void lookUpStored(GatherOp gather);
  void packMatMul(MatMulOp matmul);
  void packExperts(ExpertMatMulOp matmul);
  void absorb(Operation *op);
  void eraseDeadOps();
  void eraseUnusedParams();
  void restoreNames();
  void orderParams();

  std::optional<SymbolTable> symbols;
  /// Params made so far, by their layouts' keys.
  llvm::DenseMap<Attribute, ParamOp> layouts;
  /// Params that are one of a param's matrices, by what they are.
  llvm::DenseMap<Attribute, ParamOp> slices;
  /// The name that a new param takes once it is free.
  SmallVector<std::pair<ParamOp, StringAttr>> wantedNames;
};

/// The view of a param or small constant that a value is, if it is one.
std::optional<WeightView> PackWeights::viewOf(Value value) {
  WeightView view;
  int64_t rank = cast<RankedTensorType>(value.getType()).getRank();
  view.permutation = llvm::to_vector(llvm::seq<int64_t>(rank));
  while (Operation *op = value.getDefiningOp()) {
    if (auto transpose = dyn_cast<TransposeOp>(op))
      compose(view.permutation, transpose.getPermutation());
    else if (auto cast = dyn_cast<CastOp>(op); !cast || !isWidening(cast))
      break;
    value = op->getOperand(0);
  }
  if (auto constant = value.getDefiningOp<ConstantOp>()) {
    std::optional<WeightView> whole = constantView(constant);
    if (!whole)
      return std::nullopt;
    view.param = whole->param;
    return view;
  }
  if (auto gather = value.getDefiningOp<GatherOp>()) {
    view.param = sliceOf(gather);
    if (!view.param)
      return std::nullopt;
    return view;
  }
  auto ref = value.getDefiningOp<ParamRefOp>();
  if (!ref)
    return std::nullopt;
  view.param = symbols->lookup<ParamOp>(ref.getParam());
  if (view.param.getPanels() ||
      !isa<FloatType>(view.param.getDataType().getElementType()))
    return std::nullopt;
  if (auto permutation = view.param.getPermutation())
    compose(view.permutation, *permutation);
  return view;
}

/// One of the matrices that a param of three dimensions has, as a param: the
/// weights of experts are stored like that. Null if it is none.
ParamOp PackWeights::sliceOf(GatherOp gather) {
  auto ref = gather.getInput().getDefiningOp<ParamRefOp>();
  std::optional<double> index = matchNumber(gather.getIndices());
  if (!ref || !index || gather.getAxis() != 0 ||
      gather.getIndices().getType().getRank() != 0)
    return nullptr;
  auto whole = symbols->lookup<ParamOp>(ref.getParam());
  auto data = dyn_cast<FileDataAttr>(whole.getData());
  RankedTensorType type = whole.getDataType();
  if (!data || type.getRank() != 3 || whole.getPermutation() ||
      whole.getPanels() || whole.getType() != type ||
      !isa<FloatType>(type.getElementType()) || *index < 0 ||
      *index >= type.getDimSize(0))
    return nullptr;
  auto own = RankedTensorType::get(type.getShape().drop_front(),
                                   type.getElementType());
  int64_t bytes = own.getNumElements() * own.getElementTypeBitWidth() / 8;
  auto slice = FileDataAttr::get(
      whole.getContext(), data.getPath(),
      data.getOffset() + bytes * static_cast<int64_t>(*index), own);
  ParamOp &param = slices[slice];
  if (!param) {
    OpBuilder builder(whole);
    std::string name =
        llvm::formatv("{0}.{1}", whole.getSymName(), int64_t(*index));
    param = ParamOp::create(builder, whole.getLoc(), name, own, slice, nullptr,
                            nullptr, whole.getSymVisibilityAttr());
    symbols->insert(param);
  }
  return param;
}

/// A constant vector or matrix becomes a param.
std::optional<WeightView> PackWeights::constantView(ConstantOp constant) {
  RankedTensorType type = constant.getType();
  if (type.getRank() < 1 || type.getRank() > 2 ||
      !isa<FloatType>(type.getElementType()))
    return std::nullopt;
  auto loc = constant.getLoc();
  OpBuilder builder = OpBuilder::atBlockBegin(getOperation().getBody());
  auto param =
      ParamOp::create(builder, loc, "constant", type, constant.getValue(),
                      nullptr, nullptr, builder.getStringAttr("private"));
  symbols->insert(param);
  return WeightView{param, llvm::to_vector(llvm::seq<int64_t>(type.getRank()))};
}

/// The layout of the view with this element type, a matrix cut in panels if
/// wanted.
Layout layoutOf(const WeightView &view, Type elementType,
                std::optional<int64_t> panels) {
  Builder builder(elementType.getContext());
  Layout layout;
  SmallVector<int64_t> shape;
  ParamOp param = view.param;
  for (int64_t dim : view.permutation)
    shape.push_back(param.getDataType().getDimSize(dim));
  if (panels) {
    shape = {llvm::divideCeilSigned(shape[1], *panels), shape[0], *panels};
    layout.panels = builder.getI64IntegerAttr(*panels);
  }
  layout.type = RankedTensorType::get(shape, elementType);
  if (!isIdentity(view.permutation))
    layout.permutation = builder.getDenseI64ArrayAttr(view.permutation);
  auto orUnit = [&](Attribute attr) {
    return attr ? attr : builder.getUnitAttr();
  };
  layout.key =
      builder.getArrayAttr({param.getData(), TypeAttr::get(layout.type),
                            orUnit(layout.permutation), orUnit(layout.panels)});
  return layout;
}

/// A reference to the param that holds the view in that layout.
Value PackWeights::createRef(OpBuilder &builder, Location loc,
                             const WeightView &view, Type elementType,
                             std::optional<int64_t> panels) {
  ParamOp source = view.param;
  Layout layout = layoutOf(view, elementType, panels);
  ParamOp &param = layouts[layout.key];
  if (!param && source.getType() == layout.type &&
      source.getPermutationAttr() == layout.permutation && !panels)
    param = source;
  if (!param) {
    OpBuilder atSource(source);
    param = ParamOp::create(atSource, source.getLoc(),
                            source.getSymName().str() + ".packed", layout.type,
                            source.getData(), layout.permutation, layout.panels,
                            source.getSymVisibilityAttr());
    symbols->insert(param);
    wantedNames.push_back({param, source.getSymNameAttr()});
  }
  return ParamRefOp::create(builder, loc, layout.type, param.getSymName());
}

/// The element type in which a weight matrix is stored: as it is, f64 as f32.
Type storedType(ParamOp param) {
  Type type = param.getDataType().getElementType();
  return type.isF64() ? Float32Type::get(type.getContext()) : type;
}

/// Rows of a table that is stored for a product, whose columns they are; null
/// if no product packs it.
Value PackWeights::lookUpPacked(OpBuilder &builder, GatherOp gather,
                                const WeightView &view) {
  if (view.permutation.size() != 2 || gather.getAxis() != 0)
    return nullptr;
  WeightView matrix{view.param, {view.permutation[1], view.permutation[0]}};
  Type stored = storedType(view.param);
  if (!layouts.lookup(layoutOf(matrix, stored, kPanelColumns).key))
    return nullptr;
  ++numEmbeddings;
  Value packed =
      createRef(builder, gather.getLoc(), matrix, stored, kPanelColumns);
  return EmbeddingOp::create(
      builder, gather.getLoc(), gather.getType().clone(stored), packed,
      gather.getIndices(), gather.getInput().getType().getDimSize(0));
}

/// gather(cast(param)) looks up what is stored and casts the result.
void PackWeights::lookUpStored(GatherOp gather) {
  std::optional<WeightView> view;
  if (!gather.getInput().getDefiningOp<ConstantOp>())
    view = viewOf(gather.getInput());
  if (!view)
    return;
  OpBuilder builder(gather);
  Value rows = lookUpPacked(builder, gather, *view);
  if (!rows) {
    Type stored = storedType(view->param);
    Value table = createRef(builder, gather.getLoc(), *view, stored);
    rows = GatherOp::create(builder, gather.getLoc(),
                            gather.getType().clone(stored), table,
                            gather.getIndices(), gather.getAxis());
  }
  if (rows.getType() != gather.getType())
    rows = CastOp::create(builder, gather.getLoc(), gather.getType(), rows);
  gather.replaceAllUsesWith(rows);
  gather.erase();
}

/// The vector that `value` is as an f32 param, or null.
Value PackWeights::biasOf(OpBuilder &builder, Value value, int64_t columns) {
  auto type = cast<RankedTensorType>(value.getType());
  if (type.getRank() != 1 || type.getDimSize(0) != columns)
    return nullptr;
  std::optional<WeightView> view = viewOf(value);
  if (!view)
    return nullptr;
  return createRef(builder, value.getLoc(), *view, builder.getF32Type());
}

void PackWeights::packMatMul(MatMulOp matmul) {
  auto input = cast<RankedTensorType>(matmul.getLhs().getType());
  auto weight = cast<RankedTensorType>(matmul.getRhs().getType());
  if (!input.getElementType().isF32() || weight.getRank() != 2 ||
      input.getRank() < 1 || input.getShape().back() != weight.getDimSize(0))
    return;
  std::optional<WeightView> view = viewOf(matmul.getRhs());
  if (!view)
    return;
  Type stored = storedType(view->param);
  if (!stored.isF32() && !stored.isF16() && !stored.isBF16())
    return;

  Operation *last = matmul;
  Value bias;
  if (matmul->hasOneUse())
    if (auto add = dyn_cast<AddOp>(*matmul->user_begin())) {
      OpBuilder builder(add);
      Value other = add.getLhs() == matmul ? add.getRhs() : add.getLhs();
      bias = biasOf(builder, other, weight.getDimSize(1));
      if (bias)
        last = add;
    }
  OpBuilder builder(last);
  Value packed =
      createRef(builder, matmul.getLoc(), *view, stored, kPanelColumns);
  auto linear = LinearOp::create(builder, matmul.getLoc(), matmul.getType(),
                                 matmul.getLhs(), packed, bias);
  last->getResult(0).replaceAllUsesWith(linear);
  last->erase();
  if (last != matmul)
    matmul.erase();
  ++numLinear;
}

/// All experts' weights are packed, or none.
void PackWeights::packExperts(ExpertMatMulOp matmul) {
  SmallVector<WeightView> views;
  for (Value weight : matmul.getWeights()) {
    std::optional<WeightView> view = viewOf(weight);
    if (!view)
      return;
    views.push_back(*view);
  }
  Type stored = storedType(views.front().param);
  auto differs = [&](WeightView &view) {
    return storedType(view.param) != stored;
  };
  if ((!stored.isF32() && !stored.isF16() && !stored.isBF16()) ||
      llvm::any_of(views, differs))
    return;
  OpBuilder builder(matmul);
  SmallVector<Value> weights;
  for (const WeightView &view : views)
    weights.push_back(
        createRef(builder, matmul.getLoc(), view, stored, kPanelColumns));
  auto linear = ExpertLinearOp::create(
      builder, matmul.getLoc(), matmul.getType(), matmul.getInput(),
      matmul.getChoices(), weights, /*format=*/nullptr);
  matmul.replaceAllUsesWith(linear.getResult());
  matmul.erase();
  ++numExpertLinear;
}

/// A cast or transposed param that is used as such becomes a param of its own.
void PackWeights::absorb(Operation *op) {
  auto isView = [](Operation *user) { return isa<CastOp, TransposeOp>(user); };
  if (llvm::all_of(op->getUsers(), isView))
    return;
  Value result = op->getResult(0);
  // What is looked up stays as it is stored.
  if (auto cast = dyn_cast<CastOp>(op))
    if (cast.getInput().getDefiningOp<GatherOp>())
      return;
  std::optional<WeightView> view = viewOf(result);
  if (!view || view->param->getParentOp() != getOperation())
    return;
  OpBuilder builder(op);
  Value ref = createRef(builder, op->getLoc(), *view,
                        getElementTypeOrSelf(result.getType()));
  result.replaceAllUsesWith(ref);
}

void PackWeights::eraseDeadOps() {
  for (auto function : getOperation().getOps<func::FuncOp>())
    for (Block &block : function.getBody())
      for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
        if (isOpTriviallyDead(&op))
          op.erase();
}

void PackWeights::eraseUnusedParams() {
  llvm::DenseSet<StringAttr> used;
  getOperation().walk(
      [&](ParamRefOp ref) { used.insert(ref.getParamAttr().getAttr()); });
  llvm::erase_if(wantedNames, [&](auto &wanted) {
    return !used.contains(wanted.first.getSymNameAttr());
  });
  for (ParamOp param :
       llvm::make_early_inc_range(getOperation().getOps<ParamOp>()))
    if (!used.contains(param.getSymNameAttr())) {
      symbols->erase(param);
      ++numRemoved;
    }
}

/// The one layout that is left of a param has the param's name.
void PackWeights::restoreNames() {
  llvm::DenseMap<StringAttr, StringAttr> renamed;
  for (auto [param, name] : wantedNames) {
    if (symbols->lookup(name))
      continue;
    StringAttr old = param.getSymNameAttr();
    symbols->remove(param);
    param.setSymNameAttr(name);
    symbols->insert(param);
    renamed[old] = name;
  }
  getOperation().walk([&](ParamRefOp ref) {
    if (StringAttr name = renamed.lookup(ref.getParamAttr().getAttr()))
      ref.setParamAttr(FlatSymbolRefAttr::get(name));
  });
}

void PackWeights::orderParams() {
  llvm::SetVector<Operation *> order;
  getOperation().walk(
      [&](ParamRefOp ref) { order.insert(symbols->lookup(ref.getParam())); });
  Block *body = getOperation().getBody();
  for (Operation *param : llvm::reverse(order))
    param->moveBefore(body, body->begin());
}

} // namespace
