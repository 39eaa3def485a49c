//===- Npy.cpp - Arrays in NumPy's .npy format ----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The format: https://numpy.org/doc/stable/reference/generated/
// numpy.lib.format.html
//
//===----------------------------------------------------------------------===//

#include "Npy.h"

#include "Common.h"

#include <cctype>
#include <cerrno>
#include <cstring>
#include <sys/stat.h>

using namespace nju::run;

static const char magic[] = "\x93NUMPY";

namespace {
struct NpyType {
  const char *name; ///< Without the byte order.
  uint8_t code, bits;
};

/// Reads the dict in a header: one line of Python that NumPy writes always in
/// the same form.
class HeaderParser {
public:
  HeaderParser(const std::string &path, const std::string &text)
      : path(path), text(text) {}

  void parse(std::string &descr, bool &fortranOrder,
             std::vector<int64_t> &shape);

private:
  [[noreturn]] void raise(const char *expected) const {
    throw Failure("'" + path + "' has a bad .npy header: expected " + expected +
                  " at byte " + std::to_string(at) + " of the dict");
  }
  void skipSpace() {
    while (at < text.size() && isspace(static_cast<unsigned char>(text[at])))
      ++at;
  }
  bool accept(const std::string &token) {
    skipSpace();
    if (text.compare(at, token.size(), token))
      return false;
    at += token.size();
    return true;
  }
  void expect(const char *token) {
    if (!accept(token))
      raise(token);
  }
  std::string parseString();
  std::vector<int64_t> parseShape();

  const std::string &path;
  const std::string &text;
  size_t at = 0;
};
} // namespace

static const NpyType types[] = {
    {"f4", kDLFloat, 32},  {"f2", kDLFloat, 16}, {"f8", kDLFloat, 64},
    {"i8", kDLInt, 64},    {"i4", kDLInt, 32},   {"i2", kDLInt, 16},
    {"i1", kDLInt, 8},     {"u1", kDLUInt, 8},   {"u2", kDLUInt, 16},
    {"u4", kDLUInt, 32},   {"u8", kDLUInt, 64},  {"b1", NJU_DL_BOOL, 8},
    {"V2", kDLBfloat, 16},
};

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

std::string HeaderParser::parseString() {
  skipSpace();
  char quote = at < text.size() ? text[at] : 0;
  if (quote != '\'' && quote != '"')
    raise("a string");
  size_t end = text.find(quote, at + 1);
  if (end == std::string::npos)
    raise("a string");
  std::string value = text.substr(at + 1, end - at - 1);
  at = end + 1;
  return value;
}

std::vector<int64_t> HeaderParser::parseShape() {
  std::vector<int64_t> shape;
  expect("(");
  while (!accept(")")) {
    skipSpace();
    int64_t size = 0;
    size_t begin = at;
    for (; at < text.size() && isdigit(static_cast<unsigned char>(text[at]));
         ++at)
      if (__builtin_mul_overflow(size, 10, &size) ||
          __builtin_add_overflow(size, text[at] - '0', &size))
        raise("a size below 2^63");
    if (at == begin)
      raise("a size");
    shape.push_back(size);
    if (!accept(",")) {
      expect(")");
      break;
    }
  }
  return shape;
}

void HeaderParser::parse(std::string &descr, bool &fortranOrder,
                         std::vector<int64_t> &shape) {
  bool hasDescr = false, hasOrder = false, hasShape = false;
  expect("{");
  while (!accept("}")) {
    std::string key = parseString();
    expect(":");
    if (key == "descr") {
      descr = parseString();
      hasDescr = true;
    } else if (key == "fortran_order") {
      fortranOrder = accept("True");
      if (!fortranOrder)
        expect("False");
      hasOrder = true;
    } else if (key == "shape") {
      shape = parseShape();
      hasShape = true;
    } else {
      raise("'descr', 'fortran_order' or 'shape'");
    }
    if (!accept(",")) {
      expect("}");
      break;
    }
  }
  if (!hasDescr || !hasOrder || !hasShape)
    raise("'descr', 'fortran_order' and 'shape'");
}

/// Puts column-major elements into row-major order.
static std::vector<uint8_t> reorderFortran(const std::vector<uint8_t> &source,
                                           const std::vector<int64_t> &shape,
                                           size_t size) {
  std::vector<uint8_t> target(source.size());
  std::vector<int64_t> index(shape.size(), 0);
  for (size_t to = 0; to < target.size(); to += size) {
    int64_t from = 0;
    for (size_t axis = shape.size(); axis-- > 0;)
      from = from * shape[axis] + index[axis];
    memcpy(&target[to], &source[from * size], size);
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis])
        break;
      index[axis] = 0;
    }
  }
  return target;
}

