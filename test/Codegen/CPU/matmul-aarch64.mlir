// The inner loops of the products with NEON: sums stay in registers, and a
// factor multiplies straight from the register that it was loaded to.

// DEFINE: %{kernel} = linear_f16
// The blocks that jump back to themselves.
// DEFINE: %{loops} = awk '/^\.LBB/ { body = ""; label = $1; sub(":", "", label) } { body = body $0 "\n" } /\tb\./ && $2 == label { print body }'
// DEFINE: %{compile} = nju-opt %s --nju-emit-kernels="kernels=%{kernel} target=aarch64" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mtriple=aarch64-linux-gnu | %{loops}

// RUN: nju-opt %s --nju-emit-kernels="kernels=linear_f16 target=aarch64" | FileCheck %s --check-prefix=IR
// RUN: %{compile} | FileCheck %s --implicit-check-not="q{{[0-9]+}}, [sp"
// REDEFINE: %{kernel} = linear_f32
// RUN: %{compile} | FileCheck %s --check-prefix=F32 --implicit-check-not=fcvtl --implicit-check-not="q{{[0-9]+}}, [sp"

// Twelve rows by two registers.
// IR-LABEL: func.func @nju_linear_f16
// IR: default
// IR: scf.for {{.*}} iter_args
// IR-COUNT-24: vector.fma
// IR-NOT: vector.fma
// IR: scf.yield

// CHECK: fcvtl {{v[0-9]+}}.4s
// CHECK: fmla {{v[0-9]+}}.4s, {{v[0-9]+}}.4s, {{v[0-9]+}}.s[0]

// F32: fmla {{v[0-9]+}}.4s, {{v[0-9]+}}.4s, {{v[0-9]+}}.s[0]
module {}
