//===- documents.h - The documents of a text ----------------------*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// nju-run judges models by text and nju-compile calibrates by it: both cut it
// in the same documents.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DOCUMENTS_H
#define NJU_DOCUMENTS_H

#include <algorithm>
#include <string_view>
#include <vector>

namespace nju {

/// What stands between documents unless something else is said.
inline constexpr std::string_view documentSeparator = "<|endoftext|>";

/// The documents of a text, without the white space that begins them: a line
/// break after the separator belongs to the separator. A text that has none, or
/// is not to be split (`separator` is empty), is one document as it is. The
/// views are valid as long as the text.
inline std::vector<std::string_view>
splitDocuments(std::string_view text,
               std::string_view separator = documentSeparator) {
  if (separator.empty() || text.find(separator) == text.npos)
    return {text};
  std::vector<std::string_view> documents;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(separator, begin), text.size());
    size_t first = text.find_first_not_of(" \t\r\n", begin);
    if (first < end)
      documents.push_back(text.substr(first, end - first));
    begin = end + separator.size();
  }
  return documents;
}

} // namespace nju

#endif // NJU_DOCUMENTS_H
