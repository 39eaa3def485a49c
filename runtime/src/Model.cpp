//===- Model.cpp - A loaded model -----------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Model.h"

#include "CpuFeatures.h"
#include "Memory.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <unistd.h>

using namespace nju;

#if defined(__x86_64__)
static constexpr int hostMachine = EM_X86_64;
static constexpr const char *hostMachineName = "x86-64";
#elif defined(__aarch64__)
static constexpr int hostMachine = EM_AARCH64;
static constexpr const char *hostMachineName = "aarch64";
#else
#error "this machine is not supported"
#endif

Model::~Model() {
  if (library)
    dlclose(library);
}

//===----------------------------------------------------------------------===//
// The shared library
//===----------------------------------------------------------------------===//

/// Every segment must lie inside the file: the dynamic loader maps them without
/// looking, and touching what is not there kills the process.
static nju_status checkSegments(const std::string &path, const MappedFile &file,
                                const Elf64_Ehdr &header) {
  uint64_t tableEnd;
  if (header.e_phentsize != sizeof(Elf64_Phdr) ||
      __builtin_add_overflow(header.e_phoff,
                             uint64_t(header.e_phnum) * sizeof(Elf64_Phdr),
                             &tableEnd) ||
      tableEnd > file.getSize())
    return fail(NJU_DATA_LOSS,
                "model '%s' is damaged: its program headers lie outside the "
                "file",
                path.c_str());
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    memcpy(&segment, file.getData() + header.e_phoff + i * sizeof(Elf64_Phdr),
           sizeof(segment));
    uint64_t end;
    if (__builtin_add_overflow(segment.p_offset, segment.p_filesz, &end) ||
        (segment.p_filesz && end > file.getSize()))
      return fail(NJU_DATA_LOSS,
                  "model '%s' is truncated: segment %u ends at byte %" PRIu64
                  " of a file of %" PRIu64,
                  path.c_str(), i, segment.p_offset + segment.p_filesz,
                  file.getSize());
  }
  return NJU_OK;
}

static std::string describeMachine(const Elf64_Ehdr &header) {
  if (header.e_machine == EM_X86_64)
    return "x86-64";
  if (header.e_machine == EM_AARCH64)
    return "aarch64";
  return "ELF machine " + std::to_string(header.e_machine);
}

/// Checks what the dynamic loader would report badly or not survive.
static nju_status checkLibrary(const std::string &path) {
  MappedFile file;
  if (nju_status status = file.open(path, "model"))
    return status;
  Elf64_Ehdr header;
  if (file.getSize() < sizeof(header) ||
      memcmp(file.getData(), ELFMAG, SELFMAG))
    return fail(NJU_INVALID_ARGUMENT,
                "model '%s' is not a shared library made by nju-compile",
                path.c_str());
  memcpy(&header, file.getData(), sizeof(header));
  if (header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != hostMachine)
    return fail(NJU_INCOMPATIBLE,
                "model '%s' was compiled for another machine (%s), this one is "
                "%s: compile it for this machine with --target=%s",
                path.c_str(), describeMachine(header).c_str(), hostMachineName,
                hostMachineName);
  if (header.e_type != ET_DYN)
    return fail(NJU_INVALID_ARGUMENT,
                "model '%s' is an ELF file but no shared library",
                path.c_str());
  return checkSegments(path, file, header);
}

nju_status Model::load(const std::string &path,
                       const nju_model_options &options) {
  if (nju_status status = checkLibrary(path))
    return status;
  // Without a slash dlopen would search the system's folders.
  char *absolute = realpath(path.c_str(), nullptr);
  if (!absolute)
    return fail(NJU_IO_ERROR, "cannot resolve the path of model '%s': %s",
                path.c_str(), strerror(errno));
  library = dlopen(absolute, RTLD_NOW | RTLD_LOCAL);
  free(absolute);
  if (!library)
    return fail(NJU_INCOMPATIBLE, "cannot load model '%s': %s", path.c_str(),
                dlerror());
  const void *symbol = dlsym(library, NJU_ABI_DESCRIPTOR_SYMBOL);
  if (!symbol)
    return fail(NJU_INVALID_ARGUMENT,
                "'%s' is a shared library but no model made by nju-compile: it "
                "has no symbol '%s'",
                path.c_str(), NJU_ABI_DESCRIPTOR_SYMBOL);
  return open(symbol, path, options);
}

