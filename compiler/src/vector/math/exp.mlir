// exp: exp, exp2, expm1, logistic; and the reduction shared with the hyperbolic functions, erfc and pow.
// Written by generate/exp.py; change it there.

// e^x: x = n ln2 + r, e^r = 1 + r + r^2 Q(r), scaled by 2^n in two steps.
func.func @exp_f32(%x: f32) -> f32 {
  %c0 = arith.constant -1.040000000e+02 : f32
  %c1 = arith.constant 8.900000000e+01 : f32
  %c2 = arith.constant 1.442695022e+00 : f32
  %c3 = arith.constant 1.258291200e+07 : f32
  %c4 = arith.constant 1262485504 : i32
  %c5 = arith.constant -6.931457520e-01 : f32
  %c6 = arith.constant -1.428606765e-06 : f32
  %c7 = arith.constant 1.392620383e-03 : f32
  %c8 = arith.constant 8.363194764e-03 : f32
  %c9 = arith.constant 4.166655615e-02 : f32
  %c10 = arith.constant 1.666657627e-01 : f32
  %c11 = arith.constant 5.000000000e-01 : f32
  %c12 = arith.constant 1.000000000e+00 : f32
  %c13 = arith.constant 1 : i32
  %c14 = arith.constant 127 : i32
  %c15 = arith.constant 23 : i32
  %0 = arith.cmpf olt, %x, %c0 : f32
  %1 = arith.select %0, %c0, %x : f32
  %2 = arith.cmpf ogt, %1, %c1 : f32
  %3 = arith.select %2, %c1, %1 : f32
  %4 = math.fma %3, %c2, %c3 : f32
  %5 = arith.subf %4, %c3 : f32
  %6 = arith.bitcast %4 : f32 to i32
  %7 = arith.subi %6, %c4 : i32
  %8 = math.fma %5, %c5, %3 : f32
  %9 = math.fma %5, %c6, %8 : f32
  %10 = arith.mulf %9, %9 : f32
  %11 = math.fma %c7, %9, %c8 : f32
  %12 = math.fma %11, %9, %c9 : f32
  %13 = math.fma %12, %9, %c10 : f32
  %14 = math.fma %13, %9, %c11 : f32
  %15 = math.fma %10, %14, %9 : f32
  %16 = arith.addf %15, %c12 : f32
  %17 = arith.shrsi %7, %c13 : i32
  %18 = arith.addi %17, %c14 : i32
  %19 = arith.shli %18, %c15 : i32
  %20 = arith.bitcast %19 : i32 to f32
  %21 = arith.mulf %16, %20 : f32
  %22 = arith.subi %7, %17 : i32
  %23 = arith.addi %22, %c14 : i32
  %24 = arith.shli %23, %c15 : i32
  %25 = arith.bitcast %24 : i32 to f32
  %26 = arith.mulf %21, %25 : f32
  return %26 : f32
}

