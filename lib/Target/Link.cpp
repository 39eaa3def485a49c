//===- Link.cpp - From an object to a shared library ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/OutputFile.h"
#include "nju/Target/Emit.h"
#include "nju/Target/Signature.h"
#include "nju/abi.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include <optional>

using namespace llvm;

namespace {
/// A file that is removed at the end of its life.
struct TemporaryFile {
  TemporaryFile() = default;
  TemporaryFile(const TemporaryFile &) = delete;
  ~TemporaryFile() {
    if (!path.empty())
      sys::fs::remove(path);
  }
  Error create(StringRef suffix, StringRef content) {
    int descriptor;
    if (std::error_code code =
            sys::fs::createTemporaryFile("nju", suffix, descriptor, path))
      return createStringError(code, "cannot create a temporary file");
    raw_fd_ostream out(descriptor, /*shouldClose=*/true);
    out << content;
    return Error::success();
  }
  SmallString<128> path;
};
} // namespace

static Expected<std::string> findLinker(StringRef wanted) {
  if (!wanted.empty())
    return wanted.str();
  for (StringRef folder : {StringRef(NJU_LLVM_TOOLS_DIR), StringRef()})
    for (StringRef name : {"ld.lld-22", "ld.lld"}) {
      ErrorOr<std::string> path = folder.empty()
                                      ? sys::findProgramByName(name)
                                      : sys::findProgramByName(name, {folder});
      if (path)
        return *path;
    }
  return createStringError(
      "cannot find the linker ld.lld, neither in '" NJU_LLVM_TOOLS_DIR
      "' nor in PATH: install lld-22");
}

/// The first existing `name` in the folders where Linux systems keep libraries.
static Expected<std::string> findLibrary(StringRef name) {
  for (StringRef folder : {NJU_LLVM_LIBRARY_DIR, "/lib/x86_64-linux-gnu",
                           "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64",
                           "/usr/lib", "/usr/local/lib"}) {
    SmallString<128> path(folder);
    sys::path::append(path, name);
    if (sys::fs::exists(path))
      return std::string(path);
  }
  return createStringError(
      "cannot find " + name + ", which the model is linked with" +
      (name.starts_with("libomp") ? ": install libomp-22-dev" : ""));
}

static Expected<std::string> findRuntimeArchive(StringRef wanted) {
  SmallString<128> path(wanted);
  if (path.empty()) {
    static int anchor;
    path = sys::path::parent_path(
        sys::path::parent_path(sys::fs::getMainExecutable(nullptr, &anchor)));
    sys::path::append(path, "lib", "libnju_runtime.a");
  }
  if (!sys::fs::exists(path))
    return createStringError("cannot find '" + path +
                             "', which --link=static embeds");
  return std::string(path);
}

/// What is exported: the descriptor, and with the runtime its C API.
static std::string exportScript(StringRef stem, bool embedRuntime) {
  std::string script = "{ global: " NJU_ABI_DESCRIPTOR_SYMBOL
                       "; " NJU_ABI_DESCRIPTOR_SYMBOL "_" +
                       nju::toIdentifier(stem) + ";";
  if (embedRuntime)
    script += " nju_*;";
  return script + " local: *; };\n";
}

static Error runLinker(ArrayRef<std::string> command, StringRef output) {
  TemporaryFile messages;
  if (Error error = messages.create("txt", ""))
    return error;
  SmallVector<StringRef> arguments(command.begin(), command.end());
  std::optional<StringRef> redirects[] = {StringRef(), messages.path.str(),
                                          messages.path.str()};
  std::string reason;
  int status =
      sys::ExecuteAndWait(command.front(), arguments,
                          /*Env=*/std::nullopt, redirects,
                          /*SecondsToWait=*/0, /*MemoryLimit=*/0, &reason);
  if (status == 0)
    return Error::success();
  if (status > 0)
    if (auto text = MemoryBuffer::getFile(messages.path))
      reason = (*text)->getBuffer().trim().str();
  return createStringError("cannot link '" + output + "': " + command.front() +
                           " failed: " + reason);
}

Error nju::linkSharedLibrary(StringRef object, StringRef output, StringRef stem,
                             const LinkOptions &options) {
  Expected<std::string> linker = findLinker(options.linker);
  if (!linker)
    return linker.takeError();
  TemporaryFile script;
  if (Error error =
          script.create("map", exportScript(stem, options.embedRuntime)))
    return error;
  auto file = OutputFile::create(output);
  if (!file)
    return file.takeError();

  std::vector<std::string> command = {*linker,
                                      "-shared",
                                      "--gc-sections",
                                      "-z",
                                      "defs",
                                      "-z",
                                      "relro",
                                      "--build-id",
                                      "--hash-style=gnu",
                                      "-soname",
                                      (stem + ".so").str(),
                                      "--version-script",
                                      std::string(script.path),
                                      "-o",
                                      (*file)->getTemporaryPath().str(),
                                      object.str()};
  if (options.embedRuntime) {
    Expected<std::string> archive = findRuntimeArchive(options.runtimeArchive);
    if (!archive)
      return archive.takeError();
    command.insert(command.end(),
                   {"--whole-archive", *archive, "--no-whole-archive"});
  }
  command.push_back("--as-needed");
  SmallVector<StringRef> libraries = {"libomp.so.5", "libm.so.6", "libc.so.6"};
  if (options.embedRuntime)
    libraries.append(
        {"libstdc++.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"});
  for (StringRef name : libraries) {
    Expected<std::string> path = findLibrary(name);
    if (!path)
      return path.takeError();
    if (name.starts_with("libomp"))
      command.insert(command.end(),
                     {"-rpath", sys::path::parent_path(*path).str()});
    command.push_back(*path);
  }
  if (Error error = runLinker(command, output))
    return error;
  return (*file)->commit();
}
