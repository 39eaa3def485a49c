//===- ExpectValue.h - Values of what may fail ------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_EXPECTVALUE_H
#define NJU_UNITTESTS_EXPECTVALUE_H

#include "llvm/Support/Error.h"
#include "gtest/gtest.h"

namespace nju {

/// The value; a failure of the test, and an empty one, if there is an error.
template <typename T>
T expectValue(llvm::Expected<T> value) {
  if (value)
    return std::move(*value);
  ADD_FAILURE() << llvm::toString(value.takeError());
  return T();
}

} // namespace nju

#endif // NJU_UNITTESTS_EXPECTVALUE_H