// 2^x: x = n + r, |r| <= 1/2.
func.func @exp2_f32(%x: f32) -> f32 {
  %c0 = arith.constant -1.510000000e+02 : f32
  %c1 = arith.constant 1.290000000e+02 : f32
  %c2 = arith.constant 1.258291200e+07 : f32
  %c3 = arith.constant 1262485504 : i32
  %c4 = arith.constant 1.545318228e-04 : f32
  %c5 = arith.constant 1.339088660e-03 : f32
  %c6 = arith.constant 9.618082084e-03 : f32
  %c7 = arith.constant 5.550356954e-02 : f32
  %c8 = arith.constant 2.402265072e-01 : f32
  %c9 = arith.constant 6.931471825e-01 : f32
  %c10 = arith.constant 1.000000000e+00 : f32
  %c11 = arith.constant 1 : i32
  %c12 = arith.constant 127 : i32
  %c13 = arith.constant 23 : i32
  %0 = arith.cmpf olt, %x, %c0 : f32
  %1 = arith.select %0, %c0, %x : f32
  %2 = arith.cmpf ogt, %1, %c1 : f32
  %3 = arith.select %2, %c1, %1 : f32
  %4 = arith.addf %3, %c2 : f32
  %5 = arith.subf %4, %c2 : f32
  %6 = arith.bitcast %4 : f32 to i32
  %7 = arith.subi %6, %c3 : i32
  %8 = arith.subf %3, %5 : f32
  %9 = math.fma %c4, %8, %c5 : f32
  %10 = math.fma %9, %8, %c6 : f32
  %11 = math.fma %10, %8, %c7 : f32
  %12 = math.fma %11, %8, %c8 : f32
  %13 = math.fma %12, %8, %c9 : f32
  %14 = math.fma %8, %13, %c10 : f32
  %15 = arith.shrsi %7, %c11 : i32
  %16 = arith.addi %15, %c12 : i32
  %17 = arith.shli %16, %c13 : i32
  %18 = arith.bitcast %17 : i32 to f32
  %19 = arith.mulf %14, %18 : f32
  %20 = arith.subi %7, %15 : i32
  %21 = arith.addi %20, %c12 : i32
  %22 = arith.shli %21, %c13 : i32
  %23 = arith.bitcast %22 : i32 to f32
  %24 = arith.mulf %19, %23 : f32
  return %24 : f32
}

// e^x - 1 = 2^n (e^r - 1) + (2^n - 1), without cancellation.
func.func @expm1_f32(%x: f32) -> f32 {
  %c0 = arith.constant 2.980232239e-08 : f32
  %c1 = arith.constant -1.800000000e+01 : f32
  %c2 = arith.constant 8.900000000e+01 : f32
  %c3 = arith.constant 1.442695022e+00 : f32
  %c4 = arith.constant 1.258291200e+07 : f32
  %c5 = arith.constant 1262485504 : i32
  %c6 = arith.constant -6.931457520e-01 : f32
  %c7 = arith.constant -1.428606765e-06 : f32
  %c8 = arith.constant 1.392620383e-03 : f32
  %c9 = arith.constant 8.363194764e-03 : f32
  %c10 = arith.constant 4.166655615e-02 : f32
  %c11 = arith.constant 1.666657627e-01 : f32
  %c12 = arith.constant 5.000000000e-01 : f32
  %c13 = arith.constant 1 : i32
  %c14 = arith.constant 127 : i32
  %c15 = arith.constant 23 : i32
  %c16 = arith.constant 2.000000000e+00 : f32
  %c17 = arith.constant 0 : i32
  // x itself where x^2/2 is below half a unit: keeps -0 and subnormals
  %0 = math.absf %x : f32
  %1 = arith.cmpf olt, %0, %c0 : f32
  %2 = arith.cmpf olt, %x, %c1 : f32
  %3 = arith.select %2, %c1, %x : f32
  %4 = arith.cmpf ogt, %3, %c2 : f32
  %5 = arith.select %4, %c2, %3 : f32
  %6 = math.fma %5, %c3, %c4 : f32
  %7 = arith.subf %6, %c4 : f32
  %8 = arith.bitcast %6 : f32 to i32
  %9 = arith.subi %8, %c5 : i32
  %10 = math.fma %7, %c6, %5 : f32
  %11 = math.fma %7, %c7, %10 : f32
  %12 = arith.mulf %11, %11 : f32
  %13 = math.fma %c8, %11, %c9 : f32
  %14 = math.fma %13, %11, %c10 : f32
  %15 = math.fma %14, %11, %c11 : f32
  %16 = math.fma %15, %11, %c12 : f32
  %17 = math.fma %12, %16, %11 : f32
  // 2^n p + (2^n - 1), halved so that n = emax + 1 does not overflow early
  %18 = arith.subi %9, %c13 : i32
  %19 = arith.addi %18, %c14 : i32
  %20 = arith.shli %19, %c15 : i32
  %21 = arith.bitcast %20 : i32 to f32
  %22 = arith.subf %21, %c12 : f32
  %23 = math.fma %21, %17, %22 : f32
  %24 = arith.mulf %23, %c16 : f32
  %25 = arith.cmpi eq, %9, %c17 : i32
  %26 = arith.select %25, %17, %24 : f32
  %27 = arith.select %1, %x, %26 : f32
  return %27 : f32
}

