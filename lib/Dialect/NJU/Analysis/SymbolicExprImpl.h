//===- SymbolicExprImpl.h - Storage of symbolic expressions -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_ANALYSIS_SYMBOLICEXPRIMPL_H
#define NJU_LIB_DIALECT_NJU_ANALYSIS_SYMBOLICEXPRIMPL_H

#include "nju/Dialect/NJU/Analysis/SymbolicExpr.h"
#include "llvm/ADT/FoldingSet.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Allocator.h"

namespace nju::detail {

/// A product of symbols: their ids, ascending, a power by repetition.
using Monomial = llvm::SmallVector<uint32_t, 2>;

struct Term {
  int64_t coefficient;
  Monomial monomial;
};

/// Terms with different monomials and coefficients that are not 0, ordered by
/// `precedes`; none for the number 0.
struct Polynomial : llvm::FoldingSetNode {
  SymbolicContext *context;
  /// Number in the order of creation; makes orders independent of addresses.
  uint32_t number;
  llvm::SmallVector<Term, 2> terms;

  static void profile(llvm::FoldingSetNodeID &id, llvm::ArrayRef<Term> terms);
  void Profile(llvm::FoldingSetNodeID &id) const { profile(id, terms); }
};

enum class SymbolKind {
  Named,
  Unknown,
  FloorDiv,
  Mod,
  Min,
  Max,
  OverflowAdd,
  OverflowMul
};

struct Symbol {
  SymbolKind kind;
  std::string name;
  /// INT64_MIN: no bound.
  int64_t minimum;
  /// Symbols that it consists of, itself included.
  uint32_t size;
  SymbolicExpr lhs, rhs;
};

/// Graded lexicographic order: higher degrees first, the constant last.
bool precedes(const Monomial &a, const Monomial &b);

struct SymbolicContextImpl {
  explicit SymbolicContextImpl(SymbolicContext &owner) : owner(owner) {}

  SymbolicContext &owner;
  llvm::SpecificBumpPtrAllocator<Polynomial> allocator;
  llvm::FoldingSet<Polynomial> polynomials;
  uint32_t polynomialCount = 0;
  std::vector<Symbol> symbols;
  llvm::StringMap<uint32_t> namedSymbols;
  llvm::DenseMap<std::pair<unsigned, std::pair<SymbolicExpr, SymbolicExpr>>,
                 uint32_t>
      opaqueSymbols;
  uint32_t unknownCount = 0;

  static SymbolicContextImpl &of(SymbolicExpr expr);
  static const Polynomial &get(SymbolicExpr expr) { return *expr.impl; }
  const Symbol &symbol(uint32_t id) const { return symbols[id]; }

  /// Sorts, joins equal monomials and interns; no value on overflow and for
  /// polynomials that are too long.
  std::optional<SymbolicExpr> make(llvm::SmallVector<Term, 2> terms);
  SymbolicExpr symbolExpr(uint32_t id);
  uint32_t addSymbol(Symbol symbol);
  uint32_t sizeOf(const Polynomial &polynomial) const;
  std::string unknownName();
  SymbolicExpr opaque(SymbolKind kind, SymbolicExpr lhs, SymbolicExpr rhs);
  /// The symbol's own expression with other operands.
  static SymbolicExpr rebuild(SymbolKind kind, SymbolicExpr lhs,
                              SymbolicExpr rhs);
  /// A lower bound from the symbols' minimums.
  std::optional<int64_t> lowerBound(const Polynomial &polynomial) const;
  /// Replaces `max(a, b)` by a and by b (`min` under a minus too), which makes
  /// the expression smaller or leaves it.
  bool isAtLeast(SymbolicExpr expr, int64_t bound, unsigned depth);
  void printMonomial(llvm::raw_ostream &os, const Monomial &monomial) const;
  void printSymbol(llvm::raw_ostream &os, const Symbol &symbol) const;
};

} // namespace nju::detail

#endif // NJU_LIB_DIALECT_NJU_ANALYSIS_SYMBOLICEXPRIMPL_H