static DLDataType parseType(const std::string &path, const std::string &descr) {
  char order = descr.empty() ? 0 : descr[0];
  for (const NpyType &type : types)
    if (order && descr.substr(1) == type.name) {
      if (order == '>' && type.bits > 8)
        throw Failure("'" + path + "' is big-endian ('" + descr +
                      "'), expected little-endian");
      return {type.code, type.bits, 1};
    }
  throw Failure("'" + path + "' has elements of NumPy type '" + descr +
                "', expected a float, integer or bool type (V2 for bf16)");
}

static void readExactly(FILE *file, const std::string &path, void *data,
                        size_t size) {
  if (size == 0 || fread(data, 1, size, file) == size)
    return;
  if (ferror(file))
    throw Failure("cannot read '" + path + "': " + strerror(errno));
  throw Failure("'" + path + "' is truncated");
}

static std::string readHeader(FILE *file, const std::string &path) {
  unsigned char head[8];
  readExactly(file, path, head, sizeof(head));
  if (memcmp(head, magic, 6))
    throw Failure("'" + path + "' is not a .npy file");
  if (head[6] < 1 || head[6] > 3)
    throw Failure("'" + path + "' has .npy version " + std::to_string(head[6]) +
                  ", expected 1 to 3");
  unsigned char lengthBytes[4] = {};
  readExactly(file, path, lengthBytes, head[6] == 1 ? 2 : 4);
  uint32_t length = lengthBytes[0] | lengthBytes[1] << 8 |
                    lengthBytes[2] << 16 | uint32_t(lengthBytes[3]) << 24;
  if (length > 1 << 20)
    throw Failure("'" + path +
                  "' has a bad .npy header: it is longer than a "
                  "megabyte");
  std::string text(length, 0);
  readExactly(file, path, text.data(), length);
  return text;
}

NpyArray nju::run::readNpy(const std::string &path) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(fopen(path.c_str(), "rbe"),
                                              fclose);
  if (!file)
    throw Failure("cannot open '" + path + "': " + strerror(errno));
  std::string header = readHeader(file.get(), path);
  NpyArray array;
  std::string descr;
  bool fortranOrder = false;
  HeaderParser(path, header).parse(descr, fortranOrder, array.shape);
  array.type = parseType(path, descr);

  // Compare with the file before the memory is asked for.
  size_t size = array.type.bits / 8, bytes = size;
  bool isEmpty = false;
  for (int64_t dimension : array.shape)
    isEmpty |= dimension == 0;
  for (int64_t dimension : array.shape)
    if (!isEmpty && __builtin_mul_overflow(bytes, size_t(dimension), &bytes))
      throw Failure("'" + path + "' has a shape too large to count");
  if (isEmpty)
    bytes = 0;
  struct stat info;
  long position = ftell(file.get());
  if (!fstat(fileno(file.get()), &info) && S_ISREG(info.st_mode) &&
      bytes > size_t(info.st_size - position))
    throw Failure("'" + path + "' is truncated: its shape needs " +
                  std::to_string(bytes) + " bytes of data, it has " +
                  std::to_string(info.st_size - position));
  array.data.resize(bytes);
  readExactly(file.get(), path, array.data.data(), bytes);
  if (fortranOrder && array.shape.size() > 1)
    array.data = reorderFortran(array.data, array.shape, size);
  return array;
}

DLTensor NpyArray::getTensor() {
  DLTensor tensor = {};
  tensor.data = data.data();
  tensor.device = {kDLCPU, 0};
  tensor.ndim = shape.size();
  tensor.dtype = type;
  tensor.shape = shape.data();
  return tensor;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

std::string nju::run::makeNpyHeader(DLDataType type,
                                    const std::vector<int64_t> &shape) {
  std::string descr;
  for (const NpyType &known : types)
    if (known.code == type.code && known.bits == type.bits)
      descr = known.name;
  bool hasOrder = type.bits > 8 && type.code != kDLBfloat;
  std::string dict = std::string("{'descr': '") + (hasOrder ? "<" : "|") +
                     descr + "', 'fortran_order': False, 'shape': (";
  for (int64_t size : shape)
    dict += std::to_string(size) + ", ";
  if (shape.size() > 1)
    dict.resize(dict.size() - 2);
  else if (shape.size() == 1)
    dict.resize(dict.size() - 1);
  dict += "), }";
  // Magic, version and length take 10 bytes; the data starts at a multiple of
  // 64.
  dict.append(63 - (10 + dict.size()) % 64, ' ');
  dict += '\n';
  std::string header(magic, 6);
  header += {1, 0, char(dict.size() & 255), char(dict.size() >> 8)};
  return header + dict;
}

void nju::run::writeNpy(const std::string &path, const DLTensor &tensor) {
  std::vector<int64_t> shape(tensor.shape, tensor.shape + tensor.ndim);
  size_t bytes = tensor.dtype.bits / 8;
  for (int64_t size : shape)
    bytes *= size;
  OutputFile file(path);
  std::string header = makeNpyHeader(tensor.dtype, shape);
  file.write(header.data(), header.size());
  file.write(static_cast<const char *>(tensor.data) + tensor.byte_offset,
             bytes);
  file.commit();
}