// 1 / (1 + e^-x), or e^x / (1 + e^x) for x < 0, so that neither tail loses digits.
func.func @logistic_f32(%x: f32) -> f32 {
  %c0 = arith.constant 0.000000000e+00 : f32
  %c1 = arith.constant 1.000000000e+00 : f32
  %0 = math.absf %x : f32
  %1 = arith.negf %0 : f32
  %2 = func.call @exp_f32(%1) : (f32) -> f32
  %3 = arith.cmpf olt, %x, %c0 : f32
  %4 = arith.select %3, %2, %c1 : f32
  %5 = arith.addf %2, %c1 : f32
  %6 = arith.divf %4, %5 : f32
  return %6 : f32
}

// e^x: x = n ln2 + r, e^r = 1 + r + r^2 Q(r), scaled by 2^n in two steps.
func.func @exp_f64(%x: f64) -> f64 {
  %c0 = arith.constant -7.4600000000000000e+02 : f64
  %c1 = arith.constant 7.1000000000000000e+02 : f64
  %c2 = arith.constant 1.4426950408889634e+00 : f64
  %c3 = arith.constant 6.7553994410557440e+15 : f64
  %c4 = arith.constant 4843621399236968448 : i64
  %c5 = arith.constant -6.9314718056011770e-01 : f64
  %c6 = arith.constant 1.7239444525614835e-13 : f64
  %c7 = arith.constant 2.0914645236998685e-09 : f64
  %c8 = arith.constant 2.5105245153901371e-08 : f64
  %c9 = arith.constant 2.7557273799188633e-07 : f64
  %c10 = arith.constant 2.7557255332554409e-06 : f64
  %c11 = arith.constant 2.4801587325340162e-05 : f64
  %c12 = arith.constant 1.9841269874873975e-04 : f64
  %c13 = arith.constant 1.3888888888883867e-03 : f64
  %c14 = arith.constant 8.3333333333261202e-03 : f64
  %c15 = arith.constant 4.1666666666666671e-02 : f64
  %c16 = arith.constant 1.6666666666666671e-01 : f64
  %c17 = arith.constant 5.0000000000000000e-01 : f64
  %c18 = arith.constant 1.0000000000000000e+00 : f64
  %c19 = arith.constant 1 : i64
  %c20 = arith.constant 1023 : i64
  %c21 = arith.constant 52 : i64
  %0 = arith.cmpf olt, %x, %c0 : f64
  %1 = arith.select %0, %c0, %x : f64
  %2 = arith.cmpf ogt, %1, %c1 : f64
  %3 = arith.select %2, %c1, %1 : f64
  %4 = math.fma %3, %c2, %c3 : f64
  %5 = arith.subf %4, %c3 : f64
  %6 = arith.bitcast %4 : f64 to i64
  %7 = arith.subi %6, %c4 : i64
  %8 = math.fma %5, %c5, %3 : f64
  %9 = math.fma %5, %c6, %8 : f64
  %10 = arith.mulf %9, %9 : f64
  %11 = math.fma %c7, %9, %c8 : f64
  %12 = math.fma %11, %9, %c9 : f64
  %13 = math.fma %12, %9, %c10 : f64
  %14 = math.fma %13, %9, %c11 : f64
  %15 = math.fma %14, %9, %c12 : f64
  %16 = math.fma %15, %9, %c13 : f64
  %17 = math.fma %16, %9, %c14 : f64
  %18 = math.fma %17, %9, %c15 : f64
  %19 = math.fma %18, %9, %c16 : f64
  %20 = math.fma %19, %9, %c17 : f64
  %21 = math.fma %10, %20, %9 : f64
  %22 = arith.addf %21, %c18 : f64
  %23 = arith.shrsi %7, %c19 : i64
  %24 = arith.addi %23, %c20 : i64
  %25 = arith.shli %24, %c21 : i64
  %26 = arith.bitcast %25 : i64 to f64
  %27 = arith.mulf %22, %26 : f64
  %28 = arith.subi %7, %23 : i64
  %29 = arith.addi %28, %c20 : i64
  %30 = arith.shli %29, %c21 : i64
  %31 = arith.bitcast %30 : i64 to f64
  %32 = arith.mulf %27, %31 : f64
  return %32 : f64
}