//===----------------------------------------------------------------------===//
// The descriptor
//===----------------------------------------------------------------------===//

nju_status Model::checkDescriptor(const void *address) {
  // Read the head alone first: the rest may not be there in another version.
  struct {
    char magic[8];
    uint32_t version, size;
  } head;
  memcpy(&head, address, sizeof(head));
  if (memcmp(head.magic, NJU_ABI_MAGIC, sizeof(head.magic)))
    return fail(NJU_INVALID_ARGUMENT,
                "the descriptor is not one of a model made by nju-compile: it "
                "does not begin with '%s'",
                NJU_ABI_MAGIC);
  if (head.version != NJU_ABI_VERSION)
    return fail(NJU_INCOMPATIBLE,
                "the model has ABI version %" PRIu32
                ", this runtime has %d: compile the model again",
                head.version, NJU_ABI_VERSION);
  if (head.size != sizeof(nju_abi_descriptor))
    return fail(NJU_INCOMPATIBLE,
                "the model's descriptor has %" PRIu32
                " bytes, this runtime expects %zu: compile the model again",
                head.size, sizeof(nju_abi_descriptor));
  descriptor = static_cast<const nju_abi_descriptor *>(address);
  if (!descriptor->signature)
    return fail(NJU_DATA_LOSS, "the model's descriptor has no signature");
  if (descriptor->signature[descriptor->signature_length])
    return fail(NJU_DATA_LOSS,
                "the model's signature does not end after the "
                "%" PRIu64 " bytes that its descriptor says",
                descriptor->signature_length);
  return NJU_OK;
}

//===----------------------------------------------------------------------===//
// Variants
//===----------------------------------------------------------------------===//

/// Which of a variant's features this machine lacks: empty if it can run.
static std::string getMissingFeatures(const Variant &variant) {
  std::string missing;
  for (const std::string &feature : variant.features) {
    FeatureState state = getCpuFeature(feature);
    if (state == FeatureState::Present)
      continue;
    missing += (missing.empty() ? "" : ", ") + feature;
    if (state == FeatureState::Unknown)
      missing += " (which this runtime does not know)";
  }
  return missing;
}

/// Why none of the variants can run here.
static nju_status failWithoutVariant(const Signature &signature) {
  std::string reasons;
  for (const Variant &variant : signature.variants) {
    reasons += reasons.empty() ? "" : "; ";
    if (signature.variants.size() > 1)
      reasons += "for " + variant.name + " ";
    reasons += getMissingFeatures(variant);
  }
  return fail(NJU_INCOMPATIBLE,
              "model '%s' was compiled for %s, this machine (%s) lacks %s: "
              "compile it for this machine with --target=host",
              signature.name.c_str(), signature.target.c_str(),
              getCpuName().c_str(), reasons.c_str());
}

const std::string &Model::getVariant() const {
  return signature.variants[code - descriptor->variants].name;
}

nju_status Model::useVariant(size_t index) {
  code = &descriptor->variants[index];
  if (signature.isLanguageModel ? code->step != nullptr : code->run != nullptr)
    return NJU_OK;
  return fail(NJU_DATA_LOSS, "model '%s' has no function '%s'",
              signature.name.c_str(),
              signature.isLanguageModel ? "step" : "run");
}

nju_status Model::chooseVariant(const char *wanted) {
  if (descriptor->num_variants != signature.variants.size() ||
      !descriptor->variants)
    return fail(NJU_DATA_LOSS,
                "model '%s' has code for %" PRIu64
                " variants, its signature lists %zu",
                signature.name.c_str(), descriptor->num_variants,
                signature.variants.size());
  std::string names;
  for (size_t i = 0; i < signature.variants.size(); ++i) {
    const Variant &variant = signature.variants[i];
    names += (i ? ", " : "") + variant.name;
    if (wanted && variant.name != wanted)
      continue;
    std::string missing = getMissingFeatures(variant);
    if (missing.empty())
      return useVariant(i);
    if (wanted)
      return fail(NJU_INCOMPATIBLE,
                  "variant '%s' of model '%s' cannot run here: this machine "
                  "(%s) lacks %s",
                  wanted, signature.name.c_str(), getCpuName().c_str(),
                  missing.c_str());
  }
  if (wanted)
    return fail(NJU_INVALID_ARGUMENT,
                "model '%s' has no variant '%s', expected one of: %s",
                signature.name.c_str(), wanted, names.c_str());
  return failWithoutVariant(signature);
}

