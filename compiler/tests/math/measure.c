// measure STRIDE COUNT: largest error in ULP of every function of the math library, which is linked as a shared object.
// f32: every STRIDE-th bit pattern against the C library in double; f64: COUNT random arguments against 113-bit arithmetic (libquadmath).
#include <math.h>
#include <quadmath.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef __float128 quad;

#define UNARY(X) \
  X(exp) X(exp2) X(expm1) X(log) X(log2) X(log10) X(log1p) X(sinh) X(cosh) X(tanh) X(asinh) X(acosh) X(atanh) X(sin) X(cos) X(tan) \
  X(asin) X(acos) X(atan) X(erf) X(erfc) X(cbrt) X(rsqrt) X(round) X(logistic) X(erf_inv)
#define BINARY(X) X(powf, pow, powq) X(atan2, atan2, atan2q) X(remf, fmod, fmodq)

#define DECLARE(f) float f##_f32(float); double f##_f64(double);
#define DECLARE2(f, d, q) float f##_f32(float, float); double f##_f64(double, double);
UNARY(DECLARE)
BINARY(DECLARE2)

static uint64_t state = 88172645463325252ull;
static uint64_t bits(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state * 0x2545F4914F6CDD1Dull;
}
static double unit(void) { return (double)(bits() >> 11) * 0x1p-53; }
static float to_float(uint32_t b) { float f; memcpy(&f, &b, 4); return f; }
static double to_double(uint64_t b) { double f; memcpy(&f, &b, 8); return f; }

