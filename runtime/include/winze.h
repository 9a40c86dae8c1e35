/* Winze runtime, C interface: opens .wz artifacts and runs them on CPU or Vulkan.
 *
 * Functions that can fail return a wz_status; wz_last_error() then says what went wrong, for the calling thread.
 * A program may be used by several threads at once; a session by one thread at a time, except wz_session_cancel.
 * Objects are independent of each other's lifetime: a session keeps what it needs of its program alive. */
#ifndef WINZE_H
#define WINZE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface: functions are only ever added to it, until the number changes. */
#define WZ_ABI_VERSION 1

typedef enum wz_status {
  WZ_OK = 0,
  WZ_ERROR_IO = 1,            /* the file cannot be read */
  WZ_ERROR_ARTIFACT = 2,      /* no artifact, damaged, or of an unknown version */
  WZ_ERROR_DEVICE = 3,        /* no such device, no variant for it, or a driver's error */
  WZ_ERROR_DEVICE_LOST = 4,   /* the device stopped working */
  WZ_ERROR_BIND = 5,          /* inputs or outputs do not fit */
  WZ_ERROR_RUN = 6,           /* the program stopped: index out of range, limit, failed kernel */
  WZ_ERROR_CANCELLED = 7,
  WZ_ERROR_OUT_OF_MEMORY = 8,
  WZ_ERROR_STATE_FULL = 9,    /* a state would grow beyond its capacity; it is as it was */
  WZ_ERROR_ARGUMENT = 100,    /* a null pointer, an index out of range, text that is not UTF-8 */
  WZ_ERROR_INTERNAL = 101     /* a bug of the runtime, caught */
} wz_status;

typedef enum wz_element {
  WZ_BOOL = 0, WZ_I8 = 1, WZ_I16 = 2, WZ_I32 = 3, WZ_I64 = 4, WZ_U8 = 5, WZ_U16 = 6, WZ_U32 = 7, WZ_U64 = 8,
  WZ_F16 = 9, WZ_BF16 = 10, WZ_F32 = 11, WZ_F64 = 12
} wz_element;

typedef struct wz_program wz_program;
typedef struct wz_session wz_session;
typedef struct wz_states wz_states;

/* A tensor in host memory. */
typedef struct wz_tensor {
  int32_t element;        /* wz_element */
  uint32_t rank;
  const int64_t *dims;    /* `rank` extents */
  const int64_t *strides; /* `rank` distances in elements, not negative; null for C order */
  const void *data;
  size_t bytes;           /* of data */
} wz_tensor;

/* An input or output of a function. Texts live as long as the program. */
typedef struct wz_port {
  const char *name;
  int32_t element;     /* wz_element */
  uint32_t rank;
  const int64_t *dims; /* extents; -1 where an extent depends on symbols */
  const char *type;    /* for people: "f32[batch x 3]" */
} wz_port;

typedef struct wz_symbol {
  const char *name;
  int64_t min;
  int64_t max; /* -1 if unbounded */
} wz_symbol;

/* Version of the runtime: major << 16 | minor << 8 | patch, and as text. */
uint32_t wz_version(void);
const char *wz_version_string(void);
/* Always WZ_ABI_VERSION of the header that the library was built with. */
uint32_t wz_abi_version(void);

/* What the last failed call of this thread failed for; empty if none. Valid until the next failing call of this thread. */
const char *wz_last_error(void);

/* Opens an artifact and checks it: a file but for its constants, each of which is checked before it is first used, so that a run may fail with
 * WZ_ERROR_ARTIFACT; memory, which is copied, as a whole. */
wz_status wz_program_open(const char *path, wz_program **program);
wz_status wz_program_open_memory(const void *data, size_t bytes, wz_program **program);
/* Opens an artifact that is linked into this program; the header that comes with it calls this. Nothing is copied or mapped: the data must live as
 * long as the process, start at a multiple of 4096 and be executable. */
wz_status wz_program_open_linked(const void *data, size_t bytes, wz_program **program);
void wz_program_free(wz_program *program); /* null is allowed */

/* What a program contains. Counts are 0 and names null for indices that do not exist. Function 0 is the model's main function. */
uint32_t wz_program_function_count(const wz_program *program);
const char *wz_program_function_name(const wz_program *program, uint32_t function);
uint32_t wz_program_variant_count(const wz_program *program);
const char *wz_program_variant_target(const wz_program *program, uint32_t variant);
uint32_t wz_program_input_count(const wz_program *program, uint32_t function);
uint32_t wz_program_output_count(const wz_program *program, uint32_t function);
uint32_t wz_program_symbol_count(const wz_program *program, uint32_t function);
wz_status wz_program_input(const wz_program *program, uint32_t function, uint32_t index, wz_port *port);
wz_status wz_program_output(const wz_program *program, uint32_t function, uint32_t index, wz_port *port);
wz_status wz_program_symbol(const wz_program *program, uint32_t function, uint32_t index, wz_symbol *symbol);

