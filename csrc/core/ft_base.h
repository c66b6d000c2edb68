/* What every other core file stands on: status codes, the allocator and the sink, all handed in
 * from outside. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_BASE_H
#define FT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FT_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Every core function that can fail returns one of these; its results go through out-pointers. */
#define FT_STATUS_LIST(X)                                                 \
    X(OK, "ok")                                                           \
    X(NO_MEMORY, "out of memory")                                         \
    X(OVERFLOW, "the count does not fit in 128 bits")                     \
    X(TOO_MANY_SAMPLES, "the samples of the epoch do not fit in 64 bits") \
    X(BAD_SHAPE, "a shape does not fit the rule")                         \
    X(BAD_SUM, "this is not the sum of all ranks' counts")                \
    X(EPOCH_OPEN, "an epoch is already open")                             \
    X(NO_EPOCH, "no epoch is open")                                       \
    X(SINK_FAILED, "the output could not be written")                     \
    X(WRONG_SUMS, "records do not add up to what was saved as their sums")

typedef enum {
#define FT_STATUS_MEMBER(name, text) FT_##name,
    FT_STATUS_LIST(FT_STATUS_MEMBER)
#undef FT_STATUS_MEMBER
} ft_status;

const char *ft_status_text(ft_status status);

/* realloc with a context; a size of 0 frees. Tests hand in one whose n-th allocation fails. */
typedef struct {
    void *(*resize)(void *context, void *block, size_t size);
    void *context;
} ft_allocator;

ft_allocator ft_allocator_libc(void);

static inline void
ft_free(ft_allocator allocator, void *block)
{
    if (block != NULL) {
        allocator.resize(allocator.context, block, 0);
    }
}

/* Where text goes; the core itself never writes anywhere. */
typedef struct {
    ft_status (*write)(void *context, const char *bytes, size_t length);
    void *context;
} ft_sink;

#endif
