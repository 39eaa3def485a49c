//===- SymbolicExpr.h - Integer expressions over dimensions -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_ANALYSIS_SYMBOLICEXPR_H
#define NJU_DIALECT_NJU_ANALYSIS_SYMBOLICEXPR_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseMapInfo.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace llvm {
class raw_ostream;
} // namespace llvm

namespace nju {

class SymbolicContext;
namespace detail {
struct Polynomial;
struct SymbolicContextImpl;
} // namespace detail

/// An integer expression: a polynomial with int64 coefficients over symbols. A
/// symbol is a name ("batch"), an unknown number, or what a polynomial cannot
/// say: `floordiv`, `mod`, `min`, `max` and `overflow` of expressions.
///
/// Expressions of one context are interned: two of them are the same polynomial
/// exactly if they compare equal, and a copy is a pointer. A
/// default-constructed expression is null; only `operator bool` and comparison
/// may be used on it. Expressions are valid as long as their context. Not
/// thread-safe: expressions of one context belong to one thread at a time.
class SymbolicExpr {
public:
  SymbolicExpr() = default;

  explicit operator bool() const { return impl != nullptr; }
  bool operator==(SymbolicExpr other) const { return impl == other.impl; }
  bool operator!=(SymbolicExpr other) const { return impl != other.impl; }

  /// Sum, difference and product. Where a coefficient leaves int64, or the
  /// result would have more than 64 terms or a degree above 16, it is the
  /// opaque symbol `overflow(...)`. Opaque symbols of more than 256 symbols are
  /// unknowns, so that every operation is cheap whatever the graph.
  SymbolicExpr operator+(SymbolicExpr other) const;
  SymbolicExpr operator-(SymbolicExpr other) const;
  SymbolicExpr operator*(SymbolicExpr other) const;
  SymbolicExpr operator-() const;
  SymbolicExpr operator+(int64_t other) const;
  SymbolicExpr operator-(int64_t other) const;
  SymbolicExpr operator*(int64_t other) const;

  /// The polynomial q with q * divisor == *this, if there is one with integer
  /// coefficients; null otherwise, also if the divisor is zero.
  SymbolicExpr exactDiv(SymbolicExpr divisor) const;
  /// The quotient rounded down: exact where one divides the other, a number
  /// for numbers, else the symbol `floordiv(a, b)`. The divisor must not be
  /// the number 0.
  SymbolicExpr floorDiv(SymbolicExpr divisor) const;
  /// The quotient rounded up.
  SymbolicExpr ceilDiv(SymbolicExpr divisor) const;
  /// Remainder of `floorDiv`: for a positive divisor never negative.
  SymbolicExpr mod(SymbolicExpr divisor) const;
  /// The smaller (larger) one; decided where `isAtLeast` decides it, else a
  /// symbol.
  static SymbolicExpr min(SymbolicExpr a, SymbolicExpr b);
  static SymbolicExpr max(SymbolicExpr a, SymbolicExpr b);

  bool isConstant() const { return asConstant().has_value(); }
  bool isConstant(int64_t value) const { return asConstant() == value; }
  std::optional<int64_t> asConstant() const;
  /// True for a single symbol with coefficient 1.
  bool isSymbol() const;
  /// True for a single symbol that has a name (see SymbolicContext::symbol).
  bool isNamedSymbol() const;
  /// True if no symbol, also inside of `floordiv` and the like, is an unknown
  /// number (see SymbolicContext::unknown).
  bool isKnown() const;
  /// True if the expression is at least `bound` whatever the symbols are, each
  /// being at least its minimum. False means "not proved".
  bool isAtLeast(int64_t bound) const;

  /// Replaces symbols: the keys are symbols, opaque ones among them. What is
  /// inside of an opaque symbol is replaced and simplified too.
  SymbolicExpr
  substitute(const llvm::DenseMap<SymbolicExpr, SymbolicExpr> &values) const;
  /// The value where every symbol has one; no value if one is missing, a
  /// divisor becomes zero, or the result overflows.
  std::optional<int64_t>
  evaluate(const llvm::DenseMap<SymbolicExpr, int64_t> &values) const;
  /// Adds the symbols that the expression depends on: names and unknown
  /// numbers, also those inside of opaque symbols.
  void collectSymbols(llvm::SetVector<SymbolicExpr> &symbols) const;

  /// For example `past_sequence_length + 2*sequence_length - 1`.
  void print(llvm::raw_ostream &os) const;
  std::string str() const;

  SymbolicContext &getContext() const;
  const void *getAsOpaquePointer() const { return impl; }
  static SymbolicExpr getFromOpaquePointer(const void *pointer);

private:
  friend struct detail::SymbolicContextImpl;
  explicit SymbolicExpr(const detail::Polynomial *impl) : impl(impl) {}
  const detail::Polynomial *impl = nullptr;
};

inline llvm::raw_ostream &operator<<(llvm::raw_ostream &os, SymbolicExpr expr) {
  expr.print(os);
  return os;
}

/// Owns expressions. Not thread-safe; neither copied nor moved.
class SymbolicContext {
public:
  SymbolicContext();
  ~SymbolicContext();
  SymbolicContext(const SymbolicContext &) = delete;
  SymbolicContext &operator=(const SymbolicContext &) = delete;

  SymbolicExpr constant(int64_t value);
  /// The symbol of this name. Names of dimensions are at least 1; those that
  /// contain "past" may be 0, since a cache is empty before the first token.
  SymbolicExpr symbol(llvm::StringRef name);
  /// A new unknown number that is at least `minimum`, or any number if that is
  /// INT64_MIN. It prints as `?0`, `?1`, ...
  SymbolicExpr unknown(int64_t minimum = 0);
  /// Reads a dimension name as exporters write it: names, integers, + - * //
  /// /, unary minus, parentheses, `floor(a / b)`, `floordiv(a, b)`, `min`,
  /// `max` and `mod`. Text that is no such expression is one symbol whose name
  /// is the text.
  SymbolicExpr parse(llvm::StringRef text);

private:
  friend class SymbolicExpr;
  friend struct detail::SymbolicContextImpl;
  std::unique_ptr<detail::SymbolicContextImpl> impl;
};

} // namespace nju

namespace llvm {
template <>
struct DenseMapInfo<nju::SymbolicExpr> {
  static nju::SymbolicExpr getEmptyKey() {
    return nju::SymbolicExpr::getFromOpaquePointer(
        DenseMapInfo<const void *>::getEmptyKey());
  }
  static nju::SymbolicExpr getTombstoneKey() {
    return nju::SymbolicExpr::getFromOpaquePointer(
        DenseMapInfo<const void *>::getTombstoneKey());
  }
  static unsigned getHashValue(nju::SymbolicExpr expr) {
    return DenseMapInfo<const void *>::getHashValue(expr.getAsOpaquePointer());
  }
  static bool isEqual(nju::SymbolicExpr a, nju::SymbolicExpr b) {
    return a == b;
  }
};
} // namespace llvm

#endif // NJU_DIALECT_NJU_ANALYSIS_SYMBOLICEXPR_H
