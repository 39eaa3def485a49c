//===- Link.cpp - From an object to a shared library ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/Interrupt.h"
#include "nju/Support/OutputFile.h"
#include "nju/Target/Emit.h"
#include "nju/Target/Signature.h"
#include "nju/abi.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"

using namespace llvm;

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
  if (!wanted.empty() && !sys::fs::exists(wanted))
    return createStringError("cannot find '" + wanted +
                             "', which --link=static embeds");
  if (!wanted.empty())
    return wanted.str();
  static int anchor;
  std::string executable = sys::fs::getMainExecutable(nullptr, &anchor);
  StringRef prefix = sys::path::parent_path(sys::path::parent_path(executable));
  for (StringRef folder : {"lib", NJU_INSTALL_LIBDIR}) {
    SmallString<128> path(prefix);
    sys::path::append(path, folder, "libnju_runtime.a");
    if (sys::fs::exists(path))
      return std::string(path);
  }
  return createStringError("cannot find libnju_runtime.a, which --link=static "
                           "embeds, in '" +
                           prefix + "/" NJU_INSTALL_LIBDIR "'");
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

Error nju::linkSharedLibrary(StringRef object, StringRef output, StringRef stem,
                             const LinkOptions &options) {
  Expected<std::string> linker = findLinker(options.linker);
  if (!linker)
    return linker.takeError();
  Expected<TemporaryFile> script =
      TemporaryFile::create("map", exportScript(stem, options.embedRuntime));
  if (!script)
    return script.takeError();
  auto file = OutputFile::create(output);
  if (!file)
    return file.takeError();

  std::vector<std::string> command = {
      *linker, "-shared",
      // Else it makes a temporary file of its
      // own, which an interrupt would leave.
      "--no-mmap-output-file", "--gc-sections", "-z", "defs", "-z", "relro",
      "--build-id", "--hash-style=gnu", "-soname", (stem + ".so").str(),
      "--version-script", script->getPath().str(), "-o",
      (*file)->getTemporaryPath().str(), object.str()};
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
  if (Error error = runProgram(command))
    return createStringError("cannot link '" + output +
                             "': " + toString(std::move(error)));
  return (*file)->commit();
}
