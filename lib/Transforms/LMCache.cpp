//===- LMCache.cpp - Where keys and values come from -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Between the projections and the attention, keys and values are only moved:
// split in heads, transposed, joined with the past, repeated for the query
// heads. How this is written does not matter: every element of the sources gets
// a number of its own, the movement is evaluated, and the numbers show what
// ended where. The presents are followed in the same way.
//
//===----------------------------------------------------------------------===//

#include "LMAttention.h"
#include "PatternUtils.h"
#include "nju/Dialect/NJU/Analysis/RowEvaluator.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace nju;

namespace {

/// The number of an element: its source in the upper bits.
constexpr int kSourceBits = 40;

/// Elements of one source: as many as an evaluator makes.
constexpr int64_t kMaxTraced = int64_t(1) << 28;

/// Elements that are followed at once at the full length, and how often.
constexpr int64_t kElementsAtOnce = int64_t(1) << 18;
constexpr int64_t kBlocks = 64;
/// Elements that may be followed all at once: 128 MB.
constexpr int64_t kElementsAtAll = int64_t(1) << 24;

bool isFloatCast(Operation *op) {
  auto cast = dyn_cast<CastOp>(op);
  return cast && isa<FloatType>(cast.getInput().getType().getElementType()) &&
         isa<FloatType>(cast.getType().getElementType());
}

/// The ways from sources to one value.
struct Movement {
  /// Values that are no movement of something else, and do not depend on a
  /// past.
  llvm::SetVector<Value> fresh;
  /// Arguments, and casts of arguments.
  llvm::SetVector<Value> pasts;
  /// Multiplications by a number, inner ones first.
  llvm::SetVector<Value> scalings;
};

class Tracer {
public:
  explicit Tracer(LMGraph &graph, int64_t maxTokens)
      : graph(graph), maxTokens(maxTokens) {}

  LogicalResult run(MutableArrayRef<LMAttention> attentions);

private:
  /// Keys or values of one attention, followed.
  struct Cached {
    LMAttention *attention;
    LMCacheSource *source;
    Value value;
    bool isTransposed;
    Movement movement;
    StringRef what;
    /// Where group and element are in the fresh row and in the past.
    SmallVector<int64_t> freshColumns, pastColumns;
    BlockArgument past;
  };
  /// A source's elements: `count` rows along one axis, with `inner` elements
  /// of each behind the axis.
  struct Rows {
    int64_t source = 0, count = 0, inner = 1;
  };

  LogicalResult collect(Value value, Movement &movement, bool mayScale);
  bool isFresh(Value value);
  bool isMovedPast(Value value);
  LogicalResult prepare(LMAttention &attention, bool isKey);
  LogicalResult follow(Cached &cached, Evaluator &evaluator, LMLength length);
  FailureOr<HostTensor> evaluate(const Movement &movement, Value value,
                                 Evaluator &evaluator, Location loc);
  LogicalResult followRows(Cached &cached, LMLength length);
  void bindRows(const Movement &movement, RowEvaluator &rows, LMLength length);
  LogicalResult readElements(Cached &cached, const HostTensor &tensor,
                             LMLength length, int64_t first, int64_t count);
  FailureOr<Rows> rowsOf(Value source, bool isPast, LMLength length);
  LogicalResult readElement(const Rows &rows, int64_t number, int64_t row,
                            int64_t &known);
  LogicalResult findGroups(LMAttention &attention);
  bool hasGroups(const Cached &cached, int64_t groups);
  LogicalResult findStrides(Cached &cached);
  LogicalResult checkPresents(ArrayRef<LMLength> lengths);
  LogicalResult checkPresent(Cached &cached, Value present,
                             const Movement &movement, LMLength length);
  LogicalResult bindSources(const Movement &movement, Evaluator &evaluator,
                            LMLength length);
  int64_t headOffset(const Cached &cached, const HostTensor &tensor,
                     int64_t head);
  int64_t elementAt(const Cached &cached, const HostTensor &tensor,
                    int64_t offset, int64_t position, int64_t element);
  std::optional<int64_t> freshAxis(Value value) {
    return graph.tokenAxis(value);
  }
  BlockArgument argumentOf(Value past);

