//===- RecognizeRope.cpp - Rotary position embedding -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A rotation is written in many ways: halves that are sliced, negated and
// joined, pairs that are split off by a reshape or by a step of two, real and
// imaginary parts. All of them give, in every element of the last dimension,
// `x[a] * cos[i] - x[b] * sin[j]` or `x[a] * cos[i] + x[b] * sin[j]`. The rule
// works out which elements meet and compares them with those of nju.rope.
//
//===----------------------------------------------------------------------===//

#include "PatternUtils.h"
#include "Recognize.h"

using namespace mlir;
using namespace nju;

namespace {

constexpr int64_t kMaxWidth = 1024;
constexpr int kMaxDepth = 12;

/// `sign * x[lane]`, times element `factorLane` of `factor` if there is one.
struct Term {
  double sign = 1.0;
  int64_t lane = 0;
  Value factor;
  int64_t factorLane = 0;
};

/// What the elements of a value's last dimensions are, in row-major order;
/// alike for all other dimensions, which are those of x.
struct Lanes {
  SmallVector<int64_t> shape;
  SmallVector<SmallVector<Term, 2>, 0> elements;
};

/// Works out lanes of values that are made of `x`.
class LaneTracer {
public:
  LaneTracer(ShapeInference &shapes, Value x) : shapes(shapes), x(x) {}

  std::optional<Lanes> trace(Value value, int depth = 0);

private:
  ShapeInference &shapes;
  Value x;
  llvm::DenseMap<Value, std::optional<Lanes>> known;
  llvm::DenseMap<Value, bool> reaches;

  bool reachesX(Value value, int depth);
  std::optional<Lanes> traceOp(Operation *op, int depth);
  std::optional<Lanes> product(MulOp op, int depth);
  std::optional<Lanes> sum(Operation *op, int depth);
  std::optional<Lanes> concat(ConcatOp op, int depth);
  std::optional<Lanes> slice(SliceOp op, int depth);
  std::optional<Lanes> gather(GatherOp op, int depth);
  std::optional<Lanes> reshape(Operation *op, int depth);
  std::optional<Lanes> select(const Lanes &lanes, int64_t axis,
                              ArrayRef<int64_t> indices);
  /// `axis` of a value as one of its lanes' dimensions; negative if it is not.
  int64_t laneAxis(Value value, const Lanes &lanes, int64_t axis) {
    return axis - (rankOf(value) - static_cast<int64_t>(lanes.shape.size()));
  }
};

/// Ops that a rotation is written with.
bool isRotationOp(Operation *op) {
  return op && isa<AddOp, SubOp, MulOp, NegOp, ConcatOp, SliceOp, GatherOp,
                   ReshapeOp, SqueezeOp, UnsqueezeOp>(op);
}

bool LaneTracer::reachesX(Value value, int depth) {
  if (value == x)
    return true;
  auto found = reaches.find(value);
  if (found != reaches.end())
    return found->second;
  Operation *op = value.getDefiningOp();
  bool result = false;
  if (depth < kMaxDepth && isRotationOp(op))
    result = llvm::any_of(op->getOperands(), [&](Value operand) {
      return isa<FloatType>(getElementTypeOrSelf(operand.getType())) &&
             reachesX(operand, depth + 1);
    });
  return reaches[value] = result;
}

std::optional<Lanes> LaneTracer::trace(Value value, int depth) {
  auto found = known.find(value);
  if (found != known.end())
    return found->second;
  std::optional<Lanes> lanes;
  if (value == x) {
    lanes.emplace();
    lanes->shape = {lastDim(x)};
    for (int64_t i = 0; i < lastDim(x); ++i)
      lanes->elements.push_back({Term{1.0, i, nullptr, 0}});
  } else if (depth < kMaxDepth && isRotationOp(value.getDefiningOp())) {
    lanes = traceOp(value.getDefiningOp(), depth + 1);
  }
  return known[value] = lanes;
}

std::optional<Lanes> LaneTracer::traceOp(Operation *op, int depth) {
  if (auto mul = dyn_cast<MulOp>(op))
    return product(mul, depth);
  if (auto neg = dyn_cast<NegOp>(op)) {
    std::optional<Lanes> lanes = trace(neg.getInput(), depth);
    if (lanes)
      for (auto &terms : lanes->elements)
        for (Term &term : terms)
          term.sign = -term.sign;
    return lanes;
  }
  if (isa<AddOp, SubOp>(op))
    return sum(op, depth);
  if (auto concat = dyn_cast<ConcatOp>(op))
    return this->concat(concat, depth);
  if (auto slice = dyn_cast<SliceOp>(op))
    return this->slice(slice, depth);
  if (auto gather = dyn_cast<GatherOp>(op))
    return this->gather(gather, depth);
  return reshape(op, depth);
}

/// x times a factor that is no function of x, or times -1.
std::optional<Lanes> LaneTracer::product(MulOp op, int depth) {
  Value of = op.getLhs(), factor = op.getRhs();
  if (!reachesX(of, 0))
    std::swap(of, factor);
  if (!reachesX(of, 0) || reachesX(factor, 0))
    return std::nullopt;
  std::optional<Lanes> lanes = trace(of, depth);
  if (!lanes)
    return std::nullopt;
  if (std::optional<double> number = matchNumber(factor)) {
    for (auto &terms : lanes->elements)
      for (Term &term : terms)
        term.sign *= *number;
    return lanes;
  }
  auto type = cast<RankedTensorType>(factor.getType());
  if (lanes->shape.size() != 1 || type.getRank() < 1 ||
      type.getRank() > rankOf(of) || lastDim(factor) != lanes->shape.front())
    return std::nullopt;
  for (auto [i, terms] : llvm::enumerate(lanes->elements))
    for (Term &term : terms) {
      if (term.factor)
        return std::nullopt;
      term.factor = factor;
      term.factorLane = i;
    }
  return lanes;
}

std::optional<Lanes> LaneTracer::sum(Operation *op, int depth) {
  std::optional<Lanes> lhs = trace(op->getOperand(0), depth);
  std::optional<Lanes> rhs = trace(op->getOperand(1), depth);
  if (!lhs || !rhs || lhs->shape != rhs->shape ||
      rankOf(op->getOperand(0)) != rankOf(op->getOperand(1)))
    return std::nullopt;
  double sign = isa<SubOp>(op) ? -1.0 : 1.0;
  for (auto [left, right] : llvm::zip(lhs->elements, rhs->elements))
    for (Term term : right) {
      term.sign *= sign;
      left.push_back(term);
    }
  return lhs;
}

std::optional<Lanes> LaneTracer::select(const Lanes &lanes, int64_t axis,
                                        ArrayRef<int64_t> indices) {
  Lanes result;
  result.shape = lanes.shape;
  result.shape[axis] = indices.size();
  int64_t inner = 1, outer = 1;
  for (int64_t i = 0; i < axis; ++i)
    outer *= lanes.shape[i];
  for (int64_t dim : ArrayRef<int64_t>(lanes.shape).drop_front(axis + 1))
    inner *= dim;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t index : indices)
      for (int64_t i = 0; i < inner; ++i)
        result.elements.push_back(
            lanes.elements[(o * lanes.shape[axis] + index) * inner + i]);
  return result;
}

