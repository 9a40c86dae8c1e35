// Kernels of CPU ABI version 1, as a compiler would emit them: no imports.
#include <stdint.h>

typedef struct WzArgs {
  void *const *buffers;
  const int64_t *dims;
  const uint64_t *scalars;
  void *workspace;
  uint64_t workspace_size;
  const uint32_t *cancel;
} WzArgs;

// One tile per row of `dims[1]` elements: out = a + b.
int32_t add_rows(const WzArgs *args, uint32_t begin, uint32_t end) {
  const float *a = args->buffers[0], *b = args->buffers[1];
  float *out = args->buffers[2];
  int64_t width = args->dims[1];
  for (int64_t i = begin * width; i < end * width; ++i) out[i] = a[i] + b[i];
  return 0;
}

// out = a * scale, through the workspace (one row of it).
int32_t scale_rows(const WzArgs *args, uint32_t begin, uint32_t end) {
  const float *a = args->buffers[0], *scale = args->buffers[1];
  float *out = args->buffers[2], *row = args->workspace;
  int64_t width = args->dims[1];
  if (args->workspace_size < (uint64_t)width * 4 || ((uintptr_t)row & 63)) return 77;
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t i = 0; i < width; ++i) row[i] = a[r * width + i];
    for (int64_t i = 0; i < width; ++i) out[r * width + i] = row[i] * scale[0];
  }
  return 0;
}

// buffer[i] += scalar (an i64), one tile per element.
int32_t add_scalar(const WzArgs *args, uint32_t begin, uint32_t end) {
  int64_t *data = args->buffers[0];
  for (uint32_t i = begin; i < end; ++i) data[i] += (int64_t)args->scalars[0];
  return 0;
}

// Fails at tile 5.
int32_t fail_at_five(const WzArgs *args, uint32_t begin, uint32_t end) {
  (void)args;
  return begin <= 5 && 5 < end ? 42 : 0;
}

// A table of pointers needs relative relocations, an initialised and an uninitialised variable writable pages.
static const float one = 1.0f, two = 2.0f;
static const float *const table[] = {&one, &two};
static int32_t counter = 3;
static int32_t zeros[5000];
int32_t use_tables(const WzArgs *args, uint32_t begin, uint32_t end) {
  float *out = args->buffers[0];
  const float *const volatile *rows = table;
  volatile int32_t *count = &counter, *empty = zeros;
  for (uint32_t i = begin; i < end; ++i) out[i] = *rows[i % 2] + (float)*count + (float)empty[i % 5000];
  return 0;
}

// out = a / 4: a denormal for the smallest normal number.
int32_t quarter(const WzArgs *args, uint32_t begin, uint32_t end) {
  const volatile float *a = args->buffers[0];
  float *out = args->buffers[1];
  for (uint32_t i = begin; i < end; ++i) out[i] = a[i] / 4.0f;
  return 0;
}

// Runs until it is cancelled.
int32_t wait_for_cancel(const WzArgs *args, uint32_t begin, uint32_t end) {
  (void)begin, (void)end;
  const volatile uint32_t *cancel = args->cancel;
  while (!*cancel) {
  }
  return 0;
}
