//===- TestUtils.h - What the runtime's tests share -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_RUNTIME_TESTUTILS_H
#define NJU_UNITTESTS_RUNTIME_TESTUTILS_H

#include "FakeModel.h"

#include "nju/nju.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <memory>
#include <sstream>
#include <string>
#include <unistd.h>

namespace nju::test {

/// Expects that a call fails with `status` and that its message contains
/// `text`.
#define EXPECT_FAILURE(call, status, text)                                     \
  do {                                                                         \
    EXPECT_EQ(call, status);                                                   \
    EXPECT_NE(std::string(nju_last_error_message()).find(text),                \
              std::string::npos)                                               \
        << "message: " << nju_last_error_message();                            \
  } while (false)

#define ASSERT_OK(call) ASSERT_EQ(call, NJU_OK) << nju_last_error_message()
#define EXPECT_OK(call) EXPECT_EQ(call, NJU_OK) << nju_last_error_message()

/// A folder that goes with the test.
class TemporaryFolder {
public:
  TemporaryFolder() {
    char name[] = "/tmp/nju-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string get(const std::string &name) const { return path + "/" + name; }
  std::string write(const std::string &name, const std::string &bytes) const {
    std::ofstream(get(name), std::ios::binary) << bytes;
    return get(name);
  }

private:
  std::string path;
};

inline std::string readFile(const std::string &path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

struct Release {
  void operator()(nju_model *model) const { nju_model_release(model); }
  void operator()(nju_session *session) const { nju_session_release(session); }
  void operator()(nju_sampler *sampler) const { nju_sampler_release(sampler); }
};
using ModelHandle = std::unique_ptr<nju_model, Release>;
using SessionHandle = std::unique_ptr<nju_session, Release>;
using SamplerHandle = std::unique_ptr<nju_sampler, Release>;

/// The fake language model, opened from its descriptor.
class FakeLanguageModel {
public:
  explicit FakeLanguageModel(
      const std::string &signature = fake::makeLanguageModelSignature())
      : signature(signature), descriptor(fake::makeDescriptor(this->signature)),
        weights(folder.write("fake.safetensors", fake::makeWeightFile())) {}

  nju_status open(nju_model **out) {
    nju_model_options options = {};
    options.weights_path = weights.c_str();
    return nju_model_open(&descriptor, &options, out);
  }
  ModelHandle open() {
    nju_model *model = nullptr;
    EXPECT_OK(open(&model));
    return ModelHandle(model);
  }

  TemporaryFolder folder;
  std::string signature;
  nju_abi_descriptor descriptor;
  std::string weights;
};

/// `text` with the first `from` replaced; fails the test if it is not there.
inline std::string replaced(std::string text, const std::string &from,
                            const std::string &to) {
  size_t at = text.find(from);
  if (at == std::string::npos) {
    ADD_FAILURE() << "no '" << from << "' in " << text;
    return text;
  }
  return text.replace(at, from.size(), to);
}

} // namespace nju::test

#endif // NJU_UNITTESTS_RUNTIME_TESTUTILS_H
