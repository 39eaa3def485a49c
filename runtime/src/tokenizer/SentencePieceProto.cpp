//===- SentencePieceProto.cpp - checking sentencepiece models -------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SentencePieceProto.h"
#include "Utf8.h"
#include "Vocabulary.h"
#include <cmath>
#include <cstring>
#include <unordered_set>

namespace nju::tokenizer {

namespace {

//===----------------------------------------------------------------------===//
// Protocol buffer wire format
//===----------------------------------------------------------------------===//

enum class Wire : uint32_t { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };

struct Field {
  uint32_t number = 0;
  Wire wire = Wire::Varint;
  uint64_t value = 0;     ///< Of Varint and Fixed32.
  std::string_view bytes; ///< Of Bytes.
};

/// Reads the fields of a message one after the other.
class FieldReader {
public:
  /// `origin` is where `message` begins in the file, for messages.
  FieldReader(std::string_view message, size_t origin)
      : message(message), origin(origin) {}

  bool atEnd() const { return position == message.size(); }
  size_t offset() const { return origin + position; }

  Status next(Field &field) {
    size_t begin = offset();
    uint64_t tag = 0, length = 0;
    if (!varint(tag) || tag >> 3 == 0 || tag >> 32 != 0)
      return broken(begin);
    field = {};
    field.number = static_cast<uint32_t>(tag >> 3);
    field.wire = static_cast<Wire>(tag & 7);
    switch (field.wire) {
    case Wire::Varint:
      return varint(field.value) ? Status::success() : broken(begin);
    case Wire::Fixed64:
      return fixed(8, field.value) ? Status::success() : broken(begin);
    case Wire::Fixed32:
      return fixed(4, field.value) ? Status::success() : broken(begin);
    case Wire::Bytes:
      if (!varint(length) || length > message.size() - position)
        return broken(begin);
      field.bytes = message.substr(position, length);
      position += length;
      return Status::success();
    }
    return broken(begin);
  }

private:
  static Status broken(size_t offset) {
    return {NJU_DATA_LOSS, "not a sentencepiece model or truncated: broken "
                           "field at byte " +
                               std::to_string(offset)};
  }
  bool varint(uint64_t &value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && position < message.size();
         shift += 7) {
      auto byte = static_cast<unsigned char>(message[position++]);
      value |= uint64_t(byte & 0x7F) << shift;
      if (!(byte & 0x80))
        return true;
    }
    return false;
  }
  bool fixed(size_t size, uint64_t &value) {
    if (message.size() - position < size)
      return false;
    value = 0;
    for (size_t i = size; i-- > 0;)
      value = value << 8 | static_cast<unsigned char>(message[position + i]);
    position += size;
    return true;
  }