/* States of a function: inputs that stay in the session from run to run (winze compile --bind). They are no inputs; a port says what a run finds. */
uint32_t wz_program_state_count(const wz_program *program, uint32_t function);
wz_status wz_program_state(const wz_program *program, uint32_t function, uint32_t index, wz_port *port);

/* A session on a device: "cpu", "vulkan", "vulkan:INDEX" or "vulkan:NAME". Threads: 0 shares one pool of all CPUs in the process. */
wz_status wz_session_create(const wz_program *program, const char *device, uint32_t threads, wz_session **session);
void wz_session_free(wz_session *session); /* null is allowed */
/* What runs this: "cpu (8 threads)". Valid as long as the session. */
const char *wz_session_device(const wz_session *session);

/* Makes room and starts threads for these values of a function's symbols, so that runs up to there allocate nothing. */
wz_status wz_session_prepare(wz_session *session, uint32_t function, const int64_t *symbols, uint32_t count);

/* Sets input number `index`. Dims and strides are copied; the data is used in place and must stay valid and unchanged until it has been run. */
wz_status wz_session_set_input(wz_session *session, uint32_t index, const wz_tensor *tensor);
/* Runs a function with the inputs set, which stay set. */
wz_status wz_session_run(wz_session *session, uint32_t function);
/* An output of the last run, valid until the next one. */
wz_status wz_session_output(const wz_session *session, uint32_t index, wz_tensor *tensor);

/* Makes an output of the last run the input of the next ones (state such as a cache), without a copy; call it after each successful run. The
 * output itself is empty afterwards. A failed run leaves the input as it was. It needs nothing of the compiler, serves every device, and lets the host
 * decide run by run; but every run makes the whole tensor anew. What should stay, above all what grows, is better compiled with --bind: see states. */
wz_status wz_session_carry(wz_session *session, uint32_t output, uint32_t input);

/* States. A session starts with states that hold nothing: those that grow have no rows, others are zero. A successful run commits their next values; a
 * failed one leaves them as they were. A run that would go beyond a capacity fails with WZ_ERROR_STATE_FULL. */

/* Rows that a growing state holds; -1 for one that keeps its extents. */
wz_status wz_session_state_length(const wz_session *session, uint32_t function, uint32_t index, int64_t *length);
/* Gives a state a value, which is copied. */
wz_status wz_session_set_state(wz_session *session, uint32_t function, uint32_t index, const wz_tensor *tensor);
/* A copy of what a state holds, in C order, valid until the next call of this function or the end of the session. */
wz_status wz_session_read_state(wz_session *session, uint32_t function, uint32_t index, wz_tensor *tensor);
/* Makes all states of a function hold nothing. */
wz_status wz_session_reset_states(wz_session *session, uint32_t function);
/* Makes growing states hold their first `length` rows, where they hold more. */
wz_status wz_session_truncate_states(wz_session *session, uint32_t function, uint64_t length);
/* States beside those of the session, for sequences that take turns: swap them in, run, swap them out. For sessions of the same program. */
wz_status wz_states_create(const wz_session *session, uint32_t function, wz_states **states);
void wz_states_free(wz_states *states); /* null is allowed */
wz_status wz_session_swap_states(wz_session *session, wz_states *states);

/* Ends the run in progress (or the next one) with WZ_ERROR_CANCELLED. From any thread. */
void wz_session_cancel(const wz_session *session);

/* A kernel that the program calls by name. */
typedef struct wz_buffer {
  int32_t element; /* wz_element, as stored */
  int32_t writable;
  void *data;
  size_t bytes;
} wz_buffer;
typedef struct wz_call {
  const wz_buffer *buffers;
  const int64_t *dims;
  const uint64_t *scalars; /* i64, bits of a double, or 0 and 1 */
  uint32_t buffer_count, dim_count, scalar_count;
} wz_call;
/* Non-zero stops the run. Called on the thread that runs the session. */
typedef int32_t (*wz_kernel)(void *user, const wz_call *call);
wz_status wz_session_register(wz_session *session, const char *name, wz_kernel kernel, void *user);

#ifdef __cplusplus
}
#endif
#endif
