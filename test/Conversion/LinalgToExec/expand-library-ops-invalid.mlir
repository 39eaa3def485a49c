// RUN: not nju-opt %s --exec-expand-library-ops=target=pentium 2>&1 | FileCheck %s

// CHECK: error: {{.*}}pentium
module {}