  std::string_view message;
  size_t origin, position = 0;
};

Status wrongType(const char *name) {
  return {NJU_DATA_LOSS, std::string("field ") + name +
                             " of the sentencepiece model has the wrong type"};
}

Status readBool(const Field &field, const char *name, bool &out) {
  if (field.wire != Wire::Varint)
    return wrongType(name);
  out = field.value != 0;
  return Status::success();
}

Status readBytes(const Field &field, const char *name, std::string_view &out) {
  if (field.wire != Wire::Bytes)
    return wrongType(name);
  out = field.bytes;
  return Status::success();
}

//===----------------------------------------------------------------------===//
// Messages
//===----------------------------------------------------------------------===//

Status readPiece(std::string_view message, size_t origin,
                 SentencePieceProto::Piece &piece) {
  FieldReader reader(message, origin);
  Field field;
  while (!reader.atEnd()) {
    Status status = reader.next(field);
    if (status.ok() && field.number == 1)
      status = readBytes(field, "piece", piece.text);
    if (!status.ok())
      return status;
    if (field.number == 2) {
      if (field.wire != Wire::Fixed32)
        return wrongType("score");
      auto word = static_cast<uint32_t>(field.value);
      std::memcpy(&piece.score, &word, sizeof(word));
    } else if (field.number == 3) {
      if (field.wire != Wire::Varint || field.value < 1 || field.value > 6)
        return wrongType("type");
      piece.type = static_cast<SentencePieceProto::Type>(field.value);
    }
  }
  return Status::success();
}

Status readTrainerSpec(std::string_view message, size_t origin,
                       SentencePieceProto &model) {
  FieldReader reader(message, origin);
  Field field;
  while (!reader.atEnd()) {
    Status status = reader.next(field);
    if (status.ok() && field.number == 3) {
      if (field.wire != Wire::Varint || field.value < 1 || field.value > 4)
        return wrongType("model_type");
      model.kind = static_cast<SentencePieceProto::Kind>(field.value);
    }
    if (status.ok() && field.number == 35)
      status = readBool(field, "byte_fallback", model.byteFallback);
    if (status.ok() && field.number == 46)
      status = readBytes(field, "bos_piece", model.beginPiece);
    if (status.ok() && field.number == 47)
      status = readBytes(field, "eos_piece", model.endPiece);
    if (status.ok() && field.number == 24)
      status = readBool(field, "treat_whitespace_as_suffix",
                        model.whitespaceAsSuffix);
    if (status.ok() && field.number == 44)
      status = readBytes(field, "unk_surface", model.unknownSurface);
    if (!status.ok())
      return status;
  }
  return Status::success();
}

Status readNormalizerSpec(std::string_view message, size_t origin,
                          SentencePieceProto &model) {
  FieldReader reader(message, origin);
  Field field;
  while (!reader.atEnd()) {
    Status status = reader.next(field);
    if (status.ok() && field.number == 2)
      status = readBytes(field, "precompiled_charsmap", model.characterMap);
    if (status.ok() && field.number == 3)
      status = readBool(field, "add_dummy_prefix", model.addDummyPrefix);
    if (status.ok() && field.number == 4)
      status = readBool(field, "remove_extra_whitespaces",
                        model.removeExtraWhitespace);
    if (status.ok() && field.number == 5)
      status = readBool(field, "escape_whitespaces", model.escapeWhitespace);
    if (!status.ok())
      return status;
  }
  return Status::success();
}

Status readDenormalizerSpec(std::string_view message, size_t origin,
                            SentencePieceProto &model) {
  SentencePieceProto other;
  Status status = readNormalizerSpec(message, origin, other);
  model.denormalizerMap = other.characterMap;
  return status;
}

Status readModel(std::string_view bytes, SentencePieceProto &model) {
  FieldReader reader(bytes, 0);
  Field field;
  while (!reader.atEnd()) {
    if (Status status = reader.next(field); !status.ok())
      return status;
    if (field.number < 1 || field.number > 5)
      continue;
    if (field.wire != Wire::Bytes)
      return wrongType("of a message");
    size_t origin = reader.offset() - field.bytes.size();
    Status status;
    if (field.number == 1) {
      model.pieces.emplace_back();
      status = readPiece(field.bytes, origin, model.pieces.back());
    } else if (field.number == 2) {
      status = readTrainerSpec(field.bytes, origin, model);
    } else if (field.number == 3) {
      status = readNormalizerSpec(field.bytes, origin, model);
    } else if (field.number == 5) {
      status = readDenormalizerSpec(field.bytes, origin, model);
    }
    if (!status.ok())
      return status;
  }
  return Status::success();
}

//===----------------------------------------------------------------------===//
// Checks
//===----------------------------------------------------------------------===//

Status checkPieces(const SentencePieceProto &model) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceProto::Piece &piece = model.pieces[i];
    std::string where = "piece " + std::to_string(i) + " ";
    if (piece.text.empty())
      return {NJU_DATA_LOSS, where + "is empty"};
    // The library keeps the pieces in tries of C strings.
    if (piece.text.find('\0') != std::string_view::npos)
      return {NJU_DATA_LOSS, where + "contains a NUL character"};
    if (!isValidUtf8(piece.text))
      return {NJU_DATA_LOSS, where + quote(piece.text) + " is not UTF-8"};
    if (std::isnan(piece.score))
      return {NJU_DATA_LOSS, where + "has a score that is not a number"};
  }
  return Status::success();
}

/// The library has room for 64 pieces that begin with one another.
Status checkNesting(const SentencePieceProto &model) {
  std::unordered_set<std::string_view> texts;
  for (const SentencePieceProto::Piece &piece : model.pieces)
    if (piece.type == SentencePieceProto::Type::UserDefined)
      texts.insert(piece.text);
  if (texts.size() <= 64)
    return Status::success();
  for (std::string_view text : texts) {
    size_t nested = 0;
    for (size_t size = 1; size <= text.size() && nested <= 64; ++size)
      nested += texts.count(text.substr(0, size));
    if (nested > 64)
      return {NJU_DATA_LOSS, "user-defined piece " + quote(text) +
                                 " begins with more than 63 others"};
  }
  return Status::success();
}

/// Walks the double array of a normalization table (Darts-clone: Yata's compact
/// double array), depth first.
class DoubleArrayCheck {
public:
  DoubleArrayCheck(std::string_view units, std::string_view texts)
      : units(units), texts(texts), states(units.size() / 4, State::New) {}

