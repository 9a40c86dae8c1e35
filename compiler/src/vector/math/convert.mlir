// convert: Conversions that would otherwise be compiler-rt calls: f32 -> bf16, f64 -> bf16, f64 -> f16, bf16 -> f32; and round (half away from zero). All round to nearest even, once.
// Written by generate/convert.py; change it there.

// f32 -> bf16, to nearest even, in integers.
func.func @truncf_f32_bf16(%x: f32) -> bf16 {
  %c0 = arith.constant 16 : i32
  %c1 = arith.constant 1 : i32
  %c2 = arith.constant 32767 : i32
  %c3 = arith.constant 64 : i32
  %0 = arith.bitcast %x : f32 to i32
  %1 = arith.shrui %0, %c0 : i32
  %2 = arith.andi %1, %c1 : i32
  %3 = arith.addi %2, %c2 : i32
  %4 = arith.addi %0, %3 : i32
  %5 = arith.shrui %4, %c0 : i32
  %6 = arith.ori %1, %c3 : i32
  %7 = arith.cmpf uno, %x, %x : f32
  %8 = arith.select %7, %6, %5 : i32
  %9 = arith.trunci %8 : i32 to i16
  %10 = arith.bitcast %9 : i16 to bf16
  return %10 : bf16
}

// f64 -> bf16 through f32 rounded to odd.
func.func @truncf_f64_bf16(%x: f64) -> bf16 {
  %c0 = arith.constant 1 : i32
  %c1 = arith.constant 0 : i32
  %c2 = arith.constant 16 : i32
  %c3 = arith.constant 32767 : i32
  %c4 = arith.constant 64 : i32
  %0 = arith.truncf %x : f64 to f32
  %1 = arith.extf %0 : f32 to f64
  %2 = arith.bitcast %0 : f32 to i32
  %3 = arith.andi %2, %c0 : i32
  %4 = arith.cmpi eq, %3, %c1 : i32
  %5 = arith.cmpf une, %1, %x : f64
  // rounded up in magnitude: step back; both neighbours of an inexact value differ in the last bit
  %6 = math.absf %1 : f64
  %7 = math.absf %x : f64
  %8 = arith.cmpf ogt, %6, %7 : f64
  %9 = arith.subi %2, %c0 : i32
  %10 = arith.addi %2, %c0 : i32
  %11 = arith.select %8, %9, %10 : i32
  %12 = arith.andi %4, %5 : i1
  %13 = arith.cmpf ord, %x, %x : f64
  %14 = arith.andi %12, %13 : i1
  %15 = arith.select %14, %11, %2 : i32
  %16 = arith.bitcast %15 : i32 to f32
  %17 = arith.bitcast %16 : f32 to i32
  %18 = arith.shrui %17, %c2 : i32
  %19 = arith.andi %18, %c0 : i32
  %20 = arith.addi %19, %c3 : i32
  %21 = arith.addi %17, %20 : i32
  %22 = arith.shrui %21, %c2 : i32
  %23 = arith.ori %18, %c4 : i32
  %24 = arith.cmpf uno, %16, %16 : f32
  %25 = arith.select %24, %23, %22 : i32
  %26 = arith.trunci %25 : i32 to i16
  %27 = arith.bitcast %26 : i16 to bf16
  return %27 : bf16
}

// f64 -> f16 through f32 rounded to odd.
func.func @truncf_f64_f16(%x: f64) -> f16 {
  %c0 = arith.constant 1 : i32
  %c1 = arith.constant 0 : i32
  %0 = arith.truncf %x : f64 to f32
  %1 = arith.extf %0 : f32 to f64
  %2 = arith.bitcast %0 : f32 to i32
  %3 = arith.andi %2, %c0 : i32
  %4 = arith.cmpi eq, %3, %c1 : i32
  %5 = arith.cmpf une, %1, %x : f64
  // rounded up in magnitude: step back; both neighbours of an inexact value differ in the last bit
  %6 = math.absf %1 : f64
  %7 = math.absf %x : f64
  %8 = arith.cmpf ogt, %6, %7 : f64
  %9 = arith.subi %2, %c0 : i32
  %10 = arith.addi %2, %c0 : i32
  %11 = arith.select %8, %9, %10 : i32
  %12 = arith.andi %4, %5 : i1
  %13 = arith.cmpf ord, %x, %x : f64
  %14 = arith.andi %12, %13 : i1
  %15 = arith.select %14, %11, %2 : i32
  %16 = arith.bitcast %15 : i32 to f32
  %17 = arith.truncf %16 : f32 to f16
  return %17 : f16
}

// bf16 -> f32 in integers: LLVM would move operations across a plain extension back to bf16, and then call a rounding function.
func.func @extf_bf16_f32(%x: bf16) -> f32 {
  %c0 = arith.constant 16 : i32
  %0 = arith.bitcast %x : bf16 to i16
  %1 = arith.extui %0 : i16 to i32
  %2 = arith.shli %1, %c0 : i32
  %3 = arith.bitcast %2 : i32 to f32
  return %3 : f32
}

// To the nearest integer, halves away from zero: the half just below 1/2 keeps 0.49999997 at 0.
func.func @round_f32(%x: f32) -> f32 {
  %c0 = arith.constant 4.999999702e-01 : f32
  %0 = math.copysign %c0, %x : f32
  %1 = arith.addf %x, %0 : f32
  %2 = math.trunc %1 : f32
  return %2 : f32
}

// To the nearest integer, halves away from zero: the half just below 1/2 keeps 0.49999997 at 0.
func.func @round_f64(%x: f64) -> f64 {
  %c0 = arith.constant 4.9999999999999994e-01 : f64
  %0 = math.copysign %c0, %x : f64
  %1 = arith.addf %x, %0 : f64
  %2 = math.trunc %1 : f64
  return %2 : f64
}
