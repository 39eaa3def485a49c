//===- checksum.h - Checksum of weight data -----------------------*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The hash that ties a weight file to the code compiled for it. The compiler
// computes it while it writes the data section; the runtime recomputes it when
// it is asked to verify. It detects accidents, it does not withstand attackers.
//
// Definition (docs/abi.md): the bytes are padded with zeros to a multiple of 32
// and read as little-endian 64-bit words; word i belongs to lane i mod 4. A
// lane starts at its number plus one times `prime` and takes in a word w by
//   lane = rotate_left(lane ^ w, 29) * prime.
// The digest folds the lanes 0 to 3 and then the number of bytes in the same
// manner, starting from 0, and finally mixes: h ^= h >> 32; h *= prime;
// h ^= h >> 29. Every step is a bijection of the lane, so one changed word
// always changes the digest. Four lanes keep the multiplier busy: it runs at
// memory speed.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_CHECKSUM_H
#define NJU_CHECKSUM_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace nju {

/// Streaming 64-bit checksum: any number of update calls, then digest.
class Checksum {
public:
  void update(const void *data, size_t size) {
    const auto *bytes = static_cast<const unsigned char *>(data);
    numBytes += size;
    if (numPending) {
      size_t take = size < stripe - numPending ? size : stripe - numPending;
      if (take)
        std::memcpy(pending + numPending, bytes, take);
      numPending += take;
      bytes += take;
      size -= take;
      if (numPending < stripe)
        return;
      absorb(lanes, pending);
      numPending = 0;
    }
    for (; size >= stripe; bytes += stripe, size -= stripe)
      absorb(lanes, bytes);
    if (size)
      std::memcpy(pending, bytes, size);
    numPending = size;
  }

  /// The digest of everything so far; more updates may follow.
  uint64_t digest() const {
    uint64_t last[4] = {lanes[0], lanes[1], lanes[2], lanes[3]};
    if (numPending) {
      unsigned char padded[stripe] = {};
      std::memcpy(padded, pending, numPending);
      absorb(last, padded);
    }
    uint64_t hash = 0;
    for (uint64_t lane : last)
      hash = mix(hash, lane);
    hash = mix(hash, numBytes);
    hash ^= hash >> 32;
    hash *= prime;
    hash ^= hash >> 29;
    return hash;
  }

  /// The digest as the signature and the weight file spell it: 16 lower-case
  /// hexadecimal digits.
  std::string hex() const {
    uint64_t hash = digest();
    std::string text(16, '0');
    for (int i = 15; i >= 0; --i, hash >>= 4)
      text[i] = "0123456789abcdef"[hash & 15];
    return text;
  }

private:
  static constexpr size_t stripe = 32;
  static constexpr uint64_t prime = 0x9e3779b97f4a7c55; // odd

  static uint64_t mix(uint64_t lane, uint64_t word) {
    lane ^= word;
    return (lane << 29 | lane >> 35) * prime;
  }

  static void absorb(uint64_t (&state)[4], const unsigned char *bytes) {
    for (int i = 0; i < 4; ++i) {
      uint64_t word;
      std::memcpy(&word, bytes + 8 * i, 8);
      state[i] = mix(state[i], word);
    }
  }

  uint64_t lanes[4] = {prime, prime * 2, prime * 3, prime * 4};
  uint64_t numBytes = 0;
  size_t numPending = 0;
  unsigned char pending[stripe];
};

} // namespace nju

#endif // NJU_CHECKSUM_H