  Status run() {
    if (states.empty())
      return broken("is empty");
    uint32_t root = offset(unit(0));
    if (Status status = enter(root, 0); !status.ok())
      return status;
    while (!stack.empty()) {
      Frame &frame = stack.back();
      if (frame.next > 255) {
        states[frame.base] = State::Done;
        stack.pop_back();
        continue;
      }
      uint32_t label = frame.next++;
      uint32_t child = frame.base ^ label;
      if ((unit(child) & 0x800000FFu) != label)
        continue;
      uint32_t base = child ^ offset(unit(child));
      bool leaf = unit(child) >> 8 & 1;
      if (Status status = enter(base, frame.leaves + leaf, leaf); !status.ok())
        return status;
    }
    return Status::success();
  }

private:
  enum class State : uint8_t { New, Open, Done };
  struct Frame {
    uint32_t base;
    uint32_t leaves; ///< Keys that end on the way here.
    uint32_t next = 0;
  };

  static Status broken(const std::string &what) {
    return {NJU_DATA_LOSS,
            "the normalization table of the sentencepiece model " + what};
  }

  uint32_t unit(uint32_t index) const {
    uint32_t word = 0;
    for (int i = 3; i >= 0; --i)
      word = word << 8 | static_cast<unsigned char>(units[4 * index + i]);
    return word;
  }
  static uint32_t offset(uint32_t unit) {
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
  }

  Status enter(uint32_t base, uint32_t leaves, bool leaf = false) {
    // The library reads base ^ byte for any byte of the text.
    if ((base | 0xFF) >= states.size())
      return broken("points beyond its end");
    // It has room for 32 keys that begin with one another.
    if (leaves > 32)
      return broken("has more than 32 entries that begin with one another");
    if (leaf)
      if (Status status = checkValue(unit(base) & 0x7FFFFFFFu); !status.ok())
        return status;
    if (states[base] == State::Open)
      return broken("contains a cycle");
    if (states[base] == State::Done && leaves <= deepest(base))
      return Status::success();
    reachedWith.resize(states.size(), 0);
    reachedWith[base] = leaves + 1;
    states[base] = State::Open;
    stack.push_back({base, leaves});
    return Status::success();
  }

  /// Number of keys on the way with which `base` was walked already.
  uint32_t deepest(uint32_t base) const {
    return reachedWith.empty() || !reachedWith[base] ? 0
                                                     : reachedWith[base] - 1;
  }

  Status checkValue(uint32_t value) const {
    if (value >= texts.size())
      return broken("names a text beyond its end");
    if ((static_cast<unsigned char>(texts[value]) & 0xC0) == 0x80)
      return broken("names a text inside a character");
    return Status::success();
  }

  std::string_view units, texts;
  std::vector<State> states;
  std::vector<uint32_t> reachedWith;
  std::vector<Frame> stack;
};

} // namespace

Status checkCharacterMap(std::string_view map) {
  if (map.empty())
    return Status::success();
  auto broken = [](const char *what) {
    return Status(NJU_DATA_LOSS,
                  std::string("the normalization table of the sentencepiece "
                              "model ") +
                      what);
  };
  if (map.size() < 4)
    return broken("is truncated");
  uint32_t size = 0;
  for (int i = 3; i >= 0; --i)
    size = size << 8 | static_cast<unsigned char>(map[i]);
  map.remove_prefix(4);
  if (size % 4 != 0 || size >= map.size())
    return broken("is truncated");
  std::string_view texts = map.substr(size);
  if (texts.back() != '\0')
    return broken("does not end its last text");
  if (!isValidUtf8(texts))
    return broken("contains texts that are not UTF-8");
  return DoubleArrayCheck(map.substr(0, size), texts).run();
}

Result<SentencePieceProto> parseSentencePiece(std::string_view bytes) {
  SentencePieceProto model;
  Status status = readModel(bytes, model);
  if (status.ok() && model.pieces.empty())
    status = {NJU_DATA_LOSS, "the sentencepiece model has no pieces"};
  if (status.ok())
    status = checkPieces(model);
  if (status.ok())
    status = checkNesting(model);
  if (status.ok())
    status = checkCharacterMap(model.characterMap);
  if (status.ok() && !model.denormalizerMap.empty())
    status = {NJU_INCOMPATIBLE, "the sentencepiece model has a denormalizer, "
                                "which is not supported"};
  if (!status.ok())
    return status;
  return model;
}

} // namespace nju::tokenizer
