//===- Elementwise.td - Element-wise ops -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_ELEMENTWISE
#define NJU_DIALECT_NJU_IR_ELEMENTWISE

include "nju/Dialect/NJU/IR/NJUBase.td"

/// y[i] = f(x[i]); the result has the operand's shape and element type.
class NJU_UnaryOp<string mnemonic, string formula>
    : NJU_PureOp<mnemonic, [SameOperandsAndResultShape, SameOperandsAndResultElementType]> {
  let summary = "Element-wise " # formula;
  let description = "`y = " # formula # [{`, for each element.

    Example:

    ```mlir
    %y = nju.}] # mnemonic # [{ %x : (tensor<2x?xf32>) -> tensor<2x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
}

def NJU_AbsOp : NJU_UnaryOp<"abs", "|x|">;
def NJU_AtanOp : NJU_UnaryOp<"atan", "atan(x)">;
def NJU_CeilOp : NJU_UnaryOp<"ceil", "ceil(x)">;
def NJU_CosOp : NJU_UnaryOp<"cos", "cos(x)">;
def NJU_ErfOp : NJU_UnaryOp<"erf", "erf(x)">;
def NJU_ExpOp : NJU_UnaryOp<"exp", "exp(x)">;
def NJU_FloorOp : NJU_UnaryOp<"floor", "floor(x)">;
def NJU_LogOp : NJU_UnaryOp<"log", "log(x)">;
def NJU_NegOp : NJU_UnaryOp<"neg", "-x">;
def NJU_ReciprocalOp : NJU_UnaryOp<"reciprocal", "1 / x">;
def NJU_ReluOp : NJU_UnaryOp<"relu", "max(x, 0)">;
def NJU_RoundOp : NJU_UnaryOp<"round", "round half to even of x">;
def NJU_RsqrtOp : NJU_UnaryOp<"rsqrt", "1 / sqrt(x)">;
def NJU_SigmoidOp : NJU_UnaryOp<"sigmoid", "1 / (1 + exp(-x))">;
def NJU_SignOp : NJU_UnaryOp<"sign", "sign(x)">;
def NJU_SiluOp : NJU_UnaryOp<"silu", "x / (1 + exp(-x))">;
def NJU_SinOp : NJU_UnaryOp<"sin", "sin(x)">;
def NJU_SoftplusOp : NJU_UnaryOp<"softplus", "log(1 + exp(x))">;
def NJU_SqrtOp : NJU_UnaryOp<"sqrt", "sqrt(x)">;
def NJU_TanhOp : NJU_UnaryOp<"tanh", "tanh(x)">;

def NJU_GeluOp : NJU_PureOp<"gelu", [SameOperandsAndResultShape, SameOperandsAndResultElementType]> {
  let summary = "Gaussian error linear unit";
  let description = [{
    `y = x/2 * (1 + erf(x / sqrt(2)))`, or with `tanh` the approximation
    `y = x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`.
    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2.

    Example:

    ```mlir
    %y = nju.gelu %x {tanh} : (tensor<2x?xf32>) -> tensor<2x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, UnitAttr:$tanh);
}

/// A test of each element; the result is i1.
class NJU_TestOp<string mnemonic, string formula>
    : NJU_PureOp<mnemonic, [SameOperandsAndResultShape]> {
  let summary = "Element-wise " # formula;
  let description = "`y = " # formula # [{`, for each element.

    Example:

    ```mlir
    %y = nju.}] # mnemonic # [{ %x : (tensor<2x?xf32>) -> tensor<2x?xi1>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
}
def NJU_IsInfOp : NJU_TestOp<"is_inf", "x is infinite">;
def NJU_IsNaNOp : NJU_TestOp<"is_nan", "x is not a number">;

def NJU_NotOp : NJU_PureOp<"not", [SameOperandsAndResultShape, SameOperandsAndResultElementType]> {
  let summary = "Element-wise not";
  let description = [{
    Of each bit: `i1` is logical.

    Example:

    ```mlir
    %y = nju.not %x : (tensor<2x?xi1>) -> tensor<2x?xi1>
    ```
  }];
  let arguments = (ins TensorOf<[AnyInteger]>:$input);
}

/// y = f(a, b) with NumPy broadcasting; operands have one element type.
class NJU_BinaryOp<string mnemonic, string formula, list<Trait> traits = []>
    : NJU_PureOp<mnemonic, !listconcat(traits, [SameOperandsAndResultElementType])> {
  let summary = "Element-wise " # formula;
  let description = "`y = " # formula # [{`, for each element; the operands
    are broadcast against each other as NumPy does.

    Example:

    ```mlir
    %y = nju.}] # mnemonic # [{ %a, %b : (tensor<2x?xf32>, tensor<?xf32>) -> tensor<2x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
}

def NJU_AddOp : NJU_BinaryOp<"add", "a + b", [Commutative]>;
def NJU_DivOp : NJU_BinaryOp<"div", "a / b (integers: truncated)">;
def NJU_MaxOp : NJU_BinaryOp<"max", "max(a, b)", [Commutative]>;
def NJU_MinOp : NJU_BinaryOp<"min", "min(a, b)", [Commutative]>;
def NJU_MulOp : NJU_BinaryOp<"mul", "a * b", [Commutative]>;
def NJU_PowOp : NJU_BinaryOp<"pow", "a ^ b">;
def NJU_SubOp : NJU_BinaryOp<"sub", "a - b">;

def NJU_ModOp : NJU_PureOp<"mod", [SameOperandsAndResultElementType]> {
  let summary = "Element-wise remainder";
  let description = [{
    The remainder of `a / b`, with the sign of `b` (as Python's `%`), or with
    `truncated` the sign of `a` (as C's `fmod`). Operands are broadcast.

    Example:

    ```mlir
    %y = nju.mod %a, %b : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$lhs, AnyRankedTensor:$rhs, UnitAttr:$truncated);
}