// 2^x: x = n + r, |r| <= 1/2.
func.func @exp2_f64(%x: f64) -> f64 {
  %c0 = arith.constant -1.0760000000000000e+03 : f64
  %c1 = arith.constant 1.0250000000000000e+03 : f64
  %c2 = arith.constant 6.7553994410557440e+15 : f64
  %c3 = arith.constant 4843621399236968448 : i64
  %c4 = arith.constant 2.5729344553786755e-11 : f64
  %c5 = arith.constant 4.4558220250149153e-10 : f64
  %c6 = arith.constant 7.0548972926916273e-09 : f64
  %c7 = arith.constant 1.0178057064573359e-07 : f64
  %c8 = arith.constant 1.3215486808727859e-06 : f64
  %c9 = arith.constant 1.5252733841601815e-05 : f64
  %c10 = arith.constant 1.5403530393370715e-04 : f64
  %c11 = arith.constant 1.3333558146406436e-03 : f64
  %c12 = arith.constant 9.6181291076284803e-03 : f64
  %c13 = arith.constant 5.5504108664821625e-02 : f64
  %c14 = arith.constant 2.4022650695910072e-01 : f64
  %c15 = arith.constant 6.9314718055994529e-01 : f64
  %c16 = arith.constant 1.0000000000000000e+00 : f64
  %c17 = arith.constant 1 : i64
  %c18 = arith.constant 1023 : i64
  %c19 = arith.constant 52 : i64
  %0 = arith.cmpf olt, %x, %c0 : f64
  %1 = arith.select %0, %c0, %x : f64
  %2 = arith.cmpf ogt, %1, %c1 : f64
  %3 = arith.select %2, %c1, %1 : f64
  %4 = arith.addf %3, %c2 : f64
  %5 = arith.subf %4, %c2 : f64
  %6 = arith.bitcast %4 : f64 to i64
  %7 = arith.subi %6, %c3 : i64
  %8 = arith.subf %3, %5 : f64
  %9 = math.fma %c4, %8, %c5 : f64
  %10 = math.fma %9, %8, %c6 : f64
  %11 = math.fma %10, %8, %c7 : f64
  %12 = math.fma %11, %8, %c8 : f64
  %13 = math.fma %12, %8, %c9 : f64
  %14 = math.fma %13, %8, %c10 : f64
  %15 = math.fma %14, %8, %c11 : f64
  %16 = math.fma %15, %8, %c12 : f64
  %17 = math.fma %16, %8, %c13 : f64
  %18 = math.fma %17, %8, %c14 : f64
  %19 = math.fma %18, %8, %c15 : f64
  %20 = math.fma %8, %19, %c16 : f64
  %21 = arith.shrsi %7, %c17 : i64
  %22 = arith.addi %21, %c18 : i64
  %23 = arith.shli %22, %c19 : i64
  %24 = arith.bitcast %23 : i64 to f64
  %25 = arith.mulf %20, %24 : f64
  %26 = arith.subi %7, %21 : i64
  %27 = arith.addi %26, %c18 : i64
  %28 = arith.shli %27, %c19 : i64
  %29 = arith.bitcast %28 : i64 to f64
  %30 = arith.mulf %25, %29 : f64
  return %30 : f64
}