  LMGraph &graph;
  int64_t maxTokens;
  SmallVector<Cached, 0> all;
  llvm::SetVector<Value> sources;
  llvm::DenseMap<Value, bool> movedPast;
};

BlockArgument Tracer::argumentOf(Value past) {
  while (auto cast = past.getDefiningOp<CastOp>())
    past = cast.getInput();
  return cast<BlockArgument>(past);
}

/// True if elements of a past get here by movement.
bool Tracer::isMovedPast(Value value) {
  auto found = movedPast.find(value);
  if (found != movedPast.end())
    return found->second;
  Operation *op = value.getDefiningOp();
  bool moved = !op && llvm::is_contained(graph.getPasts(), value);
  if (op && (isMovement(op) || isFloatCast(op)))
    for (Value operand : op->getOperands())
      moved |= isMovedPast(operand);
  else if (std::optional<WithNumber> scaled = matchScaled(value))
    moved = isMovedPast(scaled->value);
  return movedPast[value] = moved;
}

/// True for new tokens' rows that are no movement of other rows. What joins
/// several values is not taken apart.
bool Tracer::isFresh(Value value) {
  Operation *op = value.getDefiningOp();
  bool moves = isFloatCast(op) || (isMovement(op) && !isa<ConcatOp>(op));
  return !moves || !graph.isData(op->getOperand(0)) ||
         !graph.tokenAxis(op->getOperand(0));
}

/// Walks back from `value` to its sources. With `mayScale`, multiplications of
/// everything by a number are passed.
LogicalResult Tracer::collect(Value value, Movement &movement, bool mayScale) {
  Operation *op = value.getDefiningOp();
  bool hasPast = isMovedPast(value);
  if (!op ? hasPast
          : isFloatCast(op) && hasPast &&
                isa<BlockArgument>(op->getOperand(0))) {
    movement.pasts.insert(value);
    return success();
  }
  if (!op || !graph.isData(value))
    return graph.refuse(value.getLoc(),
                        "keys or values are no function of the tokens");
  std::optional<WithNumber> scaled = matchScaled(value);
  if (mayScale && scaled && (hasPast || graph.getPasts().empty())) {
    if (failed(collect(scaled->value, movement, true)))
      return failure();
    movement.scalings.insert(value);
    return success();
  }
  if (!hasPast && isFresh(value)) {
    movement.fresh.insert(value);
    return success();
  }
  if (!isFloatCast(op) && !isMovement(op))
    return graph.refuse(op->getLoc(),
                        "keys or values are changed after they are cached");
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    if (graph.isData(operand))
      operands.push_back(operand);
  for (Value operand : operands)
    if (failed(collect(operand, movement, mayScale && operands.size() == 1)))
      return failure();
  return success();
}

LogicalResult Tracer::prepare(LMAttention &attention, bool isKey) {
  Cached cached;
  cached.attention = &attention;
  cached.source = isKey ? &attention.keySource : &attention.valueSource;
  cached.value = isKey ? attention.key : attention.value;
  cached.isTransposed = isKey && attention.keyIsTransposed;
  cached.what = isKey ? "keys" : "values";
  if (failed(collect(cached.value, cached.movement, isKey)))
    return failure();
  Location loc = attention.root->getLoc();
  if (cached.movement.fresh.size() != 1 || cached.movement.pasts.size() > 1 ||
      !freshAxis(cached.movement.fresh.front()))
    return graph.refuse(loc, "the " + cached.what + " of an attention have " +
                                 Twine(cached.movement.fresh.size()) +
                                 " sources of new tokens and " +
                                 Twine(cached.movement.pasts.size()) +
                                 " pasts");
  if (cached.movement.pasts.empty() != graph.getPasts().empty())
    return graph.refuse(loc, "an attention has no past, but the graph has");
  cached.source->fresh = cached.movement.fresh.front();
  if (!cached.movement.pasts.empty())
    cached.past = argumentOf(cached.movement.pasts.front());
  for (Value value : cached.movement.fresh)
    sources.insert(value);
  for (Value value : cached.movement.pasts)
    sources.insert(value);
  // Scaling all keys is scaling the scores.
  double factor = 1.0;
  for (Value scaling : cached.movement.scalings)
    factor *= matchScaled(scaling)->number;
  attention.keyScale *= factor;
  all.push_back(std::move(cached));
  return success();
}

LogicalResult Tracer::bindSources(const Movement &movement,
                                  Evaluator &evaluator, LMLength length) {
  Type i64 = IntegerType::get(graph.getFunction().getContext(), 64);
  auto bind = [&](Value value) -> LogicalResult {
    int64_t source = llvm::find(sources, value) - sources.begin();
    SmallVector<int64_t> shape = graph.shapeAt(value, length);
    if (countElements(shape).value_or(kMaxTraced + 1) > kMaxTraced)
      return graph.refuse(value.getLoc(),
                          "keys or values of more than 2^28 elements cannot be "
                          "followed");
    HostTensor numbers = HostTensor::uninitialized(i64, shape);
    for (auto [i, number] : llvm::enumerate(numbers.mutableElements<int64_t>()))
      number = (source << kSourceBits) + static_cast<int64_t>(i);
    evaluator.bind(value, numbers);
    return success();
  };
  auto bindAll = [&](const auto &values) {
    return llvm::all_of(values, [&](Value v) { return succeeded(bind(v)); });
  };
  return success(bindAll(movement.fresh) && bindAll(movement.pasts));
}

FailureOr<HostTensor> Tracer::evaluate(const Movement &movement, Value value,
                                       Evaluator &evaluator, Location loc) {
  // A multiplication does not move: what goes in comes out.
  for (Value scaling : movement.scalings) {
    FailureOr<HostTensor> moved =
        evaluator.evaluate(matchScaled(scaling)->value);
    if (failed(moved))
      return graph.refuse(loc, "keys or values cannot be followed: " +
                                   evaluator.reason());
    evaluator.bind(scaling, *moved);
  }
  FailureOr<HostTensor> tensor = evaluator.evaluate(value);
  if (failed(tensor))
    return graph.refuse(loc, "keys or values cannot be followed: " +
                                 evaluator.reason());
  return tensor;
}

/// Index of a head's first element; leading dimensions of size one serve all
/// heads.
int64_t Tracer::headOffset(const Cached &cached, const HostTensor &tensor,
                           int64_t head) {
  ArrayRef<int64_t> shape = tensor.getShape();
  auto query = cast<RankedTensorType>(cached.attention->query.getType());
  ArrayRef<int64_t> lead = query.getShape().drop_back(2);
  int64_t leadRank = tensor.getRank() - 2;
  int64_t leadIndex = 0;
  if (isa<AttentionOp>(cached.attention->root)) {
    // Query head h uses head h / (H / G).
    int64_t groups = shape[1];
    leadIndex = head / (cached.attention->heads / groups);
  } else {
    SmallVector<int64_t> coordinates = unflatten(head, lead);
    for (int64_t i = 0; i < leadRank; ++i) {
      int64_t inLead = i + static_cast<int64_t>(lead.size()) - leadRank;
      leadIndex =
          leadIndex * shape[i] + (shape[i] == 1 ? 0 : coordinates[inLead]);
    }
  }
  return leadIndex * shape[leadRank] * shape[leadRank + 1];
}

/// Number of the element of a head at a position.
int64_t Tracer::elementAt(const Cached &cached, const HostTensor &tensor,
                          int64_t offset, int64_t position, int64_t element) {
  int64_t columns = tensor.getShape().back();
  int64_t row = cached.isTransposed ? element : position;
  int64_t column = cached.isTransposed ? position : element;
  return tensor.elements<int64_t>()[offset + row * columns + column];
}

/// How the numbers of a source's elements are made of row and column.
FailureOr<Tracer::Rows> Tracer::rowsOf(Value source, bool isPast,
                                       LMLength length) {
  std::optional<int64_t> axis =
      isPast ? graph.pastAxis(source) : graph.tokenAxis(source);
  if (!axis)
    return failure();
  SmallVector<int64_t> shape = graph.shapeAt(source, length);
  Rows rows;
  rows.source = llvm::find(sources, source) - sources.begin();
  rows.count = shape[*axis];
  for (int64_t dim : ArrayRef<int64_t>(shape).drop_front(*axis + 1))
    rows.inner *= dim;
  return rows;
}

/// Learns, or checks, where one element comes from.
LogicalResult Tracer::readElement(const Rows &rows, int64_t number, int64_t row,
                                  int64_t &known) {
  int64_t index = number & ((int64_t(1) << kSourceBits) - 1);
  int64_t outer = index / rows.inner;
  if (number >> kSourceBits != rows.source || outer % rows.count != row)
    return failure();
  int64_t column = outer / rows.count * rows.inner + index % rows.inner;
  if (known < 0)
    known = column;
  return success(known == column);
}

/// Reads the elements of `count` positions from the `first` on.
LogicalResult Tracer::readElements(Cached &cached, const HostTensor &tensor,
                                   LMLength length, int64_t first,
                                   int64_t count) {
  const LMAttention &attention = *cached.attention;
  int64_t columns = attention.heads * attention.headDim;
  cached.freshColumns.resize(columns, -1);
  cached.pastColumns.resize(columns, -1);
  int64_t rank = tensor.getRank();
  int64_t total =
      cached.isTransposed ? tensor.getDim(rank - 1) : tensor.getDim(rank - 2);
  int64_t width =
      cached.isTransposed ? tensor.getDim(rank - 2) : tensor.getDim(rank - 1);
  if (total != count || width != attention.headDim)
    return failure();
  FailureOr<Rows> fresh = rowsOf(cached.movement.fresh.front(), false, length);
  FailureOr<Rows> past = fresh;
  if (length.past > 0 && !cached.movement.pasts.empty())
    past = rowsOf(cached.movement.pasts.front(), true, length);
  if (failed(fresh) || failed(past))
    return failure();
  for (int64_t head = 0; head < attention.heads; ++head) {
    int64_t offset = headOffset(cached, tensor, head);
    for (int64_t row = 0; row < count; ++row)
      for (int64_t element = 0; element < width; ++element) {
        int64_t column = head * width + element;
        int64_t position = first + row;
        bool isPast = position < length.past;
        if (failed(readElement(
                isPast ? *past : *fresh,
                elementAt(cached, tensor, offset, row, element),
                isPast ? position : position - length.past,
                (isPast ? cached.pastColumns : cached.freshColumns)[column])))
          return failure();
      }
  }
  return success();
}

LogicalResult Tracer::follow(Cached &cached, Evaluator &evaluator,
                             LMLength length) {
  if (failed(bindSources(cached.movement, evaluator, length)))
    return failure();
  Location loc = cached.attention->root->getLoc();
  FailureOr<HostTensor> tensor =
      evaluate(cached.movement, cached.value, evaluator, loc);
  if (failed(tensor))
    return failure();
  if (failed(readElements(cached, *tensor, length, 0, length.total())))
    return graph.refuse(loc, "the " + cached.what +
                                 " of an attention are not those of the past "
                                 "and the new tokens in order");
  return success();
}

void Tracer::bindRows(const Movement &movement, RowEvaluator &rows,
                      LMLength length) {
  Type i64 = IntegerType::get(graph.getFunction().getContext(), 64);
  auto bind = [&](Value value) {
    int64_t source = llvm::find(sources, value) - sources.begin();
    SmallVector<int64_t> all = graph.shapeAt(value, length);
    rows.bind(value, [=](RowRange range) -> FailureOr<HostTensor> {
      if (range.first + range.count > all[range.axis])
        return failure();
      SmallVector<int64_t> shape(all);
      shape[range.axis] = range.count;
      int64_t inner = 1;
      for (int64_t dim : ArrayRef<int64_t>(all).drop_front(range.axis + 1))
        inner *= dim;
      HostTensor tensor = HostTensor::uninitialized(i64, shape);
      for (auto [i, number] :
           llvm::enumerate(tensor.mutableElements<int64_t>())) {
        int64_t row = static_cast<int64_t>(i) / inner;
        int64_t outer = row / range.count;
        int64_t index =
            (outer * all[range.axis] + range.first + row % range.count) *
                inner +
            static_cast<int64_t>(i) % inner;
        number = (source << kSourceBits) + index;
      }
      return tensor;
    });
  };
  llvm::for_each(movement.fresh, bind);
  llvm::for_each(movement.pasts, bind);
  // A multiplication does not move: what goes in comes out.
  for (Value scaling : movement.scalings)
    rows.bind(scaling,
              [&rows, inner = matchScaled(scaling)->value](RowRange range) {
                return rows.evaluate(inner, range);
              });
}

/// Follows a long sequence: blocks of positions, the first and the last one
/// among them.
LogicalResult Tracer::followRows(Cached &cached, LMLength length) {
  auto evaluator = graph.createEvaluator(length);
  RowEvaluator rows(*evaluator);
  bindRows(cached.movement, rows, length);
  const LMAttention &attention = *cached.attention;
  Location loc = attention.root->getLoc();
  int64_t axis = cast<RankedTensorType>(cached.value.getType()).getRank() -
                 (cached.isTransposed ? 1 : 2);
  int64_t block = std::max<int64_t>(
      1, kElementsAtOnce / (attention.heads * attention.headDim));
  int64_t blocks = llvm::divideCeil(length.total(), block);
  int64_t wanted = std::min(blocks, kBlocks);
  for (int64_t i = 0; i < wanted; ++i) {
    int64_t first = (wanted > 1 ? i * (blocks - 1) / (wanted - 1) : 0) * block;
    int64_t count = std::min(block, length.total() - first);
    FailureOr<HostTensor> tensor =
        rows.evaluate(cached.value, {axis, first, count});
    // Not every movement can be followed row by row.
    if (failed(tensor) &&
        length.total() * attention.heads * attention.headDim <= kElementsAtAll)
      return follow(cached, *evaluator, length);
    if (failed(tensor) ||
        failed(readElements(cached, *tensor, length, first, count)))
      return graph.refuse(loc, "the " + cached.what +
                                   " of an attention are not those of the past "
                                   "and the new tokens in order for " +
                                   Twine(length.total()) + " tokens");
    rows.clear();
  }
  return success();
}

/// True if the heads of every group use the same elements.
bool Tracer::hasGroups(const Cached &cached, int64_t groups) {
  const LMAttention &attention = *cached.attention;
  int64_t size = attention.heads / groups, width = attention.headDim;
  auto same = [&](ArrayRef<int64_t> columns) {
    for (int64_t head = 0; head < attention.heads; ++head)
      for (int64_t d = 0; d < width; ++d)
        if (columns[head * width + d] !=
            columns[head / size * size * width + d])
          return false;
    return true;
  };
  return same(cached.freshColumns) && same(cached.pastColumns);
}

LogicalResult Tracer::findGroups(LMAttention &attention) {
  SmallVector<Cached *> both;
  for (Cached &cached : all)
    if (cached.attention == &attention)
      both.push_back(&cached);
  for (int64_t groups = 1; groups <= attention.heads; ++groups) {
    if (attention.heads % groups != 0 ||
        !llvm::all_of(both, [&](Cached *c) { return hasGroups(*c, groups); }))
      continue;
    attention.groups = groups;
    for (Cached *cached : both)
      if (failed(findStrides(*cached)))
        return failure();
    return success();
  }
  llvm_unreachable("every head is a group of its own");
}

LogicalResult Tracer::findStrides(Cached &cached) {
  const LMAttention &attention = *cached.attention;
  int64_t width = attention.headDim;
  int64_t size = attention.heads / attention.groups;
  auto column = [&](int64_t group, int64_t d) {
    return cached.freshColumns[group * size * width + d];
  };
  LMCacheSource &source = *cached.source;
  source.base = column(0, 0);
  source.elementStride = width > 1 ? column(0, 1) - column(0, 0) : 1;
  source.groupStride =
      attention.groups > 1 ? column(1, 0) - column(0, 0) : width;
  for (int64_t group = 0; group < attention.groups; ++group)
    for (int64_t d = 0; d < width; ++d)
      if (column(group, d) !=
          source.base + group * source.groupStride + d * source.elementStride)
        return graph.refuse(attention.root->getLoc(),
                            "the " + cached.what +
                                " of an attention are shuffled");
  if (source.elementStride != 1 || source.groupStride < width)
    return graph.refuse(attention.root->getLoc(),
                        "the " + cached.what +
                            " of an attention are interleaved");
  return success();
}

/// Every element that an attention reads of the past is, in the present, what
/// it read at that position: the past's or the new token's.
LogicalResult Tracer::checkPresent(Cached &cached, Value present,
                                   const Movement &movement, LMLength length) {
  auto evaluator = graph.createEvaluator(length);
  if (failed(bindSources(movement, *evaluator, length)) ||
      failed(bindSources(cached.movement, *evaluator, length)))
    return failure();
  Location loc = cached.attention->root->getLoc();
  FailureOr<HostTensor> next = evaluate(movement, present, *evaluator, loc);
  if (failed(next))
    return failure();
  FailureOr<HostTensor> used =
      evaluate(cached.movement, cached.value, *evaluator, loc);
  if (failed(used))
    return failure();
  int64_t axis = *graph.pastAxis(cached.past);
  // All tokens, or the new ones only, which the caller appends.
  SmallVector<int64_t> shape =
      graph.shapeAt(cached.past, LMLength{1, length.total()});
  int64_t first =
      next->getShape() == ArrayRef<int64_t>(shape) ? 0 : length.past;
  shape[axis] -= first;
  if (next->getShape() != ArrayRef<int64_t>(shape))
    return failure();
  SmallVector<int64_t> rest(shape);
  rest.erase(rest.begin() + axis);
  const LMAttention &attention = *cached.attention;
  for (int64_t head = 0; head < attention.heads; ++head) {
    int64_t offset = headOffset(cached, *used, head);
    for (int64_t d = 0; d < attention.headDim; ++d) {
      int64_t column = cached.pastColumns[head * attention.headDim + d];
      SmallVector<int64_t> at = unflatten(column, rest);
      at.insert(at.begin() + axis, 0);
      for (int64_t position = first; position < length.total(); ++position) {
        at[axis] = position - first;
        if (next->elements<int64_t>()[flatten(at, shape)] !=
            elementAt(cached, *used, offset, position, d))
          return failure();
      }
    }
  }
  return success();
}

LogicalResult Tracer::checkPresents(ArrayRef<LMLength> lengths) {
  if (graph.getPasts().empty())
    return success();
  SmallVector<Movement, 0> movements;
  for (Value present : graph.getPresents()) {
    Movement movement;
    if (failed(collect(present, movement, false)))
      return failure();
    movements.push_back(std::move(movement));
  }
  for (Cached &cached : all) {
    bool found = false;
    for (auto [present, movement] : llvm::zip(graph.getPresents(), movements)) {
      bool isPresent = movement.pasts.empty()
                           ? movement.fresh.contains(cached.source->fresh)
                           : llvm::any_of(movement.pasts, [&](Value past) {
                               return argumentOf(past) == cached.past;
                             });
      if (!isPresent || found)
        continue;
      found = true;
      for (LMLength length : lengths)
        if (failed(checkPresent(cached, present, movement, length)))
          return graph.refuse(cached.attention->root->getLoc(),
                              "an output is not the past with the new " +
                                  cached.what + " appended");
    }
    if (!found)
      return graph.refuse(cached.attention->root->getLoc(),
                          "no output holds the " + cached.what +
                              " of an attention for the next call");
  }
  return success();
}

LogicalResult Tracer::run(MutableArrayRef<LMAttention> attentions) {
  for (LMAttention &attention : attentions)
    if (failed(prepare(attention, true)) || failed(prepare(attention, false)))
      return failure();
  SmallVector<LMLength> lengths = {{3, 2}, {2, 5}, {1, 0}, {4, 0}};
  if (graph.getPasts().empty())
    lengths = {{4, 0}, {1, 0}, {7, 0}};
  for (LMLength length : lengths)
    for (Cached &cached : all) {
      auto evaluator = graph.createEvaluator(length);
      if (failed(follow(cached, *evaluator, length)))
        return failure();
    }
  for (LMAttention &attention : attentions)
    if (failed(findGroups(attention)))
      return failure();
  if (failed(checkPresents(lengths)))
    return failure();
  // A cut of the cache beyond some length shows at the full length only. The
  // layers are alike; the first one speaks for them.
  LMLength full = graph.getPasts().empty() ? LMLength{maxTokens, 0}
                                           : LMLength{1, maxTokens - 1};
  for (Cached &cached : MutableArrayRef<Cached>(all).take_front(2))
    if (failed(followRows(cached, full)))
      return failure();
  return success();
}

} // namespace

