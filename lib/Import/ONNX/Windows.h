//===- Windows.h - Windows that slide over dimensions -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_WINDOWS_H
#define NJU_LIB_IMPORT_ONNX_WINDOWS_H

#include "NodeImporter.h"

namespace nju::onnx_import {

/// Where the windows of a convolution or pooling lie in one dimension.
struct Window {
  int64_t size = 1, stride = 1, dilation = 1;
  int64_t padBegin = 0, padEnd = 0;
  /// At the end, so that the last, incomplete window counts (`ceil_mode`).
  int64_t extra = 0;

  /// From the first element of a window to behind its last.
  int64_t getExtent() const { return dilation * (size - 1) + 1; }
};

/// The windows over all dimensions of a tensor `[N, C, ...]` but the first two.
class Windows {
public:
  static constexpr int64_t kFirstDim = 2;

  explicit Windows(llvm::ArrayRef<Window> windows) : windows(windows) {}
  /// Reads the attributes `kernel_shape` (unless `kernel` gives it), `strides`,
  /// `dilations`, `pads`, `auto_pad` and `ceil_mode`. None after an error.
  static std::optional<Windows>
  read(NodeImporter &node, mlir::Value input,
       std::optional<llvm::SmallVector<int64_t>> kernel = std::nullopt);

  /// The same without `auto_pad` and `ceil_mode`.
  static std::optional<Windows>
  readUnpadded(NodeImporter &node, mlir::Value input,
               std::optional<llvm::SmallVector<int64_t>> kernel);

  llvm::ArrayRef<Window> get() const { return windows; }
  int64_t getRank() const { return static_cast<int64_t>(windows.size()); }
  bool hasPads() const;
  bool hasExtra() const;

  /// `value` with the pads, and the extra elements if so, set to `fill`.
  mlir::Value pad(NodeImporter &node, mlir::Value value, mlir::Value fill,
                  bool withExtra) const;
  /// The extra elements alone.
  mlir::Value padExtra(NodeImporter &node, mlir::Value value,
                       mlir::Value fill) const;
  /// The elements of all windows of a padded tensor `[N, C, s1, s2, ...]`:
  /// `[N, C, o1, k1, o2, k2, ...]`.
  mlir::Value unfold(NodeImporter &node, mlir::Value padded) const;
  /// The dimensions k1, k2, ... of that.
  llvm::SmallVector<int64_t> getElementDims() const;

private:
  bool readAutoPad(NodeImporter &node, mlir::Value input);
  bool addExtra(NodeImporter &node, mlir::Value input);

  llvm::SmallVector<Window> windows;
};

/// The elements of the windows of a padded dimension: `[..., s, ...]` as
/// `[..., o, k, ...]`.
mlir::Value unfoldDim(NodeImporter &node, mlir::Value value, int64_t dim,
                      const Window &window);

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_WINDOWS_H