std::optional<Lanes> LaneTracer::concat(ConcatOp op, int depth) {
  SmallVector<Lanes, 4> parts;
  for (Value input : op.getInputs()) {
    std::optional<Lanes> lanes = trace(input, depth);
    if (!lanes)
      return std::nullopt;
    parts.push_back(std::move(*lanes));
  }
  int64_t axis = laneAxis(op.getResult(), parts.front(), op.getAxis());
  if (axis < 0)
    return std::nullopt;
  Lanes result;
  result.shape = parts.front().shape;
  result.shape[axis] = 0;
  for (const Lanes &part : parts) {
    if (part.shape.size() != result.shape.size())
      return std::nullopt;
    result.shape[axis] += part.shape[axis];
  }
  int64_t outer = 1;
  for (int64_t i = 0; i < axis; ++i)
    outer *= result.shape[i];
  for (int64_t o = 0; o < outer; ++o)
    for (const Lanes &part : parts) {
      size_t size = part.elements.size() / outer;
      result.elements.append(part.elements.begin() + o * size,
                             part.elements.begin() + (o + 1) * size);
    }
  return result;
}

std::optional<Lanes> LaneTracer::slice(SliceOp op, int depth) {
  std::optional<Lanes> lanes = trace(op.getInput(), depth);
  auto starts = shapes.constantContent(op.getStarts());
  auto ends = shapes.constantContent(op.getEnds());
  auto steps = shapes.constantContent(op.getSteps());
  if (!lanes || !starts || !ends || !steps)
    return std::nullopt;
  for (auto [i, dim] : llvm::enumerate(op.getAxes())) {
    int64_t axis = laneAxis(op.getInput(), *lanes, dim);
    if (axis < 0 || (*steps)[i] < 1)
      return std::nullopt;
    int64_t size = lanes->shape[axis];
    auto clamped = [&](int64_t bound) {
      return std::clamp<int64_t>(bound < 0 ? bound + size : bound, 0, size);
    };
    SmallVector<int64_t> indices;
    for (int64_t k = clamped((*starts)[i]); k < clamped((*ends)[i]);
         k += (*steps)[i])
      indices.push_back(k);
    lanes = select(*lanes, axis, indices);
  }
  return lanes;
}

