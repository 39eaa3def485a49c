//===- Merge.h - merging pairs of symbols, best first -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Byte pair encoding (Sennrich et al., "Neural Machine Translation of Rare
// Words with Subword Units", 2016): of all neighbours that may merge, the pair
// of the lowest rank does, the leftmost of equals first, until none may. A heap
// of candidates over a linked list makes that O(n log n).
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_MERGE_H
#define NJU_RUNTIME_TOKENIZER_MERGE_H

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace nju::tokenizer {

/// What two neighbours become, and how early.
struct Merge {
  uint32_t rank;
  int32_t token;
};

/// Hash table from a pair of token numbers to its merge: open addressing, at
/// most half full, because a word asks it for every pair of neighbours.
class PairTable {
public:
  /// Makes room for `count` pairs; what was in the table is gone.
  void reset(size_t count) {
    size_t capacity = 16;
    while (capacity < 2 * count)
      capacity *= 2;
    slots.assign(capacity, Slot{emptyKey, {0, 0}});
  }

  /// Inserts a pair; the first of equal pairs stays.
  void insert(int32_t left, int32_t right, Merge merge) {
    Slot &slot = slots[locate(key(left, right))];
    if (slot.key == emptyKey)
      slot = {key(left, right), merge};
  }

  std::optional<Merge> find(int32_t left, int32_t right) const {
    const Slot &slot = slots[locate(key(left, right))];
    if (slot.key == emptyKey)
      return std::nullopt;
    return slot.merge;
  }

private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  // Token numbers are never negative, so no pair has this key.
  static constexpr uint64_t emptyKey = ~uint64_t(0);

  static uint64_t key(int32_t left, int32_t right) {
    return uint64_t(uint32_t(left)) << 32 | uint32_t(right);
  }
  size_t locate(uint64_t wanted) const {
    // Fibonacci hashing: the high bits of the product are well mixed.
    size_t mask = slots.size() - 1;
    size_t index = ((wanted * 0x9E3779B97F4A7C15u) >> 32) & mask;
    while (slots[index].key != emptyKey && slots[index].key != wanted)
      index = (index + 1) & mask;
    return index;
  }

  std::vector<Slot> slots = std::vector<Slot>(16, Slot{emptyKey, {0, 0}});
};

/// Merges symbols in place. One merger may be used for many words, one after
/// the other, so that its memory is allocated once.
class Merger {
public:
  /// Replaces `symbols` (token numbers) by their merged form. `lookup(left,
  /// right)` gives the merge of two neighbours, if there is one.
  template <typename Lookup>
  void run(std::vector<int32_t> &symbols, Lookup &&lookup) {
    if (symbols.size() < 2)
      return;
    start(symbols);
    for (int32_t i = 0; i + 1 < static_cast<int32_t>(nodes.size()); ++i)
      offer(i, lookup);
    while (!heap.empty()) {
      Candidate best = heap.front();
      std::pop_heap(heap.begin(), heap.end(), later);
      heap.pop_back();
      if (!apply(best))
        continue;
      if (int32_t previous = nodes[best.position].previous; previous >= 0)
        offer(previous, lookup);
      offer(best.position, lookup);
    }
    symbols.clear();
    for (int32_t i = 0; i >= 0; i = nodes[i].next)
      symbols.push_back(nodes[i].token);
  }

private:
  struct Node {
    int32_t token; // -1: swallowed by its left neighbour.
    int32_t previous, next;
  };
  struct Candidate {
    uint32_t rank;
    int32_t position;
    int32_t left, right, merged;
  };

  static bool later(const Candidate &a, const Candidate &b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }

  void start(const std::vector<int32_t> &symbols) {
    heap.clear();
    nodes.clear();
    for (size_t i = 0; i < symbols.size(); ++i)
      nodes.push_back({symbols[i], static_cast<int32_t>(i) - 1,
                       static_cast<int32_t>(i) + 1});
    nodes.back().next = -1;
  }

  template <typename Lookup>
  void offer(int32_t position, Lookup &lookup) {
    const Node &node = nodes[position];
    if (node.next < 0)
      return;
    int32_t right = nodes[node.next].token;
    if (std::optional<Merge> merge = lookup(node.token, right)) {
      heap.push_back({merge->rank, position, node.token, right, merge->token});
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }

  /// Carries out a candidate unless one of its symbols has changed since.
  bool apply(const Candidate &best) {
    Node &left = nodes[best.position];
    if (left.token != best.left || left.next < 0 ||
        nodes[left.next].token != best.right)
      return false;
    Node &right = nodes[left.next];
    left.token = best.merged;
    right.token = -1;
    left.next = right.next;
    if (left.next >= 0)
      nodes[left.next].previous = best.position;
    return true;
  }

  std::vector<Node> nodes;
  std::vector<Candidate> heap;
};

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_MERGE_H
