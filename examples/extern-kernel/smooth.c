/* Smooth: each row of x with the taps sliding over it, times a gain.
 *
 *   cc -O2 -shared -fPIC -I../../runtime/include smooth.c -o libsmooth.so
 *
 * Buffers are the inputs, then the outputs; dims the names of the signature in the order in which they appear; scalars its parameters. */
#include <string.h>

#include "winze.h"

/* Compared with what the artifact says, so that a model never runs with a kernel that takes something else. */
const char smooth_signature[] = "(f32[rows, width], f32[taps], gain: float) -> (f32[rows, width - taps + 1])";

int32_t smooth(void *user, const wz_call *call) {
  (void)user;
  const float *x = call->buffers[0].data, *taps = call->buffers[1].data;
  float *y = call->buffers[2].data;
  const int64_t rows = call->dims[0], width = call->dims[1], count = call->dims[2];
  double gain;
  memcpy(&gain, &call->scalars[0], sizeof gain);
  if (count > width) return 1; /* ends the run with an error */
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i + count <= width; ++i) {
      float sum = 0;
      for (int64_t tap = 0; tap < count; ++tap) sum += x[row * width + i + tap] * taps[tap];
      *y++ = (float)gain * sum;
    }
  }
  return 0;
}