/// Taking one element drops a dimension.
std::optional<Lanes> LaneTracer::gather(GatherOp op, int depth) {
  std::optional<Lanes> lanes = trace(op.getInput(), depth);
  auto indices = shapes.constantContent(op.getIndices());
  if (!lanes || !indices || rankOf(op.getIndices()) > 1)
    return std::nullopt;
  int64_t axis = laneAxis(op.getInput(), *lanes, op.getAxis());
  if (axis < 0)
    return std::nullopt;
  for (int64_t &index : *indices) {
    index += index < 0 ? lanes->shape[axis] : 0;
    if (index < 0 || index >= lanes->shape[axis])
      return std::nullopt;
  }
  lanes = select(*lanes, axis, *indices);
  if (rankOf(op.getIndices()) == 0)
    lanes->shape.erase(lanes->shape.begin() + axis);
  return lanes;
}

/// Reshapes that leave the dimensions before the lanes alone.
std::optional<Lanes> LaneTracer::reshape(Operation *op, int depth) {
  std::optional<Lanes> lanes = trace(op->getOperand(0), depth);
  if (!lanes)
    return std::nullopt;
  ShapeInference::Dims before(shapes.dims(op->getOperand(0)));
  ShapeInference::Dims after(shapes.dims(op->getResult(0)));
  size_t lead = before.size() - lanes->shape.size();
  if (after.size() < lead)
    return std::nullopt;
  for (size_t i = 0; i < lead; ++i)
    if (before[i] != after[i])
      return std::nullopt;
  SmallVector<int64_t> shape;
  int64_t size = 1;
  for (size_t i = lead; i < after.size(); ++i) {
    std::optional<int64_t> dim = after[i].asConstant();
    if (!dim)
      return std::nullopt;
    shape.push_back(*dim);
    size *= *dim;
  }
  if (size != static_cast<int64_t>(lanes->elements.size()))
    return std::nullopt;
  lanes->shape = shape;
  return lanes;
}

/// A rotation that was found: which elements of the tables meet element i.
struct Rotation {
  Value cos, sin;
  SmallVector<int64_t> cosLanes, sinLanes;
  bool interleaved;
};

std::optional<Rotation> matchRotation(const Lanes &lanes, bool interleaved) {
  int64_t width = lanes.shape.front(), half = width / 2;
  Rotation rotation;
  rotation.interleaved = interleaved;
  for (auto [index, terms] : llvm::enumerate(lanes.elements)) {
    int64_t i = index;
    bool isFirst = interleaved ? i % 2 == 0 : i < half;
    int64_t partner = interleaved ? (isFirst ? i + 1 : i - 1)
                                  : (isFirst ? i + half : i - half);
    if (terms.size() != 2)
      return std::nullopt;
    const Term *cos = &terms[0], *sin = &terms[1];
    if (cos->lane != i)
      std::swap(cos, sin);
    if (cos->lane != i || sin->lane != partner || cos->sign != 1.0 ||
        sin->sign != (isFirst ? -1.0 : 1.0) || !cos->factor || !sin->factor)
      return std::nullopt;
    if (i == 0) {
      rotation.cos = cos->factor;
      rotation.sin = sin->factor;
    }
    if (rotation.cos != cos->factor || rotation.sin != sin->factor)
      return std::nullopt;
    rotation.cosLanes.push_back(cos->factorLane);
    rotation.sinLanes.push_back(sin->factorLane);
  }
  return rotation;
}

/// The table with one element for each lane.
Value widen(PatternRewriter &rewriter, Location loc, Value table,
            ArrayRef<int64_t> lanes) {
  auto type = cast<RankedTensorType>(table.getType());
  if (static_cast<int64_t>(lanes.size()) == lastDim(table) &&
      llvm::equal(lanes, llvm::seq<int64_t>(lanes.size())))
    return table;
  auto numbers = RankedTensorType::get(lanes.size(), rewriter.getI64Type());
  Value indices =
      ConstantOp::create(rewriter, loc, DenseElementsAttr::get(numbers, lanes));
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = lanes.size();
  return GatherOp::create(rewriter, loc, type.clone(shape), table, indices,
                          type.getRank() - 1);
}

