/* Runs the main function of an artifact on raw input files and writes raw output files.
 *
 *   run MODEL.wz DEVICE INPUT:2x3 ... (in the order of the model's inputs; DEVICE is cpu or vulkan)
 *
 * Input files hold the elements in C order, little-endian. Outputs become output_0.bin, output_1.bin, ... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "winze.h"

#define MAX_RANK 16

static void check(wz_status status) {
  if (status != WZ_OK) {
    fprintf(stderr, "%s\n", wz_last_error());
    exit(1);
  }
}

static void fail(const char *what, const char *which) {
  fprintf(stderr, "%s: %s\n", what, which);
  exit(2);
}

/* Splits "FILE:2x3" and reads the file. */
static void *read_input(char *argument, int64_t *dims, uint32_t *rank, size_t *bytes) {
  char *colon = strrchr(argument, ':');
  if (!colon) fail("expected FILE:DIMS, for instance x.bin:2x3", argument);
  *colon = 0;
  *rank = 0;
  for (char *at = colon + 1; *at && *rank < MAX_RANK;) {
    dims[(*rank)++] = strtoll(at, &at, 10);
    if (*at == 'x') ++at;
    else if (*at) fail("malformed dims", colon + 1);
  }
  FILE *file = fopen(argument, "rb");
  if (!file) fail("cannot open", argument);
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  void *data = malloc(*bytes ? *bytes : 1);
  if (!data || fread(data, 1, *bytes, file) != *bytes) fail("cannot read", argument);
  fclose(file);
  return data;
}

int main(int argc, char **argv) {
  if (argc < 3) fail("usage", "run MODEL.wz DEVICE INPUT:DIMS ...");
  wz_program *program;
  check(wz_program_open(argv[1], &program));
  uint32_t inputs = wz_program_input_count(program, 0), outputs = wz_program_output_count(program, 0);
  for (uint32_t i = 0; i < inputs; ++i) {
    wz_port port;
    check(wz_program_input(program, 0, i, &port));
    printf("input %s: %s\n", port.name, port.type);
  }
  if ((uint32_t)argc - 3 != inputs) fail("wrong number of inputs", argv[1]);

  wz_session *session;
  check(wz_session_create(program, argv[2], 0, &session));
  printf("winze %s on %s\n", wz_version_string(), wz_session_device(session));
  void **data = calloc(inputs + 1, sizeof *data);
  for (uint32_t i = 0; i < inputs; ++i) {
    wz_port port;
    check(wz_program_input(program, 0, i, &port));
    int64_t dims[MAX_RANK];
    wz_tensor tensor = {.element = port.element, .dims = dims};
    tensor.data = data[i] = read_input(argv[3 + i], dims, &tensor.rank, &tensor.bytes);
    check(wz_session_set_input(session, i, &tensor));
  }
  check(wz_session_run(session, 0));

  for (uint32_t i = 0; i < outputs; ++i) {
    wz_port port;
    check(wz_program_output(program, 0, i, &port));
    wz_tensor tensor;
    check(wz_session_output(session, i, &tensor));
    printf("output %s: [", port.name);
    for (uint32_t d = 0; d < tensor.rank; ++d) printf("%s%lld", d ? " x " : "", (long long)tensor.dims[d]);
    char name[32];
    snprintf(name, sizeof name, "output_%u.bin", i);
    printf("] in %s\n", name);
    FILE *file = fopen(name, "wb");
    if (!file || fwrite(tensor.data, 1, tensor.bytes, file) != tensor.bytes || fclose(file)) fail("cannot write", name);
  }
  wz_session_free(session);
  wz_program_free(program);
  for (uint32_t i = 0; i < inputs; ++i) free(data[i]);
  free(data);
  return 0;
}
