//===- Bpe.cpp - byte pair encoding and whole words -----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Model.h"
#include "Normalizer.h"
#include "Utf8.h"
#include <deque>
#include <numeric>

namespace nju::tokenizer {

namespace {

Status noToken(std::string_view text) {
  return {NJU_INVALID_ARGUMENT, "the tokenizer has no token for " +
                                    quote(text) + " and no unknown token"};
}

Status missingInMerge(size_t rank, std::string_view token) {
  return {NJU_DATA_LOSS, "merge " + std::to_string(rank) + " needs the token " +
                             quote(token) + ", which is not in the vocabulary"};
}

} // namespace

BpeModel::BpeModel(const Vocabulary &vocabulary, Options options)
    : vocabulary(vocabulary), options(std::move(options)),
      cutAtSpaces(this->options.prefix.empty() &&
                  this->options.suffix.empty() &&
                  vocabulary.spaceOnlyBegins(spaceSymbol)) {}

Status BpeModel::setMerges(const std::vector<StringPair> &pairs) {
  merges.reset(pairs.size());
  std::string joined;
  for (size_t rank = 0; rank < pairs.size(); ++rank) {
    auto [left, right] = pairs[rank];
    int32_t leftToken = vocabulary.findInModel(left);
    int32_t rightToken = vocabulary.findInModel(right);
    if (leftToken < 0 || rightToken < 0)
      return missingInMerge(rank, leftToken < 0 ? left : right);
    // Only the first symbol of a word goes without the prefix.
    if (right.substr(0, options.prefix.size()) == options.prefix)
      right.remove_prefix(options.prefix.size());
    joined.assign(left).append(right);
    int32_t merged = vocabulary.findInModel(joined);
    if (merged < 0)
      return missingInMerge(rank, joined);
    merges.insert(leftToken, rightToken, {static_cast<uint32_t>(rank), merged});
  }
  return Status::success();
}

bool BpeModel::appendBytes(std::string_view text,
                           std::vector<int32_t> &symbols) const {
  size_t size = symbols.size();
  for (char c : text) {
    int32_t token = vocabulary.byteToken(static_cast<unsigned char>(c));
    if (token < 0) {
      symbols.resize(size);
      return false;
    }
    symbols.push_back(token);
  }
  return true;
}

Status BpeModel::symbolsOf(std::string_view word,
                           std::vector<int32_t> &symbols) const {
  std::string decorated;
  bool afterUnknown = false;
  for (size_t i = 0; i < word.size();) {
    size_t length = decodeCharacter(word, i).length;
    std::string_view symbol = word.substr(i, length);
    bool last = i + length == word.size();
    if ((i > 0 && !options.prefix.empty()) ||
        (last && !options.suffix.empty())) {
      decorated = (i > 0 ? options.prefix : std::string());
      decorated.append(symbol).append(last ? options.suffix : std::string());
      symbol = decorated;
    }
    i += length;
    if (int32_t token = vocabulary.findInModel(symbol); token >= 0) {
      symbols.push_back(token);
      afterUnknown = false;
    } else if (options.byteFallback && appendBytes(symbol, symbols)) {
      afterUnknown = false;
    } else if (options.unknown < 0) {
      return noToken(symbol);
    } else {
      if (!afterUnknown || !options.fuseUnknown)
        symbols.push_back(options.unknown);
      afterUnknown = true;
    }
  }
  return Status::success();
}

namespace {

/// Merges words. They repeat: each is merged once and copied afterwards.
class WordEncoder {
public:
  explicit WordEncoder(std::vector<int32_t> &tokens) : tokens(tokens) {}

  /// `symbolsOf(word, symbols)` says of what a word consists, `lookup(left,
  /// right)` what merges. `word` must stay where it is.
  template <typename Symbols, typename Lookup>
  Status encode(std::string_view word, Symbols &&symbolsOf, Lookup &&lookup) {
    if (auto found = known.find(word); found != known.end()) {
      for (size_t i = found->second.begin; i < found->second.end; ++i)
        tokens.push_back(tokens[i]);
      return Status::success();
    }
    size_t begin = tokens.size();
    symbols.clear();
    if (Status status = symbolsOf(word, symbols); !status.ok())
      return status;
    merger.run(symbols, lookup);
    tokens.insert(tokens.end(), symbols.begin(), symbols.end());
    if (word.size() <= longestKnown)
      known.emplace(word, Span{begin, tokens.size()});
    return Status::success();
  }

private:
  struct Span {
    size_t begin, end; ///< In the tokens.
  };
  static constexpr size_t longestKnown = 64;