struct Rope : RewritePattern {
  Rope(MLIRContext *context, StringRef op, Recognition &recognition)
      : RewritePattern(op, 1, context), recognition(recognition) {}

  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    Value root = op->getResult(0);
    int64_t width = lastDim(root);
    if (!isa<FloatType>(getElementTypeOrSelf(root.getType())) ||
        ShapedType::isDynamic(width) || width < 2 || width % 2 != 0 ||
        width > kMaxWidth)
      return failure();
    for (Value x : candidates(root)) {
      LaneTracer tracer(recognition.shapes, x);
      std::optional<Lanes> lanes = tracer.trace(root);
      if (!lanes || lanes->shape.size() != 1 || lanes->shape.front() != width)
        continue;
      for (bool interleaved : {false, true})
        if (auto rotation = matchRotation(*lanes, interleaved);
            rotation && succeeded(rewrite(op, x, *rotation, rewriter)))
          return success();
    }
    return rewriter.notifyMatchFailure(op, "no rotation");
  }

private:
  Recognition &recognition;

  /// Values of the root's type that it may be a rotation of.
  SmallVector<Value> candidates(Value root) const {
    llvm::SetVector<Value> reached;
    SmallVector<Value> result;
    reached.insert(root);
    for (size_t i = 0; i < reached.size() && i < 64; ++i) {
      if (i > 0 && reached[i].getType() == root.getType() &&
          recognition.haveSameShape(reached[i], root))
        result.push_back(reached[i]);
      Operation *op = reached[i].getDefiningOp();
      if (isRotationOp(op))
        for (Value operand : op->getOperands())
          if (isa<FloatType>(getElementTypeOrSelf(operand.getType())))
            reached.insert(operand);
    }
    return result;
  }

  LogicalResult rewrite(Operation *op, Value x, const Rotation &rotation,
                        PatternRewriter &rewriter) const {
    Value cos = widen(rewriter, op->getLoc(), rotation.cos, rotation.cosLanes);
    Value sin = widen(rewriter, op->getLoc(), rotation.sin, rotation.sinLanes);
    if (cos.getType() != sin.getType())
      return failure();
    rewriter.replaceOpWithNewOp<RopeOp>(op, x.getType(), x, cos, sin,
                                        rotation.interleaved);
    ++recognition.ropes;
    return success();
  }
};

/// concat(rope(x[..., :r]), x[..., r:]) rotates a part of x.
struct PartialRope : OpRewritePattern<ConcatOp> {
  PartialRope(MLIRContext *context, Recognition &recognition)
      : OpRewritePattern(context), recognition(recognition) {}

  LogicalResult matchAndRewrite(ConcatOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getInputs().size() != 2 ||
        static_cast<int64_t>(op.getAxis()) != rankOf(op) - 1)
      return failure();
    auto rope = op.getInputs()[0].getDefiningOp<RopeOp>();
    auto rest = op.getInputs()[1].getDefiningOp<SliceOp>();
    auto first = rope ? rope.getInput().getDefiningOp<SliceOp>() : SliceOp();
    if (!first || !rest || first.getInput() != rest.getInput() ||
        lastDim(rope.getCos()) != lastDim(rope) ||
        !recognition.haveSameShape(op, rest.getInput()) ||
        op.getType() != rest.getInput().getType())
      return rewriter.notifyMatchFailure(op, "no partial rotation");
    int64_t width = lastDim(rope);
    if (!takes(first, 0, width) || !takes(rest, width, lastDim(op)))
      return rewriter.notifyMatchFailure(op, "parts do not meet");
    rewriter.replaceOpWithNewOp<RopeOp>(op, op.getType(), rest.getInput(),
                                        rope.getCos(), rope.getSin(),
                                        rope.getInterleaved());
    return success();
  }

private:
  Recognition &recognition;

  /// True for the elements `start` to `end` of the last dimension.
  bool takes(SliceOp slice, int64_t start, int64_t end) const {
    auto starts = recognition.shapes.constantContent(slice.getStarts());
    auto ends = recognition.shapes.constantContent(slice.getEnds());
    auto steps = recognition.shapes.constantContent(slice.getSteps());
    int64_t rank = rankOf(slice.getInput()), size = lastDim(slice.getInput());
    if (!starts || !ends || !steps || slice.getAxes().size() != 1 ||
        slice.getAxes().front() != rank - 1 || steps->front() != 1)
      return false;
    auto clamped = [&](int64_t bound) {
      return std::clamp<int64_t>(bound < 0 ? bound + size : bound, 0, size);
    };
    return clamped(starts->front()) == start && clamped(ends->front()) == end;
  }
};

} // namespace

void nju::populateRecognizeRope(RewritePatternSet &patterns,
                                Recognition &recognition) {
  MLIRContext *context = patterns.getContext();
  for (StringRef root :
       {AddOp::getOperationName(), ConcatOp::getOperationName(),
        ReshapeOp::getOperationName()})
    patterns.add<Rope>(context, root, recognition);
  patterns.add<PartialRope>(context, recognition);
}