LogicalResult nju::traceCaches(LMGraph &graph,
                               MutableArrayRef<LMAttention> attentions,
                               int64_t maxTokens) {
  return Tracer(graph, maxTokens).run(attentions);
}

/// `value` and all that it is moved from, and scaled with `mayScale`, up to
/// those for which `ends` holds, these included.
static llvm::SetVector<Value> movedFrom(Value value, bool mayScale,
                                        llvm::function_ref<bool(Value)> ends) {
  llvm::SetVector<Value> reached;
  reached.insert(value);
  for (size_t i = 0; i < reached.size(); ++i) {
    Operation *op = reached[i].getDefiningOp();
    if (!op || ends(reached[i]))
      continue;
    if (isMovement(op) || isFloatCast(op))
      reached.insert(op->operand_begin(), op->operand_end());
    else if (auto scaled = matchScaled(reached[i]); scaled && mayScale)
      reached.insert(scaled->value);
  }
  return reached;
}

SmallVector<std::string>
nju::findLeftOutOutputs(LMGraph &graph, ArrayRef<LMAttention> attentions) {
  // Keys and values, and what they are made of, down to what the cache holds.
  llvm::DenseSet<Value> cached;
  for (const LMAttention &attention : attentions)
    for (auto [value, fresh] :
         {std::pair(attention.key, attention.keySource.fresh),
          std::pair(attention.value, attention.valueSource.fresh)})
      for (Value part : movedFrom(value, true, [fresh = fresh](Value part) {
             return part == fresh;
           }))
        if (graph.isData(part))
          cached.insert(part);
  SmallVector<std::string> names;
  for (auto [index, present] : llvm::enumerate(graph.getPresents())) {
    auto isCached = [&](Value value) { return cached.contains(value); };
    if (llvm::none_of(movedFrom(present, false, isCached), isCached))
      names.push_back(graph.getPresentName(index));
  }
  return names;
}
