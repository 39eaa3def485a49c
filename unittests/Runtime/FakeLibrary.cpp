//===- FakeLibrary.cpp - The fake models as shared libraries --------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// NJU_FAKE_SIGNATURE is the expression that makes the signature.
//
//===----------------------------------------------------------------------===//

#include "FakeModel.h"

using namespace nju;

// Built when the library is loaded: the hash in it is computed.
static const std::string signature = NJU_FAKE_SIGNATURE;

extern "C" __attribute__((
    visibility("default"))) nju_abi_descriptor nju_model_descriptor;
nju_abi_descriptor nju_model_descriptor = fake::makeDescriptor(signature);