//===----------------------------------------------------------------------===//
// Opening
//===----------------------------------------------------------------------===//

/// The weight file beside the library: by the compiled name, or by the
/// library's own if both were renamed (the hash is compared anyway).
static std::string findWeights(const std::string &path,
                               const std::string &compiledName) {
  size_t slash = path.rfind('/');
  std::string folder =
      slash == std::string::npos ? "" : path.substr(0, slash + 1);
  std::string named = folder + compiledName;
  if (access(named.c_str(), F_OK) == 0)
    return named;
  std::string stem = path.substr(folder.size());
  size_t dot = stem.rfind('.');
  std::string renamed = folder + stem.substr(0, dot) + ".safetensors";
  return access(renamed.c_str(), F_OK) == 0 ? renamed : named;
}

nju_status Model::openWeights(const std::string &path,
                              const nju_model_options &options) {
  if (!signature.hasWeights)
    return NJU_OK;
  std::string file;
  if (options.weights_path)
    file = options.weights_path;
  else if (!path.empty())
    file = findWeights(path, signature.weightsFile);
  else
    return fail(NJU_INVALID_ARGUMENT,
                "model '%s' needs its weight file '%s': set weights_path",
                signature.name.c_str(), signature.weightsFile.c_str());
  return weights.open(file, signature, options);
}

nju_status Model::open(const void *address, const std::string &path,
                       const nju_model_options &options) {
  if (nju_status status = checkDescriptor(address))
    return status;
  if (nju_status status = parseSignature(
          descriptor->signature, descriptor->signature_length, signature))
    return status;
  if (nju_status status = chooseVariant(options.variant))
    return status;
  return openWeights(path, options);
}

nju_status nju::resolveThreads(int64_t requested, int32_t &numThreads) {
  int32_t cores = getAvailableCores();
  if (cores < 1)
    return fail(NJU_INVALID_ARGUMENT,
                "environment variable NJU_CORES is '%s', expected a whole "
                "number from 1 to %d",
                getenv("NJU_CORES"), maxCores);
  if (requested < 0 || requested > cores)
    return fail(NJU_INVALID_ARGUMENT,
                "number of threads is %" PRId64 ", expected 1 to %" PRId32
                ", the processors that this process may use (its affinity and "
                "control group count; NJU_CORES overrides them)",
                requested, cores);
  numThreads = requested ? requested : cores;
  return NJU_OK;
}

//===----------------------------------------------------------------------===//
// C API
//===----------------------------------------------------------------------===//

nju_status nju_model_load(const char *path, const nju_model_options *options,
                          nju_model **out_model) {
  if (!out_model)
    return fail(NJU_INVALID_ARGUMENT, "out_model is NULL");
  *out_model = nullptr;
  if (!path)
    return fail(NJU_INVALID_ARGUMENT, "path is NULL");
  return guard([&] {
    auto model = std::make_shared<Model>();
    if (nju_status status =
            model->load(path, options ? *options : nju_model_options{}))
      return status;
    *out_model = new nju_model{std::move(model)};
    return NJU_OK;
  });
}

nju_status nju_model_open(const void *descriptor,
                          const nju_model_options *options,
                          nju_model **out_model) {
  if (!out_model)
    return fail(NJU_INVALID_ARGUMENT, "out_model is NULL");
  *out_model = nullptr;
  if (!descriptor)
    return fail(NJU_INVALID_ARGUMENT, "descriptor is NULL");
  return guard([&] {
    auto model = std::make_shared<Model>();
    if (nju_status status = model->open(
            descriptor, "", options ? *options : nju_model_options{}))
      return status;
    *out_model = new nju_model{std::move(model)};
    return NJU_OK;
  });
}

void nju_model_release(nju_model *model) { delete model; }

const char *nju_model_signature(const nju_model *model) {
  return model ? model->model->getDescriptor().signature : "";
}

const char *nju_model_variant(const nju_model *model) {
  return model ? model->model->getVariant().c_str() : "";
}

int64_t nju_model_vocabulary(const nju_model *model) {
  return model ? model->model->getSignature().vocabulary : 0;
}