  std::vector<int32_t> &tokens;
  std::unordered_map<std::string_view, Span> known;
  std::vector<int32_t> symbols;
  Merger merger;
};

/// Length of the first word of `text`: to before the first space that follows
/// something else.
size_t firstWord(std::string_view text, std::string_view space) {
  size_t position = 0;
  while (text.substr(position, space.size()) == space)
    position += space.size();
  return std::min(text.find(space, position), text.size());
}

} // namespace

Status BpeModel::encode(const std::vector<Piece> &pieces,
                        std::vector<int32_t> &tokens) const {
  WordEncoder encoder(tokens);
  auto symbols = [this](std::string_view word, std::vector<int32_t> &out) {
    return symbolsOf(word, out);
  };
  auto lookup = [this](int32_t left, int32_t right) {
    return merges.find(left, right);
  };
  for (const Piece &piece : pieces) {
    int32_t token = piece.token;
    if (token < 0 && options.ignoreMerges)
      token = vocabulary.findInModel(piece.text);
    if (token >= 0) {
      tokens.push_back(token);
      continue;
    }
    std::string_view rest = piece.text;
    while (!rest.empty()) {
      size_t size = cutAtSpaces ? firstWord(rest, spaceSymbol) : rest.size();
      Status status = encoder.encode(rest.substr(0, size), symbols, lookup);
      if (!status.ok())
        return status;
      rest.remove_prefix(size);
    }
  }
  return Status::success();
}

Status WordLevelModel::encode(const std::vector<Piece> &pieces,
                              std::vector<int32_t> &tokens) const {
  for (const Piece &piece : pieces) {
    int32_t token =
        piece.token >= 0 ? piece.token : vocabulary.findInModel(piece.text);
    if (token < 0 && unknown < 0)
      return noToken(piece.text);
    tokens.push_back(token >= 0 ? token : unknown);
  }
  return Status::success();
}

ScoreBpeModel::ScoreBpeModel(const Vocabulary &vocabulary,
                             const std::vector<float> &scores, Options options)
    : vocabulary(vocabulary), options(std::move(options)), ranks(scores.size()),
      cutAtSpaces(vocabulary.spaceOnlyBegins(this->options.space)) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  uint32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && scores[order[i]] != scores[order[i - 1]])
      ++rank;
    ranks[order[i]] = rank;
  }
}

Status ScoreBpeModel::symbolsOf(std::string_view text,
                                std::vector<int32_t> &symbols) const {
  for (size_t i = 0; i < text.size();) {
    if (const AddedToken *whole = options.whole.longestAt(text, i)) {
      symbols.push_back(whole->id);
      i += whole->content.size();
      continue;
    }
    size_t length = decodeCharacter(text, i).length;
    std::string_view symbol = text.substr(i, length);
    i += length;
    int32_t token = vocabulary.findInModel(symbol);
    if (token >= 0 && vocabulary.kind(token) == TokenKind::Normal) {
      symbols.push_back(token);
      continue;
    }
    for (char c : symbol) {
      token = vocabulary.byteToken(static_cast<unsigned char>(c));
      if (token < 0)
        return noToken(symbol);
      symbols.push_back(token);
    }
  }
  return Status::success();
}

Status ScoreBpeModel::encode(const std::vector<Piece> &pieces,
                             std::vector<int32_t> &tokens) const {
  WordEncoder encoder(tokens);
  std::string joined;
  auto symbols = [this](std::string_view word, std::vector<int32_t> &out) {
    return symbolsOf(word, out);
  };
  auto lookup = [&](int32_t left, int32_t right) -> std::optional<Merge> {
    if (vocabulary.kind(left) != TokenKind::Normal ||
        vocabulary.kind(right) != TokenKind::Normal)
      return std::nullopt;
    joined.assign(vocabulary.text(left)).append(vocabulary.text(right));
    int32_t token = vocabulary.findInModel(joined);
    if (token < 0 || vocabulary.kind(token) != TokenKind::Normal)
      return std::nullopt;
    return Merge{ranks[token], token};
  };
  // The encoder refers to the words, so every text stays until the end.
  std::deque<std::string> texts;
  for (const Piece &piece : pieces) {
    if (piece.token >= 0) {
      tokens.push_back(piece.token);
      continue;
    }
    texts.push_back(options.addPrefix ? options.space : std::string());
    texts.back() += replaceAll(piece.text, " ", options.space);
    std::string_view rest = texts.back();
    while (!rest.empty()) {
      size_t size = cutAtSpaces ? firstWord(rest, options.space) : rest.size();
      Status status = encoder.encode(rest.substr(0, size), symbols, lookup);
      if (!status.ok())
        return status;
      rest.remove_prefix(size);
    }
  }
  return Status::success();
}

} // namespace nju::tokenizer
