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
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"

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

/// The processor that `options` link for.
static Triple tripleOf(const nju::LinkOptions &options) {
  return Triple(options.triple.empty() ? sys::getDefaultTargetTriple()
                                       : options.triple);
}

/// Whether the model is for machines like this one.
static bool isNative(const nju::LinkOptions &options) {
  return tripleOf(options).getArch() ==
         Triple(sys::getDefaultTargetTriple()).getArch();
}

/// Where Linux systems keep the libraries of the processor.
static std::vector<std::string>
libraryFolders(const nju::LinkOptions &options) {
  std::string processor =
      (tripleOf(options).getArchName() + "-linux-gnu").str();
  std::string root = options.sysroot;
  std::vector<std::string> folders;
  // Debian's cross compilers have theirs beside those of this machine.
  if (root.empty() && !isNative(options))
    folders = {"/usr/" + processor + "/lib"};
  else if (root.empty())
    folders = {NJU_LLVM_LIBRARY_DIR};
  for (const std::string &folder :
       {"/lib/" + processor, "/usr/lib/" + processor})
    folders.push_back(root + folder);
  // These hold libraries of one processor only.
  if (!root.empty() || isNative(options))
    for (const char *folder : {"/lib64", "/usr/lib64", "/lib", "/usr/lib",
                               "/usr/local/lib", "/usr/lib/llvm-22/lib"})
      folders.push_back(root + folder);
  return folders;
}

/// What to do about a library that is not there.
static std::string adviceFor(StringRef name, const nju::LinkOptions &options) {
  if (!options.sysroot.empty())
    return " in --sysroot=" + options.sysroot;
  if (isNative(options))
    return name.starts_with("libomp") ? ": install libomp-22-dev" : "";
  std::string processor = tripleOf(options).getArchName().str();
  std::string package = name.starts_with("libomp") ? "libomp5" : "libc6";
  return " for " + processor + ": unpack the package " + package + " for it" +
         (package == "libc6" ? ", or install libc6-arm64-cross," : "") +
         " and name the folder by --sysroot, or use --emit=obj";
}

/// The first existing `name` in the folders of libraries.
static Expected<std::string> findLibrary(StringRef name,
                                         const nju::LinkOptions &options) {
  for (const std::string &folder : libraryFolders(options)) {
    SmallString<128> path(folder);
    sys::path::append(path, name);
    if (sys::fs::exists(path))
      return std::string(path);
  }
  return createStringError("cannot find " + name +
                           ", which the model is linked with" +
                           adviceFor(name, options));
}

static Expected<std::string>
findRuntimeArchive(const nju::LinkOptions &options) {
  StringRef wanted = options.runtimeArchive;
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

/// The libraries that every model, and the runtime where it is embedded, needs.
static Expected<std::vector<std::string>>
findLibraries(const nju::LinkOptions &options) {
  std::vector<StringRef> names = {"libomp.so.5", "libm.so.6", "libc.so.6"};
  if (options.embedRuntime) {
    names.insert(names.end(), {"libstdc++.so.6", "libgcc_s.so.1"});
    names.push_back(tripleOf(options).isX86() ? "ld-linux-x86-64.so.2"
                                              : "ld-linux-aarch64.so.1");
  }
  std::vector<std::string> paths;
  for (StringRef name : names) {
    Expected<std::string> path = findLibrary(name, options);
    if (!path)
      return path.takeError();
    paths.push_back(std::move(*path));
  }
  return paths;
}

Error nju::checkLinking(const LinkOptions &options) {
  if (!options.sysroot.empty() && !sys::fs::is_directory(options.sysroot))
    return createStringError("--sysroot=" + options.sysroot + " is no folder");
  if (options.embedRuntime && !isNative(options))
    return createStringError(
        "--link=static embeds the runtime, which is here for this machine "
        "only and not for " +
        tripleOf(options).getArchName() + ": use --link=shared");
  Expected<std::vector<std::string>> libraries = findLibraries(options);
  return libraries ? Error::success() : libraries.takeError();
}

Error nju::linkSharedLibrary(StringRef object, StringRef output, StringRef stem,
                             const LinkOptions &options) {
  Expected<std::string> linker = findLinker(options.linker);
  if (!linker)
    return linker.takeError();
  Expected<std::vector<std::string>> libraries = findLibraries(options);
  if (!libraries)
    return libraries.takeError();
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
    Expected<std::string> archive = findRuntimeArchive(options);
    if (!archive)
      return archive.takeError();
    command.insert(command.end(),
                   {"--whole-archive", *archive, "--no-whole-archive"});
  }
  command.push_back("--as-needed");
  command.insert(command.end(), libraries->begin(), libraries->end());
  // The first is libomp. Another machine has it elsewhere.
  if (isNative(options) && options.sysroot.empty())
    command.insert(
        command.end(),
        {"-rpath", sys::path::parent_path(libraries->front()).str()});
  if (Error error = runProgram(command))
    return createStringError("cannot link '" + output +
                             "': " + toString(std::move(error)));
  return (*file)->commit();
}
