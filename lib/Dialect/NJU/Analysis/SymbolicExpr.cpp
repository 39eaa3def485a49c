//===- SymbolicExpr.cpp - Integer expressions over dimensions -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SymbolicExprImpl.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"
#include <limits>

using namespace nju;
using namespace nju::detail;

static constexpr int64_t kNoMinimum = std::numeric_limits<int64_t>::min();
// Graphs and names of dimensions are foreign input; these bounds keep every
// operation cheap. Shapes of real models stay far below.
/// Polynomials of more terms, and of a higher degree, are opaque.
static constexpr size_t kMaxTerms = 64, kMaxDegree = 16;
/// Opaque symbols that contain more symbols than this are unknowns.
static constexpr uint32_t kMaxSize = 256;

//===----------------------------------------------------------------------===//
// Storage
//===----------------------------------------------------------------------===//

void Polynomial::profile(llvm::FoldingSetNodeID &id,
                         llvm::ArrayRef<Term> terms) {
  for (const Term &term : terms) {
    id.AddInteger(term.coefficient);
    id.AddInteger(term.monomial.size());
    for (uint32_t symbol : term.monomial)
      id.AddInteger(symbol);
  }
}

bool nju::detail::precedes(const Monomial &a, const Monomial &b) {
  if (a.size() != b.size())
    return a.size() > b.size();
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
}

SymbolicContextImpl &SymbolicContextImpl::of(SymbolicExpr expr) {
  return *expr.getContext().impl;
}

std::optional<SymbolicExpr>
SymbolicContextImpl::make(llvm::SmallVector<Term, 2> terms) {
  llvm::sort(terms, [](const Term &a, const Term &b) {
    return precedes(a.monomial, b.monomial);
  });
  llvm::SmallVector<Term, 2> joined;
  for (Term &term : terms) {
    if (!joined.empty() && joined.back().monomial == term.monomial) {
      if (llvm::AddOverflow(joined.back().coefficient, term.coefficient,
                            joined.back().coefficient))
        return std::nullopt;
    } else {
      joined.push_back(std::move(term));
    }
    if (joined.back().coefficient == 0)
      joined.pop_back();
  }
  // The order is by degree.
  if (joined.size() > kMaxTerms ||
      (!joined.empty() && joined.front().monomial.size() > kMaxDegree))
    return std::nullopt;
  llvm::FoldingSetNodeID id;
  Polynomial::profile(id, joined);
  void *position = nullptr;
  if (Polynomial *known = polynomials.FindNodeOrInsertPos(id, position))
    return SymbolicExpr(known);
  auto *polynomial = new (allocator.Allocate()) Polynomial();
  polynomial->context = &owner;
  polynomial->number = polynomialCount++;
  polynomial->terms = std::move(joined);
  polynomials.InsertNode(polynomial, position);
  return SymbolicExpr(polynomial);
}

SymbolicExpr SymbolicContextImpl::symbolExpr(uint32_t id) {
  return *make({Term{1, {id}}});
}

uint32_t SymbolicContextImpl::addSymbol(Symbol symbol) {
  symbols.push_back(std::move(symbol));
  return symbols.size() - 1;
}

/// Lower bound of an opaque symbol, from those of its operands.
static int64_t opaqueMinimum(SymbolKind kind, std::optional<int64_t> lhs,
                             std::optional<int64_t> rhs) {
  switch (kind) {
  case SymbolKind::FloorDiv:
    return lhs && rhs && *lhs >= 0 && *rhs >= 1 ? 0 : kNoMinimum;
  case SymbolKind::Mod:
    return rhs && *rhs >= 1 ? 0 : kNoMinimum;
  case SymbolKind::Min:
    return lhs && rhs ? std::min(*lhs, *rhs) : kNoMinimum;
  case SymbolKind::Max:
    return std::max(lhs.value_or(kNoMinimum), rhs.value_or(kNoMinimum));
  default:
    return kNoMinimum;
  }
}