static double rsqrt(double x) { return 1 / sqrt(x); }
static quad rsqrtq(quad x) { return 1 / sqrtq(x); }
static double logistic(double x) { return 1 / (1 + exp(-x)); }
static quad logisticq(quad x) { return 1 / (1 + expq(-x)); }
// Newton on erf or, near 1, on log erfc.
#define ERF_INV(T, NAME, S, EPS) \
  static T NAME(T x) { \
    T a = x < 0 ? -x : x, rest = 1 - a; \
    if (!(a <= 1)) return NAN; \
    if (a == 1) return x < 0 ? -INFINITY : INFINITY; \
    if (a == 0) return x; \
    T w = -log##S(rest * (1 + a)), y = w > 3 ? sqrt##S(w - log##S(w) / 2 - (T)0.5) : sqrt##S(w) * (T)0.8; \
    if (a < (T)0.5) y = a * (T)0.886; \
    for (int i = 0; i < 60; i++) { \
      T slope = (T)M_2_SQRTPIq * exp##S(-y * y); \
      T step = a < (T)0.5 ? (erf##S(y) - a) / slope : -(log##S(erfc##S(y)) - log##S(rest)) * erfc##S(y) / slope; \
      y -= step; \
      if ((step < 0 ? -step : step) < (T)EPS * y) break; \
    } \
    return x < 0 ? -y : y; \
  }
#define logd log
#define sqrtd sqrt
#define expd exp
#define erfd erf
#define erfcd erfc
ERF_INV(double, erf_inv, d, 1e-16)
ERF_INV(quad, erf_invq, q, 1e-30Q)

// Infinite where a special value is wrong. An overflow that the exact value only just misses counts as one unit.
static double ulp32(float got, double exact) {
  float rounded = (float)exact;
  if (isnan(exact) || isnan(got)) return isnan(exact) && isnan(got) ? 0 : INFINITY;
  if (isinf(got) || isinf(rounded)) {
    if (got == rounded) return 0;
    return !isinf(exact) && fabs(exact) > 0x1.fffffcp127 && fabsf(got) >= 0x1.fffffep127f && (got > 0) == (exact > 0) ? 1 : INFINITY;
  }
  if (exact == 0 && got == 0) return !signbit(exact) == !signbit(got) ? 0 : INFINITY;
  int e = -200;
  if (exact != 0) frexp(exact, &e);
  return fabs(got - exact) / ldexp(1, e - 24 < -149 ? -149 : e - 24);
}
static double ulp64(double got, quad exact) {
  double rounded = (double)exact;
  if (isnanq(exact) || isnan(got)) return isnanq(exact) && isnan(got) ? 0 : INFINITY;
  if (isinf(got) || isinf(rounded)) {
    if (got == rounded) return 0;
    return !isinfq(exact) && fabsq(exact) > 0x1.ffffffffffffep1023Q && fabs(got) >= 0x1.fffffffffffffp1023 && (got > 0) == (exact > 0) ? 1 : INFINITY;
  }
  if (exact == 0 && got == 0) return !signbit(rounded) == !signbit(got) ? 0 : INFINITY;
  int e = -2000;
  if (exact != 0) frexpq(exact, &e);
  return (double)(fabsq(got - exact) / ldexpq(1, e - 53 < -1074 ? -1074 : e - 53));
}

static double draw(long i) {
  switch (i % 4) {
  case 0: return to_double(bits());
  case 1: return unit() * 2 - 1;
  case 2: return (unit() * 2 - 1) * 40;
  default: return ldexp(unit() + 1, (int)(bits() % 24) - 14) * (bits() & 1 ? 1 : -1);
  }
}

int main(int argc, char **argv) {
  if (argc < 3) return fprintf(stderr, "measure STRIDE COUNT [NAME]\n"), 2;
  uint64_t stride = strtoull(argv[1], 0, 10);
  long count = atol(argv[2]);
  const char *only = argc > 3 ? argv[3] : 0;
  printf("| function | f32 max ULP | at | f64 max ULP | at |\n|---|---|---|---|---|\n");
#define MEASURE(f) \
  if (!only || !strcmp(only, #f)) { \
    double worst = 0, worst64 = 0, at64 = 0; \
    float at = 0; \
    for (uint64_t b = 0; b < 1ull << 32; b += stride) { \
      float x = to_float((uint32_t)b); \
      double e = ulp32(f##_f32(x), f(x)); \
      if (e > worst) worst = e, at = x; \
    } \
    for (long i = 0; i < count; i++) { \
      double x = draw(i), e = ulp64(f##_f64(x), f##q(x)); \
      if (e > worst64) worst64 = e, at64 = x; \
    } \
    printf("| %s | %.3f | %.9g | %.3f | %.17g |\n", #f, worst, at, worst64, at64); \
    fflush(stdout); \
  }
  UNARY(MEASURE)
#define MEASURE2(f, d, q) \
  if (!only || !strcmp(only, #f)) { \
    double worst = 0, worst64 = 0; \
    float at[2] = {0}; \
    double at64[2] = {0}; \
    for (uint64_t i = 0; i < (1ull << 32) / stride; i++) { \
      float x = to_float((uint32_t)bits()), y = to_float((uint32_t)bits()); \
      if (i % 3 == 1) x = (float)ldexp(1 + unit(), (int)(bits() % 16) - 8), y = (float)(unit() * 40 - 20); \
      if (i % 3 == 2) x = (float)(bits() % 64) - 32, y = ((float)(bits() % 128) - 64) / 2; \
      double e = ulp32(f##_f32(x, y), d(x, y)); \
      if (e > worst) worst = e, at[0] = x, at[1] = y; \
    } \
    for (long i = 0; i < count; i++) { \
      double x = to_double(bits()), y = to_double(bits()); \
      if (i % 3 == 1) x = ldexp(1 + unit(), (int)(bits() % 16) - 8), y = unit() * 200 - 100; \
      if (i % 3 == 2) x = 1 + (unit() - 0.5) * 1e-2, y = unit() * 2e5 - 1e5; \
      double e = ulp64(f##_f64(x, y), q(x, y)); \
      if (e > worst64) worst64 = e, at64[0] = x, at64[1] = y; \
    } \
    printf("| %s | %.4f | %.9g, %.9g | %.3f | %.17g, %.17g |\n", #f, worst, at[0], at[1], worst64, at64[0], at64[1]); \
    fflush(stdout); \
  }
  BINARY(MEASURE2)
  return 0;
}
