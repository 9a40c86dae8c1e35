/* Runs a model that is linked into this program: no file is opened and no memory is mapped for it.
 * model.h and libmodel.a are made from model.mlir by `winze compile model.mlir --emit static-lib -o libmodel.a`. */
#include <stdio.h>

#include "model.h"

static int failed(void) {
  fprintf(stderr, "%s\n", wz_last_error());
  return 1;
}

int main(void) {
  wz_program *program;
  wz_session *session;
  if (winze_model_open(&program) != WZ_OK || wz_session_create(program, "cpu", 1, &session) != WZ_OK) return failed();
  const float x[] = {1, 2, -3, 4};
  const int64_t dims[] = {2, 2};
  const wz_tensor input = {.element = WZ_F32, .rank = 2, .dims = dims, .data = x, .bytes = sizeof x};
  wz_tensor output;
  if (wz_session_set_input(session, 0, &input) != WZ_OK || wz_session_run(session, 0) != WZ_OK) return failed();
  if (wz_session_output(session, 0, &output) != WZ_OK) return failed();
  const float *y = output.data;
  for (size_t i = 0; i < output.bytes / sizeof *y; ++i) printf("%g\n", y[i]);
  wz_session_free(session);
  wz_program_free(program);
  return 0;
}