class NJU_LogicalOp<string mnemonic>
    : NJU_PureOp<mnemonic, [Commutative, SameOperandsAndResultElementType]> {
  let summary = "Element-wise " # mnemonic;
  let description = "The `" # mnemonic # [{` of each bit of two tensors of integers,
    broadcast: `i1` is logical.

    Example:

    ```mlir
    %y = nju.}] # mnemonic # [{ %a, %b : (tensor<2x?xi1>, tensor<?xi1>) -> tensor<2x?xi1>
    ```
  }];
  let arguments = (ins TensorOf<[AnyInteger]>:$lhs, TensorOf<[AnyInteger]>:$rhs);
}
def NJU_AndOp : NJU_LogicalOp<"and">;
def NJU_OrOp : NJU_LogicalOp<"or">;
def NJU_XorOp : NJU_LogicalOp<"xor">;

class NJU_ShiftOp<string mnemonic, string direction>
    : NJU_PureOp<mnemonic, [SameOperandsAndResultElementType]> {
  let summary = "Element-wise shift to the " # direction;
  let description = "The bits of `a` shifted to the " # direction # [{ by `b`, an
    unsigned number; operands are broadcast. Signed numbers keep their sign. By the
    width of the type or more, nothing but the sign is left.

    Example:

    ```mlir
    %y = nju.}] # mnemonic # [{ %a, %b : (tensor<2x?xui8>, tensor<ui8>) -> tensor<2x?xui8>
    ```
  }];
  let arguments = (ins TensorOf<[AnyInteger]>:$lhs, TensorOf<[AnyInteger]>:$rhs);
}
def NJU_ShiftLeftOp : NJU_ShiftOp<"shift_left", "left">;
def NJU_ShiftRightOp : NJU_ShiftOp<"shift_right", "right">;

def NJU_ComparePredicate : I32Enum<"ComparePredicate", "Predicate of nju.compare", [
    I32EnumCase<"eq", 0>, I32EnumCase<"ne", 1>, I32EnumCase<"lt", 2>,
    I32EnumCase<"le", 3>, I32EnumCase<"gt", 4>, I32EnumCase<"ge", 5>]> {
  let cppNamespace = "::nju";
}
def NJU_ComparePredicateAttr : EnumAttr<NJU_Dialect, NJU_ComparePredicate, "predicate">;

def NJU_CompareOp : NJU_PureOp<"compare"> {
  let summary = "Element-wise comparison";
  let description = [{
    Compares two tensors of one element type, broadcast; a comparison with NaN
    is false, but for `ne`.

    Example:

    ```mlir
    %y = nju.compare lt %a, %b : (tensor<2x?xf32>, tensor<f32>) -> tensor<2x?xi1>
    ```
  }];
  let arguments = (ins NJU_ComparePredicateAttr:$predicate, AnyRankedTensor:$lhs,
                       AnyRankedTensor:$rhs);
  let results = (outs TensorOf<[I1]>:$result);
  let assemblyFormat = "$predicate operands attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def NJU_SelectOp : NJU_PureOp<"select"> {
  let summary = "Element-wise choice";
  let description = [{
    `y = condition ? a : b`; the three operands are broadcast.

    Example:

    ```mlir
    %y = nju.select %c, %a, %b : (tensor<2x?xi1>, tensor<f32>, tensor<2x?xf32>) -> tensor<2x?xf32>
    ```
  }];
  let arguments = (ins TensorOf<[I1]>:$condition, AnyRankedTensor:$trueValue,
                       AnyRankedTensor:$falseValue);
  let hasVerifier = 1;
}

def NJU_CastOp : NJU_PureOp<"cast", [SameOperandsAndResultShape]> {
  let summary = "Conversion of the element type";
  let description = [{
    Floats are rounded to the nearest even, or truncated towards zero if the
    result is an integer; to i1, every value but zero is true.

    Example:

    ```mlir
    %y = nju.cast %x : (tensor<2x?xf16>) -> tensor<2x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let hasFolder = 1;
}

#endif // NJU_DIALECT_NJU_IR_ELEMENTWISE