// e^x - 1 = 2^n (e^r - 1) + (2^n - 1), without cancellation.
func.func @expm1_f64(%x: f64) -> f64 {
  %c0 = arith.constant 5.5511151231257827e-17 : f64
  %c1 = arith.constant -3.8000000000000000e+01 : f64
  %c2 = arith.constant 7.1000000000000000e+02 : f64
  %c3 = arith.constant 1.4426950408889634e+00 : f64
  %c4 = arith.constant 6.7553994410557440e+15 : f64
  %c5 = arith.constant 4843621399236968448 : i64
  %c6 = arith.constant -6.9314718056011770e-01 : f64
  %c7 = arith.constant 1.7239444525614835e-13 : f64
  %c8 = arith.constant 2.0914645236998685e-09 : f64
  %c9 = arith.constant 2.5105245153901371e-08 : f64
  %c10 = arith.constant 2.7557273799188633e-07 : f64
  %c11 = arith.constant 2.7557255332554409e-06 : f64
  %c12 = arith.constant 2.4801587325340162e-05 : f64
  %c13 = arith.constant 1.9841269874873975e-04 : f64
  %c14 = arith.constant 1.3888888888883867e-03 : f64
  %c15 = arith.constant 8.3333333333261202e-03 : f64
  %c16 = arith.constant 4.1666666666666671e-02 : f64
  %c17 = arith.constant 1.6666666666666671e-01 : f64
  %c18 = arith.constant 5.0000000000000000e-01 : f64
  %c19 = arith.constant 1 : i64
  %c20 = arith.constant 1023 : i64
  %c21 = arith.constant 52 : i64
  %c22 = arith.constant 2.0000000000000000e+00 : f64
  %c23 = arith.constant 0 : i64
  // x itself where x^2/2 is below half a unit: keeps -0 and subnormals
  %0 = math.absf %x : f64
  %1 = arith.cmpf olt, %0, %c0 : f64
  %2 = arith.cmpf olt, %x, %c1 : f64
  %3 = arith.select %2, %c1, %x : f64
  %4 = arith.cmpf ogt, %3, %c2 : f64
  %5 = arith.select %4, %c2, %3 : f64
  %6 = math.fma %5, %c3, %c4 : f64
  %7 = arith.subf %6, %c4 : f64
  %8 = arith.bitcast %6 : f64 to i64
  %9 = arith.subi %8, %c5 : i64
  %10 = math.fma %7, %c6, %5 : f64
  %11 = math.fma %7, %c7, %10 : f64
  %12 = arith.mulf %11, %11 : f64
  %13 = math.fma %c8, %11, %c9 : f64
  %14 = math.fma %13, %11, %c10 : f64
  %15 = math.fma %14, %11, %c11 : f64
  %16 = math.fma %15, %11, %c12 : f64
  %17 = math.fma %16, %11, %c13 : f64
  %18 = math.fma %17, %11, %c14 : f64
  %19 = math.fma %18, %11, %c15 : f64
  %20 = math.fma %19, %11, %c16 : f64
  %21 = math.fma %20, %11, %c17 : f64
  %22 = math.fma %21, %11, %c18 : f64
  %23 = math.fma %12, %22, %11 : f64
  // 2^n p + (2^n - 1), halved so that n = emax + 1 does not overflow early
  %24 = arith.subi %9, %c19 : i64
  %25 = arith.addi %24, %c20 : i64
  %26 = arith.shli %25, %c21 : i64
  %27 = arith.bitcast %26 : i64 to f64
  %28 = arith.subf %27, %c18 : f64
  %29 = math.fma %27, %23, %28 : f64
  %30 = arith.mulf %29, %c22 : f64
  %31 = arith.cmpi eq, %9, %c23 : i64
  %32 = arith.select %31, %23, %30 : f64
  %33 = arith.select %1, %x, %32 : f64
  return %33 : f64
}

// 1 / (1 + e^-x), or e^x / (1 + e^x) for x < 0, so that neither tail loses digits.
func.func @logistic_f64(%x: f64) -> f64 {
  %c0 = arith.constant 0.0000000000000000e+00 : f64
  %c1 = arith.constant 1.0000000000000000e+00 : f64
  %0 = math.absf %x : f64
  %1 = arith.negf %0 : f64
  %2 = func.call @exp_f64(%1) : (f64) -> f64
  %3 = arith.cmpf olt, %x, %c0 : f64
  %4 = arith.select %3, %2, %c1 : f64
  %5 = arith.addf %2, %c1 : f64
  %6 = arith.divf %4, %5 : f64
  return %6 : f64
}