SymbolicExpr SymbolicContextImpl::opaque(SymbolKind kind, SymbolicExpr lhs,
                                         SymbolicExpr rhs) {
  bool commutes = kind != SymbolKind::FloorDiv && kind != SymbolKind::Mod;
  if (commutes && get(rhs).number < get(lhs).number)
    std::swap(lhs, rhs);
  auto key =
      std::make_pair(static_cast<unsigned>(kind), std::make_pair(lhs, rhs));
  auto known = opaqueSymbols.find(key);
  if (known != opaqueSymbols.end())
    return symbolExpr(known->second);
  int64_t minimum =
      opaqueMinimum(kind, lowerBound(get(lhs)), lowerBound(get(rhs)));
  uint32_t size = 1 + sizeOf(get(lhs)) + sizeOf(get(rhs));
  Symbol symbol{kind, "", minimum, size, lhs, rhs};
  if (size > kMaxSize)
    symbol = {SymbolKind::Unknown, unknownName(), minimum, 1, {}, {}};
  uint32_t id = addSymbol(std::move(symbol));
  opaqueSymbols[key] = id;
  return symbolExpr(id);
}

uint32_t SymbolicContextImpl::sizeOf(const Polynomial &polynomial) const {
  uint32_t size = 0;
  for (const Term &term : polynomial.terms)
    for (uint32_t id : term.monomial)
      size += symbols[id].size;
  return size;
}

std::string SymbolicContextImpl::unknownName() {
  return "?" + std::to_string(unknownCount++);
}

SymbolicExpr SymbolicContextImpl::rebuild(SymbolKind kind, SymbolicExpr lhs,
                                          SymbolicExpr rhs) {
  switch (kind) {
  case SymbolKind::FloorDiv:
    return lhs.floorDiv(rhs);
  case SymbolKind::Mod:
    return lhs.mod(rhs);
  case SymbolKind::Min:
    return SymbolicExpr::min(lhs, rhs);
  case SymbolKind::Max:
    return SymbolicExpr::max(lhs, rhs);
  case SymbolKind::OverflowAdd:
    return lhs + rhs;
  default:
    return lhs * rhs;
  }
}

std::optional<int64_t>
SymbolicContextImpl::lowerBound(const Polynomial &polynomial) const {
  int64_t bound = 0;
  for (const Term &term : polynomial.terms) {
    int64_t product = term.coefficient;
    if (!term.monomial.empty() && product < 0)
      return std::nullopt;
    for (uint32_t id : term.monomial)
      if (symbols[id].minimum < 0 ||
          llvm::MulOverflow(product, symbols[id].minimum, product))
        return std::nullopt;
    if (llvm::AddOverflow(bound, product, bound))
      return std::nullopt;
  }
  return bound;
}

bool SymbolicContextImpl::isAtLeast(SymbolicExpr expr, int64_t bound,
                                    unsigned depth) {
  if (std::optional<int64_t> lower = lowerBound(get(expr));
      lower && *lower >= bound)
    return true;
  if (depth == 0)
    return false;
  // Indices, since new polynomials and symbols may move the old symbols.
  for (size_t i = 0; i < get(expr).terms.size(); ++i) {
    Term term = get(expr).terms[i];
    if (term.monomial.size() != 1)
      continue;
    Symbol inner = symbol(term.monomial[0]);
    if ((inner.kind != SymbolKind::Min || term.coefficient > 0) &&
        (inner.kind != SymbolKind::Max || term.coefficient < 0))
      continue;
    if (inner.kind != SymbolKind::Min && inner.kind != SymbolKind::Max)
      continue;
    SymbolicExpr rest = expr - symbolExpr(term.monomial[0]) * term.coefficient;
    return isAtLeast(rest + inner.lhs * term.coefficient, bound, depth - 1) ||
           isAtLeast(rest + inner.rhs * term.coefficient, bound, depth - 1);
  }
  return false;
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

SymbolicContext &SymbolicExpr::getContext() const { return *impl->context; }

SymbolicExpr SymbolicExpr::getFromOpaquePointer(const void *pointer) {
  SymbolicExpr expr;
  expr.impl = static_cast<const Polynomial *>(pointer);
  return expr;
}

SymbolicExpr SymbolicExpr::operator+(SymbolicExpr other) const {
  auto &context = SymbolicContextImpl::of(*this);
  llvm::SmallVector<Term, 2> terms(impl->terms);
  llvm::append_range(terms, other.impl->terms);
  if (std::optional<SymbolicExpr> sum = context.make(std::move(terms)))
    return *sum;
  return context.opaque(SymbolKind::OverflowAdd, *this, other);
}

/// Product of two monomials.
static Monomial join(const Monomial &a, const Monomial &b) {
  Monomial product;
  std::merge(a.begin(), a.end(), b.begin(), b.end(),
             std::back_inserter(product));
  return product;
}

SymbolicExpr SymbolicExpr::operator*(SymbolicExpr other) const {
  auto &context = SymbolicContextImpl::of(*this);
  llvm::SmallVector<Term, 2> terms;
  if (impl->terms.size() * other.impl->terms.size() > kMaxTerms)
    return context.opaque(SymbolKind::OverflowMul, *this, other);
  bool overflow = false;
  for (const Term &a : impl->terms)
    for (const Term &b : other.impl->terms) {
      Term product{0, join(a.monomial, b.monomial)};
      overflow |= llvm::MulOverflow(a.coefficient, b.coefficient,
                                    product.coefficient) != 0;
      terms.push_back(std::move(product));
    }
  if (!overflow)
    if (std::optional<SymbolicExpr> product = context.make(std::move(terms)))
      return *product;
  return context.opaque(SymbolKind::OverflowMul, *this, other);
}

SymbolicExpr SymbolicExpr::operator-() const { return *this * -1; }
SymbolicExpr SymbolicExpr::operator-(SymbolicExpr other) const {
  return *this + -other;
}
SymbolicExpr SymbolicExpr::operator+(int64_t other) const {
  return *this + getContext().constant(other);
}
SymbolicExpr SymbolicExpr::operator-(int64_t other) const {
  return *this - getContext().constant(other);
}
SymbolicExpr SymbolicExpr::operator*(int64_t other) const {
  return *this * getContext().constant(other);
}

/// a / b, if b divides a.
static std::optional<Term> divideTerm(const Term &a, const Term &b) {
  if (b.coefficient == -1 ? a.coefficient == kNoMinimum
                          : a.coefficient % b.coefficient != 0)
    return std::nullopt;
  Term quotient{a.coefficient / b.coefficient, {}};
  if (!std::includes(a.monomial.begin(), a.monomial.end(), b.monomial.begin(),
                     b.monomial.end()))
    return std::nullopt;
  std::set_difference(a.monomial.begin(), a.monomial.end(), b.monomial.begin(),
                      b.monomial.end(), std::back_inserter(quotient.monomial));
  return quotient;
}

SymbolicExpr SymbolicExpr::exactDiv(SymbolicExpr divisor) const {
  auto &context = SymbolicContextImpl::of(*this);
  if (divisor.impl->terms.empty())
    return {};
  // Long division by leading terms; each step removes the leading term of what
  // is left, and the order is a monomial order, so it ends.
  SymbolicExpr rest = *this, quotient = getContext().constant(0);
  while (!rest.impl->terms.empty()) {
    std::optional<Term> lead =
        divideTerm(rest.impl->terms.front(), divisor.impl->terms.front());
    if (!lead)
      return {};
    Monomial before = rest.impl->terms.front().monomial;
    SymbolicExpr step = *context.make({*lead});
    quotient = quotient + step;
    rest = rest - step * divisor;
    // On overflow the leading term stays.
    if (!rest.impl->terms.empty() &&
        !precedes(before, rest.impl->terms.front().monomial))
      return {};
  }
  return quotient;
}

/// Splits a into q and r with a == q * divisor + r.
static std::pair<SymbolicExpr, SymbolicExpr> splitMultiple(SymbolicExpr a,
                                                           int64_t divisor) {
  auto &context = SymbolicContextImpl::of(a);
  llvm::SmallVector<Term, 2> quotient, rest;
  for (const Term &term : SymbolicContextImpl::get(a).terms) {
    int64_t whole = term.monomial.empty() || term.coefficient % divisor == 0
                        ? llvm::divideFloorSigned(term.coefficient, divisor)
                        : 0;
    if (whole != 0)
      quotient.push_back({whole, term.monomial});
    if (int64_t left = term.coefficient - whole * divisor)
      rest.push_back({left, term.monomial});
  }
  return {*context.make(std::move(quotient)), *context.make(std::move(rest))};
}

namespace {
/// a == whole * divisor + rest. Where `decided`, 0 <= rest < divisor (or the
/// same with the other signs for a negative divisor); else the rest is still to
/// be divided.
struct Division {
  SymbolicExpr whole, rest;
  bool decided;
};
} // namespace

static Division divide(SymbolicExpr a, SymbolicExpr divisor) {
  SymbolicContext &context = a.getContext();
  SymbolicExpr zero = context.constant(0);
  if (SymbolicExpr exact = a.exactDiv(divisor))
    return {exact, zero, true};
  std::optional<int64_t> x = a.asConstant(), y = divisor.asConstant();
  if (x && y) {
    SymbolicExpr quotient = context.constant(llvm::divideFloorSigned(*x, *y));
    return {quotient, a - quotient * divisor, true};
  }
  SymbolicExpr whole = zero, rest = a;
  if (y && *y > 1)
    std::tie(whole, rest) = splitMultiple(a, *y);
  return {whole, rest, rest.isAtLeast(0) && (divisor - rest).isAtLeast(1)};
}

SymbolicExpr SymbolicExpr::floorDiv(SymbolicExpr divisor) const {
  Division division = divide(*this, divisor);
  if (division.decided)
    return division.whole;
  return division.whole + SymbolicContextImpl::of(*this).opaque(
                              SymbolKind::FloorDiv, division.rest, divisor);
}

SymbolicExpr SymbolicExpr::ceilDiv(SymbolicExpr divisor) const {
  return -((-*this).floorDiv(divisor));
}

SymbolicExpr SymbolicExpr::mod(SymbolicExpr divisor) const {
  Division division = divide(*this, divisor);
  if (division.decided)
    return division.rest;
  return SymbolicContextImpl::of(*this).opaque(SymbolKind::Mod, division.rest,
                                               divisor);
}

SymbolicExpr SymbolicExpr::min(SymbolicExpr a, SymbolicExpr b) {
  if ((b - a).isAtLeast(0))
    return a;
  if ((a - b).isAtLeast(0))
    return b;
  return SymbolicContextImpl::of(a).opaque(SymbolKind::Min, a, b);
}

SymbolicExpr SymbolicExpr::max(SymbolicExpr a, SymbolicExpr b) {
  if ((b - a).isAtLeast(0))
    return b;
  if ((a - b).isAtLeast(0))
    return a;
  return SymbolicContextImpl::of(a).opaque(SymbolKind::Max, a, b);
}

//===----------------------------------------------------------------------===//
// Queries
//===----------------------------------------------------------------------===//

std::optional<int64_t> SymbolicExpr::asConstant() const {
  if (impl->terms.empty())
    return 0;
  if (impl->terms.size() == 1 && impl->terms[0].monomial.empty())
    return impl->terms[0].coefficient;
  return std::nullopt;
}

bool SymbolicExpr::isSymbol() const {
  return impl->terms.size() == 1 && impl->terms[0].coefficient == 1 &&
         impl->terms[0].monomial.size() == 1;
}

bool SymbolicExpr::isNamedSymbol() const {
  return isSymbol() && SymbolicContextImpl::of(*this)
                               .symbol(impl->terms[0].monomial[0])
                               .kind == SymbolKind::Named;
}

bool SymbolicExpr::isKnown() const {
  llvm::SetVector<SymbolicExpr> symbols;
  collectSymbols(symbols);
  return llvm::all_of(symbols,
                      [](SymbolicExpr expr) { return expr.isNamedSymbol(); });
}

bool SymbolicExpr::isAtLeast(int64_t bound) const {
  return SymbolicContextImpl::of(*this).isAtLeast(*this, bound, /*depth=*/4);
}

void SymbolicExpr::collectSymbols(
    llvm::SetVector<SymbolicExpr> &symbols) const {
  auto &context = SymbolicContextImpl::of(*this);
  for (const Term &term : impl->terms)
    for (uint32_t id : term.monomial) {
      Symbol symbol = context.symbol(id);
      if (symbol.lhs) {
        symbol.lhs.collectSymbols(symbols);
        symbol.rhs.collectSymbols(symbols);
      } else {
        symbols.insert(context.symbolExpr(id));
      }
    }
}

SymbolicExpr SymbolicExpr::substitute(
    const llvm::DenseMap<SymbolicExpr, SymbolicExpr> &values) const {
  auto &context = SymbolicContextImpl::of(*this);
  SymbolicExpr sum = getContext().constant(0);
  for (const Term &term : impl->terms) {
    SymbolicExpr product = getContext().constant(term.coefficient);
    for (uint32_t id : term.monomial) {
      SymbolicExpr factor = context.symbolExpr(id);
      Symbol symbol = context.symbol(id);
      if (auto value = values.find(factor); value != values.end()) {
        factor = value->second;
      } else if (symbol.lhs) {
        SymbolicExpr lhs = symbol.lhs.substitute(values);
        SymbolicExpr rhs = symbol.rhs.substitute(values);
        // A division by what became zero has no value; the symbol stays.
        bool divides = symbol.kind == SymbolKind::FloorDiv ||
                       symbol.kind == SymbolKind::Mod;
        if (!divides || !rhs.isConstant(0))
          factor = SymbolicContextImpl::rebuild(symbol.kind, lhs, rhs);
      }
      product = product * factor;
    }
    sum = sum + product;
  }
  return sum;
}

std::optional<int64_t> SymbolicExpr::evaluate(
    const llvm::DenseMap<SymbolicExpr, int64_t> &values) const {
  if (std::optional<int64_t> number = asConstant())
    return number;
  llvm::DenseMap<SymbolicExpr, SymbolicExpr> numbers;
  llvm::SetVector<SymbolicExpr> symbols;
  collectSymbols(symbols);
  for (SymbolicExpr symbol : symbols) {
    auto value = values.find(symbol);
    if (value == values.end())
      return std::nullopt;
    numbers[symbol] = getContext().constant(value->second);
  }
  return substitute(numbers).asConstant();
}

//===----------------------------------------------------------------------===//
// Printing
//===----------------------------------------------------------------------===//

void SymbolicContextImpl::printSymbol(llvm::raw_ostream &os,
                                      const Symbol &symbol) const {
  switch (symbol.kind) {
  case SymbolKind::Named:
  case SymbolKind::Unknown:
    os << symbol.name;
    return;
  case SymbolKind::FloorDiv:
    os << "floordiv";
    break;
  case SymbolKind::Mod:
    os << "mod";
    break;
  case SymbolKind::Min:
    os << "min";
    break;
  case SymbolKind::Max:
    os << "max";
    break;
  case SymbolKind::OverflowAdd:
  case SymbolKind::OverflowMul:
    bool adds = symbol.kind == SymbolKind::OverflowAdd;
    os << "overflow((" << symbol.lhs << (adds ? ") + (" : ") * (") << symbol.rhs
       << "))";
    return;
  }
  os << "(" << symbol.lhs << ", " << symbol.rhs << ")";
}

void SymbolicContextImpl::printMonomial(llvm::raw_ostream &os,
                                        const Monomial &monomial) const {
  llvm::interleave(
      monomial, os, [&](uint32_t id) { printSymbol(os, symbols[id]); }, "*");
}

void SymbolicExpr::print(llvm::raw_ostream &os) const {
  if (!impl) {
    os << "<<null>>";
    return;
  }
  if (impl->terms.empty())
    os << "0";
  for (const auto &[i, term] : llvm::enumerate(impl->terms)) {
    bool negative = term.coefficient < 0;
    if (i > 0)
      os << (negative ? " - " : " + ");
    else if (negative)
      os << "-";
    uint64_t size = negative ? 0 - static_cast<uint64_t>(term.coefficient)
                             : static_cast<uint64_t>(term.coefficient);
    if (size != 1 || term.monomial.empty())
      os << size << (term.monomial.empty() ? "" : "*");
    SymbolicContextImpl::of(*this).printMonomial(os, term.monomial);
  }
}

std::string SymbolicExpr::str() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  print(os);
  return text;
}

//===----------------------------------------------------------------------===//
// Context
//===----------------------------------------------------------------------===//

SymbolicContext::SymbolicContext()
    : impl(std::make_unique<SymbolicContextImpl>(*this)) {}
SymbolicContext::~SymbolicContext() = default;

SymbolicExpr SymbolicContext::constant(int64_t value) {
  return *impl->make({Term{value, {}}});
}

SymbolicExpr SymbolicContext::symbol(llvm::StringRef name) {
  auto [entry, isNew] = impl->namedSymbols.try_emplace(name, 0);
  if (isNew) {
    int64_t minimum = name.contains_insensitive("past") ? 0 : 1;
    entry->second =
        impl->addSymbol({SymbolKind::Named, name.str(), minimum, 1, {}, {}});
  }
  return impl->symbolExpr(entry->second);
}

SymbolicExpr SymbolicContext::unknown(int64_t minimum) {
  return impl->symbolExpr(impl->addSymbol(
      {SymbolKind::Unknown, impl->unknownName(), minimum, 1, {}, {}}));
}
